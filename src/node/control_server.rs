//! The side of `control.capnp` that listens: for the supervisor and for operators.

use std::rc::Rc;

use super::stop::Stop;
use crate::control::NodeStatus;
use crate::schema::control_capnp::node as schema;

/// One for the node; connections share it.
pub struct ControlServer {
    status: Box<dyn Fn() -> NodeStatus>,
    stop: Rc<Stop>,
}

impl ControlServer {
    /// Answers with what `status` says, and stops by `stop`.
    pub fn new(status: impl Fn() -> NodeStatus + 'static, stop: Rc<Stop>) -> ControlServer {
        ControlServer { status: Box::new(status), stop }
    }

    /// The capability for one connection.
    pub fn capability(self: &Rc<ControlServer>) -> capnp::capability::Client {
        let client: schema::Client = capnp_rpc::new_client_from_rc(self.clone());
        client.client
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
}
