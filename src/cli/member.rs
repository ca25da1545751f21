//! `kvctl member`: who is in the cluster, and changing that while it runs.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::node::{Who, parse_target};
use super::output::{self, Format, Progress};
use super::units::{parse_positive_duration, short_duration, since};
use super::{Global, cluster, reach};
use crate::config::Address;
use crate::control::{ClusterStatus, ControlError, NodeStatus, Standing, State, SupervisorClient};
use crate::types::{LogIndex, NodeId, Term};

/// Between two looks at how far a change has come.
const GLANCE: Duration = Duration::from_millis(100);

/// What can be done to the membership.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl member list
  kvctl member add                      a sixth node, with the next number
  kvctl member remove 2                 it hands over first, if it leads")]
pub enum Member {
    List(List),
    Add(Add),
    Promote(Promote),
    Remove(Remove),
}

/// List the members: role, progress, address, process
///
/// The role is what the leader's configuration says; without a leader, what the best informed node
/// that runs says. A number of a removed node is never used again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl member list
  kvctl member list -o json | jq '.members[] | select(.role == \"learner\")'
  kvctl member list -o name             the ids of the voters and learners

JSON fields: schema_version, leader, term, change_under_way, members: node, role (voter, learner,
outgoing, none, retired), standing (member, joining, leaving; null: retired), state (of the process;
null: retired), address, match_index, lag (entries behind the leader; null: unknown), progress,
retired_since_millis, purged")]
pub struct List {}

/// Add a node to the running cluster
///
/// It gets the next number, a directory and a process of its own, receives the log, and votes once
/// it has caught up. If that ends in the middle, the same command goes on where it ended, and
/// `member list` shows the node as joining until then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl member add
  kvctl member add --learner            without a vote, until `member promote`
  kvctl member add --id 6               finish what was begun for node 6

JSON fields: schema_version, action, node, role, seconds")]
pub struct Add {
    /// Let it receive the log without a vote
    #[arg(long)]
    pub learner: bool,
    /// Finish to add this node, which was begun [default: the one that was begun, else a new one]
    #[arg(long, value_name = "ID", value_parser = reach::parse_node)]
    pub id: Option<NodeId>,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// Give a learner a vote, once it has caught up
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl member promote 6

JSON fields: schema_version, action, node, role, seconds")]
pub struct Promote {
    /// Which learner
    #[arg(value_name = "ID", value_parser = reach::parse_node)]
    pub node: NodeId,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// Remove a node from the running cluster and end its process
///
/// The leader can be removed as well. The node's directory is kept, and never used again; --purge
/// removes it, also of a node that was removed before.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl member remove 2
  kvctl member remove leader
  kvctl member remove 2 --purge         and its data
  kvctl member remove 6                 also one that never finished joining

JSON fields: schema_version, action, node, role (null), seconds")]
pub struct Remove {
    /// Which node
    #[arg(value_name = "ID|leader", value_parser = parse_target)]
    pub node: Who,
    /// Remove its data, too
    #[arg(long)]
    pub purge: bool,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

pub async fn run(global: &Global, command: Member) -> Outcome {
    match command {
        Member::List(_) => list(global).await,
        Member::Add(command) => add(global, command).await,
        Member::Promote(command) => promote(global, command).await,
        Member::Remove(command) => remove(global, command).await,
    }
}

/// What `-o json` prints of a change.
#[derive(Serialize)]
struct Changed {
    action: &'static str,
    node: NodeId,
    role: Option<&'static str>,
    seconds: f64,
}

async fn add(global: &Global, command: Add) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let began = Instant::now();
    let learner = if command.learner { " --learner" } else { "" };
    let again = format!("kvctl{} member add{learner}", global.flag());
    let call = supervisor.member_add(command.id, command.learner, command.timeout);
    let added = watched(&supervisor, "adding a node", call).await;
    let node = added.map_err(|failure| advise(global, failure, &again))?;
    let role = if command.learner { "learner" } else { "voter" };
    print(global, Changed { action: "add", node, role: Some(role), seconds: seconds(began) })?;
    warn_if_even(&supervisor).await;
    Ok(0)
}

async fn promote(global: &Global, command: Promote) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let (began, node) = (Instant::now(), command.node);
    let again = format!("kvctl{} member promote {node}", global.flag());
    let call = supervisor.member_promote(node, command.timeout);
    let what = format!("promoting node {node}");
    watched(&supervisor, &what, call).await.map_err(|f| advise(global, f, &again))?;
    print(
        global,
        Changed { action: "promote", node, role: Some("voter"), seconds: seconds(began) },
    )?;
    warn_if_even(&supervisor).await;
    Ok(0)
}

async fn remove(global: &Global, command: Remove) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let began = Instant::now();
    let node = match command.node {
        Who::Node(node) => node,
        Who::Leader => supervisor.status().await?.leader.ok_or_else(|| {
            Failure::new(Exit::NoQuorum, "no leader is known: name a node by number")
        })?,
    };
    let purge = if command.purge { " --purge" } else { "" };
    let again = format!("kvctl{} member remove {node}{purge}", global.flag());
    let call = supervisor.member_remove(node, command.purge, command.timeout);
    let what = format!("removing node {node}");
    watched(&supervisor, &what, call).await.map_err(|f| advise(global, f, &again))?;
    print(global, Changed { action: "remove", node, role: None, seconds: seconds(began) })?;
    warn_if_even(&supervisor).await;
    Ok(0)
}

/// An even number of voters is worth a word, though not on the way to an odd one.
async fn warn_if_even(supervisor: &SupervisorClient) {
    let status = supervisor.status().await.ok();
    let voters = status.as_ref().and_then(best_view).map_or(0, |view| view.voters.len());
    if voters > 0 {
        cluster::warn_if_even(voters as u32);
    }
}

fn seconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64()
}

fn print(global: &Global, changed: Changed) -> Result<(), Failure> {
    let node = changed.node;
    let time = short_duration(Duration::from_secs_f64(changed.seconds));
    match global.output {
        Format::Json => output::json(&changed)?,
        Format::Name => output::line(node.to_string())?,
        Format::Table => output::line(match (changed.action, changed.role) {
            ("add", Some(role)) => format!("node {node} added as a {role} in {time}"),
            ("promote", _) => format!("node {node} votes, after {time}"),
            _ => format!("node {node} removed in {time}"),
        })?,
    }
    Ok(())
}

/// Waits for `call`, and shows meanwhile what the supervisor says of it. Ctrl-C ends the wait, and
/// with it the call.
pub async fn watched<T>(
    supervisor: &SupervisorClient,
    what: &str,
    call: impl Future<Output = Result<T, ControlError>>,
) -> Result<T, Failure> {
    let mut interrupt = Interrupt::new()?;
    let spinner = Progress::spinner(what);
    let watch = async || -> std::convert::Infallible {
        loop {
            tokio::time::sleep(GLANCE).await;
            let Ok(status) = supervisor.status().await else { continue };
            let said = status.nodes.iter().find_map(|node| {
                node.progress.as_ref().map(|progress| format!("node {} {progress}", node.node))
            });
            spinner.message(said.unwrap_or_else(|| what.to_owned()));
        }
    };
    tokio::select! {
        done = call => done.map_err(|error| match error {
            // As for `kvctl node`: a node that does not exist is wrong usage.
            ControlError::Refused(it) if it.why.contains("there is no node") => {
                Failure::usage(it.why)
            }
            other => other.into(),
        }),
        never = watch() => match never {},
        () = interrupt.wait() => {
            Err(Failure::new(Exit::Interrupted, format!("interrupted while {what}")))
        }
    }
}

/// Says what to do next: `again` where the command can go on later.
fn advise(global: &Global, failure: Failure, again: &str) -> Failure {
    let failure = match failure.exit {
        Exit::NoQuorum | Exit::Interrupted => failure.next(format!("go on with it: {again}")),
        _ => failure,
    };
    failure.next(format!("see how it stands: kvctl{} member list", global.flag()))
}

/// What `-o json` prints of the members.
#[derive(Serialize)]
struct Printed {
    leader: Option<NodeId>,
    term: Term,
    change_under_way: bool,
    members: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    node: NodeId,
    role: &'static str,
    standing: Option<Standing>,
    state: Option<State>,
    address: Option<Address>,
    match_index: Option<LogIndex>,
    lag: Option<u64>,
    progress: Option<String>,
    retired_since_millis: Option<u64>,
    purged: bool,
}

async fn list(global: &Global) -> Outcome {
    let status = cluster::status(global).await?;
    let view = best_view(&status);
    let members = rows(&status, view);
    let under_way = view.is_some_and(|view| !view.outgoing.is_empty());
    match global.output {
        Format::Json => output::json(&Printed {
            leader: status.leader,
            term: status.term,
            change_under_way: under_way,
            members,
        })?,
        Format::Name => {
            let is_member = |row: &&Row| !matches!(row.role, "none" | "retired");
            let members = members.iter().filter(is_member);
            members.map(|row| row.node.to_string()).try_for_each(output::line)?;
        }
        Format::Table => {
            print_table(&status, &members)?;
            if under_way {
                output::note("a change of membership is under way");
            }
            if status.leader.is_none() {
                output::warn("no leader: the roles are what a node that runs knew last");
            }
        }
    }
    Ok(0)
}

/// The leader's view; without one, that of whoever knows most.
fn best_view(status: &ClusterStatus) -> Option<&NodeStatus> {
    let reports = || status.nodes.iter().filter_map(|node| node.report.as_ref());
    let leader = reports().find(|report| Some(report.node) == status.leader);
    leader.or_else(|| reports().max_by_key(|report| (report.term, report.commit_index)))
}

fn rows(status: &ClusterStatus, view: Option<&NodeStatus>) -> Vec<Row> {
    let leads = view.filter(|view| Some(view.node) == status.leader);
    let mut rows: Vec<Row> = Vec::new();
    for node in &status.nodes {
        let id = node.node;
        let role = match view {
            Some(view) if view.voters.contains(&id) => "voter",
            Some(view) if view.learners.contains(&id) => "learner",
            Some(view) if view.outgoing.contains(&id) => "outgoing",
            _ => "none",
        };
        let matched = leads.and_then(|view| match view.node == id {
            true => Some(view.last_index),
            false => view.peers.iter().find(|peer| peer.node == id).map(|peer| peer.match_index),
        });
        rows.push(Row {
            node: id,
            role,
            standing: Some(node.standing),
            state: Some(node.state),
            address: Some(node.peer.clone()),
            match_index: matched,
            lag: leads.zip(matched).map(|(view, matched)| matched.distance_to(view.last_index)),
            progress: node.progress.clone(),
            retired_since_millis: None,
            purged: false,
        });
    }
    // Added by a client of etcd's API, and run by somebody else.
    let strangers = view.into_iter().flat_map(|view| {
        let voters = view.voters.iter().map(|id| (*id, "voter"));
        voters.chain(view.learners.iter().map(|id| (*id, "learner")))
    });
    let strangers: Vec<_> =
        strangers.filter(|(id, _)| !rows.iter().any(|row| row.node == *id)).collect();
    rows.extend(strangers.into_iter().map(|(node, role)| Row {
        node,
        role,
        standing: None,
        state: None,
        address: None,
        match_index: None,
        lag: None,
        progress: None,
        retired_since_millis: None,
        purged: false,
    }));
    rows.extend(status.retired.iter().map(|retired| Row {
        node: retired.node,
        role: "retired",
        standing: None,
        state: None,
        address: None,
        match_index: None,
        lag: None,
        progress: None,
        retired_since_millis: Some(retired.since_millis),
        purged: retired.purged,
    }));
    rows.sort_by_key(|row| row.node);
    rows
}

fn print_table(status: &ClusterStatus, rows: &[Row]) -> Result<(), Failure> {
    let mut table =
        output::table(&["id", "role", "state", "match", "lag", "address", "membership"]);
    for row in rows {
        let none = || "-".to_owned();
        let leads = if Some(row.node) == status.leader { " (leader)" } else { "" };
        table.add_row([
            row.node.to_string(),
            format!("{}{leads}", row.role),
            row.state.map_or_else(none, |state| state.to_string()),
            row.match_index.map_or_else(none, |index| index.to_string()),
            row.lag.map_or_else(none, |lag| lag.to_string()),
            row.address.as_ref().map_or_else(none, |it| cluster::short_address(status, it)),
            membership(row),
        ]);
    }
    output::print_table(&mut table)
}

/// What people want of it, where that is not simply to be a member.
fn membership(row: &Row) -> String {
    let progress = row.progress.as_ref().map_or(String::new(), |text| format!(": {text}"));
    match (row.standing, row.retired_since_millis) {
        (Some(Standing::Member), _) if row.progress.is_none() => String::new(),
        (Some(standing), _) => format!("{standing}{progress}"),
        (None, Some(millis)) => {
            let data = if row.purged { "data purged" } else { "data kept" };
            format!("removed {} ago, {data}", short_duration(since(millis)))
        }
        (None, None) => "not of this supervisor".to_owned(),
    }
}
