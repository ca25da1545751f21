//! The side of `control.capnp` that listens: for the supervisor and for operators.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::faults::Faults;
use super::operator_desk::OperatorDesk;
use super::order_metrics::OrderMetrics;
use super::snapshot_file::SnapshotFile;
use super::stop::Stop;
use crate::chaos::Table;
use crate::control::{NodeStatus, order_timeout, read_changes, write_outcome};
use crate::replica::{Order, OrderResult};
use crate::schema::control_capnp::node as schema;
use crate::types::NodeId;

/// One for the node; connections share it.
pub struct ControlServer {
    /// What the node says of itself.
    pub status: Box<dyn Fn() -> NodeStatus>,
    pub stop: Rc<Stop>,
    pub operators: Rc<OperatorDesk>,
    pub faults: Rc<Faults>,
    pub metrics: OrderMetrics,
    /// The node's own.
    pub directory: PathBuf,
}

impl ControlServer {
    /// The capability for one connection.
    pub fn capability(self: &Rc<ControlServer>) -> capnp::capability::Client {
        let client: schema::Client = capnp_rpc::new_client_from_rc(self.clone());
        client.client
    }

    async fn give(&self, order: Order, timeout: Duration) -> OrderResult {
        let result = self.operators.ask(order.clone(), timeout).await;
        self.metrics.ended(&order, &result);
        tracing::info!("{order:?}: {result:?}");
        result
    }
}

impl schema::Server for ControlServer {
    async fn status(
        self: Rc<Self>,
        _: schema::StatusParams,
        mut results: schema::StatusResults,
    ) -> Result<(), capnp::Error> {
        (self.status)().write(results.get().init_status());
        Ok(())
    }

    async fn shutdown(
        self: Rc<Self>,
        _: schema::ShutdownParams,
        _: schema::ShutdownResults,
    ) -> Result<(), capnp::Error> {
        self.stop.ask("an operator");
        self.stop.taken().await;
        Ok(())
    }

    async fn transfer(
        self: Rc<Self>,
        params: schema::TransferParams,
        mut results: schema::TransferResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let to = Some(NodeId(params.get_to())).filter(|to| to.0 != 0);
        let timeout = order_timeout(params.get_timeout_millis());
        let result = self.give(Order::Transfer { to }, timeout).await;
        write_outcome(&result, results.get().init_outcome());
        Ok(())
    }

    async fn change_membership(
        self: Rc<Self>,
        params: schema::ChangeMembershipParams,
        mut results: schema::ChangeMembershipResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let timeout = order_timeout(params.get_timeout_millis());
        let result = match read_changes(params.get_changes()?) {
            Ok(changes) => self.give(Order::ChangeMembership { changes }, timeout).await,
            Err(error) => OrderResult::Refused { leader: None, message: error.to_string() },
        };
        write_outcome(&result, results.get().init_outcome());
        Ok(())
    }

    async fn take_snapshot(
        self: Rc<Self>,
        params: schema::TakeSnapshotParams,
        mut results: schema::TakeSnapshotResults,
    ) -> Result<(), capnp::Error> {
        let timeout = order_timeout(params.get()?.get_timeout_millis());
        let result = self.give(Order::TakeSnapshot, timeout).await;
        write_outcome(&result, results.get().init_outcome());
        Ok(())
    }

    async fn open_snapshot(
        self: Rc<Self>,
        _: schema::OpenSnapshotParams,
        mut results: schema::OpenSnapshotResults,
    ) -> Result<(), capnp::Error> {
        match SnapshotFile::newest(&self.directory) {
            Ok(file) => results.get().set_snapshot(capnp_rpc::new_client(file)),
            Err(why) => results.get().set_refused(&why),
        }
        Ok(())
    }

    async fn set_faults(
        self: Rc<Self>,
        params: schema::SetFaultsParams,
        mut results: schema::SetFaultsResults,
    ) -> Result<(), capnp::Error> {
        match Table::from_json(params.get()?.get_table()?.to_str()?) {
            Ok(table) => self.faults.set(table),
            Err(why) => results.get().set_refused(&why),
        }
        Ok(())
    }
}
