//! What is written down of the programs beside the cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::Windows;
use crate::supervisor::process::Identity;

/// A program that can stand beside a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SideCar {
    Prometheus,
    Grafana,
}

impl SideCar {
    pub const ALL: [SideCar; 2] = [SideCar::Prometheus, SideCar::Grafana];

    pub fn name(self) -> &'static str {
        match self {
            SideCar::Prometheus => "prometheus",
            SideCar::Grafana => "grafana",
        }
    }

    /// What its processes are called; Grafana's start script hands over to one of another name.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            SideCar::Prometheus => &["prometheus"],
            SideCar::Grafana => &["grafana-server", "grafana"],
        }
    }

    /// What it answers with 200 once it serves.
    pub fn readiness(self) -> &'static str {
        match self {
            SideCar::Prometheus => "/-/ready",
            SideCar::Grafana => "/api/health",
        }
    }
}

/// What is to stand beside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ops {
    pub windows: Windows,
    /// Grows with every order: whoever runs by an older one is started anew.
    pub version: u64,
    pub prometheus: Record,
    pub grafana: Option<Record>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub program: PathBuf,
    /// Where it listens.
    pub at: SocketAddr,
    pub process: Option<Identity>,
    pub restarts: u32,
}

impl Ops {
    pub fn record(&self, which: SideCar) -> Option<&Record> {
        match which {
            SideCar::Prometheus => Some(&self.prometheus),
            SideCar::Grafana => self.grafana.as_ref(),
        }
    }

    pub fn record_mut(&mut self, which: SideCar) -> Option<&mut Record> {
        match which {
            SideCar::Prometheus => Some(&mut self.prometheus),
            SideCar::Grafana => self.grafana.as_mut(),
        }
    }
}
