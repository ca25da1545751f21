//! `kvctl cluster status`: who runs, who leads, how far everybody is.

use serde::Serialize;

use anstyle::{AnsiColor, Style};

use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::units::{self, short_duration};
use crate::config::{Address, Durability, Slow};
use crate::control::{ClusterStatus, NodeState, Role, State};

/// Show the nodes: state, role, progress, endpoints
///
/// Starts a supervisor if the old one died; the nodes are not interrupted by that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster status
  kvctl cluster status -o json | jq '.nodes[] | {node, state}'
  kvctl cluster status -o name          the ids of the nodes

JSON fields: schema_version, name, cluster, directory, transport, durability, supervisor_pid,
http_address, leader, term, ready, foreground, since_millis, build, faults (injected, in force),
slow,
retired: node, since_millis, purged; nodes: node, state, pid, since_millis, restarts, last_exit,
client, peer, control, http, grpc, log, adopted, next_start_millis, problem, standing (member,
joining, leaving), progress, report (what the node itself said last: role, term, voted_for, leader,
first_index, last_index, durable_index, commit_index, applied_index, revision, keys, state_hash,
uptime_millis, log_bytes, segments, disk_full, ready, peers, voters, learners, outgoing,
snapshot_index, snapshot_bytes, transfer_target, durability, build, faults, faults_version,
last_member, snapshots_installed, links: peer, connected, sent_messages, sent_bytes, deliveries,
delivery_micros, dropped, faulted, under_way; served: reads, writes, failed, commits,
commit_micros), report_millis")]
pub struct Status {}

pub async fn run(global: &Global, _: Status) -> Outcome {
    let status = super::status(global).await?;
    print(global, &status)?;
    Ok(0)
}

/// Prints it in the form that was asked for.
pub fn print(global: &Global, status: &ClusterStatus) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json(&Printed { status }),
        Format::Name => status.nodes.iter().try_for_each(|n| output::line(n.node.to_string())),
        Format::Table => print_table(status),
    }
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    status: &'a ClusterStatus,
}

fn print_table(status: &ClusterStatus) -> Result<(), Failure> {
    let running = status.nodes.iter().filter(|node| node.state == State::Running).count();
    let leader = match status.leader {
        Some(leader) => format!("node {leader} leads in term {}", status.term),
        None => "no leader".to_owned(),
    };
    output::line(format!(
        "cluster {}: {running} of {} nodes run, {leader}, {}, transport {}{}{}",
        status.name,
        status.nodes.len(),
        if status.ready { "ready" } else { "not ready" },
        status.transport.as_str(),
        durability(status.durability),
        slow(status.slow),
    ))?;
    let head = [
        "node", "state", "role", "term", "commit", "applied", "keys", "pid", "up", "restarts",
        "endpoint",
    ];
    let mut table = output::table(&head);
    for node in &status.nodes {
        table.add_row(row(status, node));
    }
    output::print_table(&mut table)?;
    output::line(format!(
        "supervisor: pid {}, http://{}/metrics   directory: {}",
        status.supervisor_pid,
        status.http_address,
        status.directory.display()
    ))?;
    match status.faults {
        0 => {}
        1 => output::warn("an injected fault is in force: kvctl chaos status"),
        many => output::warn(format!("{many} injected faults are in force: kvctl chaos status")),
    }
    for node in &status.nodes {
        if let Some(problem) = &node.problem {
            output::warn(format!("node {}: {}", node.node, problem.trim_end()));
        }
    }
    Ok(())
}

/// Only what departs from the rule is worth a word.
fn durability(durability: Durability) -> String {
    match durability {
        Durability::Fsync => String::new(),
        other => format!(", DURABILITY {}", other.as_str()),
    }
}

fn slow(slow: Slow) -> String {
    match slow.is_real_time() {
        true => String::new(),
        false => format!(", in slow motion ({slow})"),
    }
}

fn row(status: &ClusterStatus, node: &NodeState) -> Vec<String> {
    let none = || "-".to_owned();
    let report = node.report.as_ref().filter(|_| node.state == State::Running);
    let figure = |pick: fn(&crate::control::NodeStatus) -> u64| {
        report.map_or_else(none, |report| pick(report).to_string())
    };
    let since = units::since(node.since_millis);
    vec![
        node.node.to_string(),
        paint(state_colour(node.state), node.state.as_str()),
        match node.role() {
            Some(Role::Leader) => paint(Some(AnsiColor::Green), "leader"),
            Some(role) => role.to_string(),
            None => none(),
        },
        figure(|report| report.term.0),
        figure(|report| report.commit_index.0),
        figure(|report| report.applied_index.0),
        figure(|report| report.keys),
        node.pid.map_or_else(none, |pid| pid.to_string()),
        match report {
            Some(report) => {
                short_duration(std::time::Duration::from_secs(report.uptime_millis / 1_000))
            }
            None => format!("({})", short_duration(since)),
        },
        node.restarts.to_string(),
        endpoint(status, &node.client),
    ]
}

/// An address, without the cluster's own directory.
pub fn endpoint(status: &ClusterStatus, address: &Address) -> String {
    match address {
        Address::Unix(path) => match path.strip_prefix(&status.directory) {
            Ok(inside) => format!("unix:…/{}", inside.display()),
            Err(_) => address.to_string(),
        },
        Address::Tcp(_) => address.to_string(),
    }
}

fn state_colour(state: State) -> Option<AnsiColor> {
    match state {
        State::Running => None,
        State::Starting | State::Stopping | State::Paused => Some(AnsiColor::Yellow),
        State::Unresponsive | State::BackingOff | State::CrashLooping => Some(AnsiColor::Red),
        State::Stopped => Some(AnsiColor::BrightBlack),
    }
}

fn paint(colour: Option<AnsiColor>, text: &str) -> String {
    match colour {
        None => text.to_owned(),
        Some(colour) => {
            let style = Style::new().fg_color(Some(colour.into()));
            format!("{style}{text}{style:#}")
        }
    }
}
