//! The same kvraft cluster, driven as etcd is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvraft::retention::Retention;

use crate::grpc::{self, Connection};
use crate::ours::Ours;
use crate::system::System;

/// A running kvraft cluster whose clients speak etcd's API.
pub struct OverGrpc(pub Ours);

impl OverGrpc {
    /// Where the nodes serve etcd's API.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        let nodes = self.0.status().await?.nodes;
        let address = |address: Option<std::net::SocketAddr>| Some(address?.to_string());
        let all: Option<Vec<_>> = nodes.into_iter().map(|node| address(node.grpc)).collect();
        all.context("a node does not serve etcd's API")
    }
}

impl System for OverGrpc {
    const NAME: &'static str = "kvraft";
    type Connection = Connection;

    async fn start(members: usize, place: &Path) -> Result<OverGrpc> {
        Ok(OverGrpc(Ours::start(members, place).await?))
    }

    async fn start_keeping(members: usize, place: &Path, kept: Retention) -> Result<OverGrpc> {
        Ok(OverGrpc(Ours::start_keeping(members, place, kept).await?))
    }

    fn started_in(&self) -> Duration {
        self.0.started_in()
    }

    async fn connections(&self, clients: usize) -> Result<Vec<Connection>> {
        let status = self.0.status().await?;
        let leads = status.nodes.iter().position(|node| Some(node.node) == status.leader);
        let leader = leads.context("a cluster that is ready has a leader")?;
        grpc::connections(self.addresses().await?, leader, clients).await
    }

    async fn pids(&self) -> Result<Vec<u32>> {
        self.0.pids().await
    }

    async fn fail_over(&mut self) -> Result<Duration> {
        self.0.fail_over().await
    }

    async fn stop(self) -> Result<()> {
        self.0.stop().await
    }
}
