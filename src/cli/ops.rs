//! `kvctl ops`: Prometheus and Grafana beside the cluster.

use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format, Progress};
use super::{Global, cluster};
use crate::control::{OpsOrder, OpsStatus, SideCarState, SideCarStatus, Windows};

/// What can be done with what stands beside a cluster.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl ops up
  kvctl ops status
  kvctl ops down")]
pub enum Ops {
    Up(Up),
    Status(Status),
    Down(Down),
}

/// Start Prometheus beside the cluster, with its alerts; and Grafana, if it is there
///
/// Both are programs of their own, and are found on the PATH. The supervisor starts them, sees to
/// it that they run, and ends them with the cluster; with its next start they come back, their data
/// with them. Prometheus asks every node and the supervisor once a second, and follows the members
/// as they change. Grafana has the data source and the dashboards from the start.
///
/// Given again, it takes what is said now, and starts the programs anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl ops up
  kvctl ops up --windows short             alerts within seconds, for a rehearsal
  kvctl ops up --prometheus /opt/prometheus/prometheus --no-grafana

JSON fields: schema_version, windows, dashboards (a directory), side_cars: name, state, address,
pid, restarts, problem, log")]
pub struct Up {
    /// The program [default: `prometheus` on the PATH]
    #[arg(long, value_name = "PROGRAM", env = "PROMETHEUS", hide_env_values = true)]
    pub prometheus: Option<PathBuf>,
    /// The program [default: `grafana-server` on the PATH, if there is one]
    #[arg(long, value_name = "PROGRAM")]
    pub grafana: Option<PathBuf>,
    /// Do without Grafana, even if it is there
    #[arg(long, conflicts_with = "grafana")]
    pub no_grafana: bool,
    /// What rates and alerts look back over
    #[arg(long, value_enum, default_value_t, value_name = "WINDOWS")]
    pub windows: Windows,
}

/// Show what stands beside the cluster
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl ops status -o json

JSON fields: schema_version, windows, dashboards (a directory), side_cars: name, state, address,
pid, restarts, problem, log")]
pub struct Status {}

/// End what stands beside the cluster; its data stays in the cluster's directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl ops down

JSON fields: schema_version, windows, dashboards, side_cars (none)")]
pub struct Down {}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'s> {
    #[serde(flatten)]
    status: &'s OpsStatus,
}

pub async fn run(global: &Global, command: Ops) -> Outcome {
    let order = match &command {
        Ops::Up(up) => up.order()?,
        Ops::Status(_) => OpsOrder::Look,
        Ops::Down(_) => OpsOrder::Down,
    };
    let supervisor = cluster::supervisor(global).await?;
    let progress = Progress::spinner(match order {
        OpsOrder::Up { .. } => "waiting until Prometheus answers",
        OpsOrder::Down => "waiting until it has ended",
        OpsOrder::Look => "",
    });
    let done = supervisor.ops(&order).await;
    drop(progress);
    let status = done?;
    match global.output {
        Format::Json => output::json(&Printed { status: &status })?,
        Format::Name => status.side_cars.iter().try_for_each(|it| output::line(&it.name))?,
        Format::Table => print(global, &command, &status)?,
    }
    let asked = matches!(command, Ops::Up(_));
    let fails = |it: &SideCarStatus| asked && it.state != SideCarState::Running;
    Ok(if status.side_cars.iter().any(fails) { Exit::Failed as u8 } else { 0 })
}

impl Up {
    fn order(&self) -> Result<OpsOrder, Failure> {
        let prometheus = match &self.prometheus {
            Some(named) => found(named).ok_or_else(|| no_program(named))?,
            None => found(Path::new("prometheus")).ok_or_else(|| {
                Failure::usage(
                    "there is no `prometheus` on the PATH: install Debian's package prometheus, \
                     or name the program with --prometheus; `make ops`, in kvraft's sources, does \
                     all of it",
                )
            })?,
        };
        let grafana = match &self.grafana {
            _ if self.no_grafana => None,
            Some(named) => Some(found(named).ok_or_else(|| no_program(named))?),
            None => found(Path::new("grafana-server")),
        };
        Ok(OpsOrder::Up { prometheus, grafana, windows: self.windows })
    }
}

fn no_program(named: &Path) -> Failure {
    Failure::usage(format!("there is no program {}", named.display()))
}

/// Where a program is, of this path or of this name on the PATH.
fn found(named: &Path) -> Option<PathBuf> {
    if named.components().count() > 1 {
        return std::path::absolute(named).ok().filter(|path| path.is_file());
    }
    let path = env::var_os("PATH")?;
    let places = env::split_paths(&path).map(|directory| directory.join(named));
    places.into_iter().find(|path| path.is_file()).and_then(|path| path.canonicalize().ok())
}

fn print(global: &Global, command: &Ops, status: &OpsStatus) -> Result<(), Failure> {
    if status.side_cars.is_empty() {
        let next = format!("`kvctl ops up{}`", global.flag());
        output::note(format!("nothing stands beside the cluster; {next} starts Prometheus"));
        return Ok(());
    }
    for it in &status.side_cars {
        let SideCarStatus { name, state, address, pid, problem, log, .. } = it;
        let pid = pid.map_or(String::new(), |pid| format!(", pid {pid}"));
        output::line(format!("{name:<11} {:<12} http://{address}{pid}", state.as_str()))?;
        if let Some(problem) = problem {
            output::warn(format!("{name} {problem}; its log: {}", log.display()));
        }
    }
    let grafana = status.side_cars.iter().any(|it| it.name == "grafana");
    let prometheus = status.side_cars.iter().find(|it| it.name == "prometheus");
    if let (Ops::Up(_), false, Some(prometheus)) = (command, grafana, prometheus) {
        output::note(format!(
            "without Grafana here; in one of yours add the data source http://{} (Prometheus), and \
             import the dashboards in {}",
            prometheus.address,
            status.dashboards.display()
        ));
    }
    Ok(())
}
