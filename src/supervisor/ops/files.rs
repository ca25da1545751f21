//! What the programs beside the cluster are told, in files.
//!
//! ```text
//!   ops/
//!     prometheus/  prometheus.yml  rules.yml  alerts.yml  targets/{nodes,supervisor}.json  data/
//!     grafana/     grafana.ini  provisioning/{datasources,dashboards}/kvraft.yaml  data/
//!     dashboards/  overview.json …
//! ```
//!
//! All of it but `data` is written anew with each order, since the program that writes it may be a
//! newer one. The targets are always there, whenever the members change anew, and nobody when the
//! cluster goes down: somebody else's Prometheus may read them, too.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::windows::shortened;
use super::{Ops, SideCar};
use crate::config::{ClusterDirectory, replace_file};
use crate::control::Windows;

/// The project's own, as they are shipped.
const RULES: &str = include_str!("../../../ops/prometheus/rules.yml");
const ALERTS: &str = include_str!("../../../ops/prometheus/alerts.yml");
const DASHBOARDS: [(&str, &str); 5] = [
    ("overview.json", include_str!("../../../dashboards/overview.json")),
    ("raft.json", include_str!("../../../dashboards/raft.json")),
    ("storage.json", include_str!("../../../dashboards/storage.json")),
    ("clients.json", include_str!("../../../dashboards/clients.json")),
    ("chaos.json", include_str!("../../../dashboards/chaos.json")),
];

/// Everybody is on one machine here, and what is broken on purpose is over in seconds: so it looks
/// more often than the example in `ops/prometheus`, which has the same two jobs.
const CONFIG: &str = "\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files:
  - rules.yml
  - alerts.yml
scrape_configs:
  - job_name: kvraft-node
    file_sd_configs: [{ files: [targets/nodes.json], refresh_interval: 5s }]
  - job_name: kvraft-supervisor
    file_sd_configs: [{ files: [targets/supervisor.json], refresh_interval: 5s }]
";

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Places {
    ops: PathBuf,
}

/// Somebody to be asked for figures, in Prometheus' form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    pub targets: [String; 1],
    pub labels: Labels,
}

/// All who are to be asked; nobody, when the cluster is down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub nodes: Vec<Target>,
    pub supervisor: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Labels {
    pub cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Places {
    pub fn of(directory: &ClusterDirectory) -> Places {
        Places { ops: directory.path().join("ops") }
    }

    /// What its program is told, by which it is known among all processes.
    pub fn config(&self, which: SideCar) -> PathBuf {
        match which {
            SideCar::Prometheus => self.ops.join("prometheus/prometheus.yml"),
            SideCar::Grafana => self.ops.join("grafana/grafana.ini"),
        }
    }

    pub fn data(&self, which: SideCar) -> PathBuf {
        self.ops.join(which.name()).join("data")
    }

    /// What its program says.
    pub fn log(&self, which: SideCar) -> PathBuf {
        self.ops.join(format!("{}.log", which.name()))
    }

    pub fn dashboards(&self) -> PathBuf {
        self.ops.join("dashboards")
    }

    /// Writes everything but the targets.
    pub fn write(&self, ops: &Ops) -> io::Result<()> {
        let prometheus = self.ops.join("prometheus");
        let provisioning = self.ops.join("grafana/provisioning");
        let directories = [
            prometheus.join("targets"),
            provisioning.join("datasources"),
            provisioning.join("dashboards"),
            self.dashboards(),
        ];
        directories.iter().try_for_each(|it| create(it))?;
        let windows = |rules: &str| match ops.windows {
            Windows::Usual => rules.to_owned(),
            Windows::Short => shortened(rules),
        };
        replace_file(&prometheus.join("rules.yml"), windows(RULES).as_bytes())?;
        replace_file(&prometheus.join("alerts.yml"), windows(ALERTS).as_bytes())?;
        replace_file(&self.config(SideCar::Prometheus), CONFIG.as_bytes())?;
        for (name, dashboard) in DASHBOARDS {
            replace_file(&self.dashboards().join(name), dashboard.as_bytes())?;
        }
        self.write_grafana(ops, &provisioning)
    }

    fn write_grafana(&self, ops: &Ops, provisioning: &Path) -> io::Result<()> {
        let source = format!(
            "apiVersion: 1\ndatasources:\n  - name: kvraft\n    type: prometheus\n    \
             access: proxy\n    url: http://{}\n    isDefault: true\n    jsonData:\n      \
             timeInterval: 1s\n",
            ops.prometheus.at
        );
        let dashboards = format!(
            "apiVersion: 1\nproviders:\n  - name: kvraft\n    folder: kvraft\n    type: file\n    \
             options:\n      path: {}\n",
            self.dashboards().display()
        );
        replace_file(&provisioning.join("datasources/kvraft.yaml"), source.as_bytes())?;
        replace_file(&provisioning.join("dashboards/kvraft.yaml"), dashboards.as_bytes())?;
        let Some(grafana) = &ops.grafana else { return Ok(()) };
        let data = self.data(SideCar::Grafana);
        // Whoever may log in to this machine may look, and change what is only shown.
        let ini = format!(
            "[paths]\ndata = {data}\nlogs = {data}/log\nplugins = {data}/plugins\n\
             provisioning = {provisioning}\n\
             [server]\nhttp_addr = {ip}\nhttp_port = {port}\n\
             [auth.anonymous]\nenabled = true\norg_role = Editor\n\
             [auth]\ndisable_login_form = true\n\
             [analytics]\nreporting_enabled = false\ncheck_for_updates = false\n\
             check_for_plugin_updates = false\n\
             [log]\nmode = console\nlevel = warn\n",
            data = data.display(),
            provisioning = provisioning.display(),
            ip = grafana.at.ip(),
            port = grafana.at.port(),
        );
        replace_file(&self.config(SideCar::Grafana), ini.as_bytes())
    }

    /// Whom to ask.
    pub fn write_targets(&self, Targets { nodes, supervisor }: &Targets) -> io::Result<()> {
        let place = self.ops.join("prometheus/targets");
        create(&place)?;
        replace_file(&place.join("nodes.json"), &serde_json::to_vec_pretty(nodes)?)?;
        replace_file(&place.join("supervisor.json"), &serde_json::to_vec_pretty(supervisor)?)
    }
}

/// A directory, and what leads to it, for nobody else to enter.
fn create(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
