//! kvctl: parse, call, print.
//!
//! One file a command. Nothing in here decides anything about the cluster: what is known about
//! nodes is [`control`](crate::control)'s, what becomes of a request is
//! [`client`](crate::client)'s. What is decided here is what people and scripts see, and that is a
//! contract: the forms of `output`, the exit codes of `failure`, the fields that each command's
//! help documents.

mod alarm;
mod bench;
mod bytes;
mod cas;
mod chaos;
mod check;
mod child;
mod cluster;
mod compact;
mod completions;
mod console;
mod defrag;
mod del;
mod doctor;
mod elect;
mod env;
mod etcd;
mod export;
mod failure;
mod get;
mod hold;
mod import;
mod interrupt;
mod leader;
mod lease;
mod listing;
mod lock;
mod log;
mod member;
mod node;
mod ops;
mod output;
mod path;
mod put;
mod reach;
mod replay;
mod scan;
mod selection;
mod sim;
mod snapshot;
mod top;
mod txn;
mod units;
mod verify;
mod watch;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::task::LocalSet;

use crate::config::ClusterName;
use failure::{Failure, Outcome};
use output::Format;

/// Run a replicated key-value store on this machine, use it, and break it on purpose
#[derive(Debug, Parser)]
#[command(
    name = "kvctl",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kvctl cluster up -n 5                start five nodes
  kvctl put greeting hello
  kvctl node kill leader               and see what happens:
  kvctl get greeting
  kvctl cluster status
  kvctl cluster down                   stop; the data stays

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no quorum or timed out, 4 an expectation was
violated, 5 a check could not decide, 130 interrupted. A command that wraps another returns that
one's code."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct GlobalArguments {
    /// Which cluster [default: KVRAFT_NAME in the environment, else `default`]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub name: Option<ClusterName>,
    /// The form of the result
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Global options"
    )]
    pub output: Format,
}

/// What every command was told, or took from the environment.
#[derive(Clone, Debug)]
pub struct Global {
    pub name: ClusterName,
    /// The name was given on the command line: it means that cluster and no other.
    pub is_named: bool,
    pub output: Format,
}

impl GlobalArguments {
    /// Fills in from the environment; `name` is that of `KVRAFT_NAME`.
    fn resolve(self, name: Option<OsString>) -> Result<Global, Failure> {
        let is_named = self.name.is_some();
        let name = match (self.name, name) {
            (Some(name), _) => name,
            (None, Some(name)) if !name.is_empty() => name
                .to_string_lossy()
                .parse()
                .map_err(|error| Failure::usage(format!("KVRAFT_NAME: {error}")))?,
            (None, _) => ClusterName::default(),
        };
        Ok(Global { name, is_named, output: self.output })
    }
}

impl Global {
    /// How a command that is suggested names the same cluster.
    pub fn flag(&self) -> String {
        match self.name == ClusterName::default() {
            true => String::new(),
            false => format!(" --name {}", self.name),
        }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start, watch and stop a cluster
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Start, stop, kill, pause one node
    #[command(subcommand)]
    Node(node::Node),
    /// Break it on purpose: partitions, delay, loss; see what is in force; heal
    #[command(subcommand)]
    Chaos(chaos::Chaos),
    /// Add and remove nodes while the cluster runs
    #[command(subcommand)]
    Member(member::Member),
    /// Hand the leadership over
    #[command(subcommand)]
    Leader(leader::Leader),
    /// The whole state in one file: take, save, inspect and restore it
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    Put(put::Put),
    Get(get::Get),
    Del(del::Del),
    Scan(scan::Scan),
    Cas(cas::Cas),
    Txn(txn::Txn),
    Compact(compact::Compact),
    Watch(watch::Watch),
    /// Keys that go by themselves: begin, renew and end their leases
    #[command(subcommand)]
    Lease(lease::Lease),
    Lock(lock::Lock),
    Elect(elect::Elect),
    Import(import::Import),
    Export(export::Export),
    Bench(bench::Bench),
    /// Look into a node's log, running or not, and verify it
    #[command(subcommand)]
    Log(log::Log),
    Sim(sim::Sim),
    Replay(replay::Replay),
    Check(check::Check),
    Verify(verify::Verify),
    /// Prometheus and Grafana beside the cluster, with alerts and dashboards
    #[command(subcommand)]
    Ops(ops::Ops),
    Console(console::Console),
    Top(top::Top),
    Doctor(doctor::Doctor),
    Defrag(defrag::Defrag),
    /// Show and take off the alarms that keep the cluster from writing
    #[command(subcommand)]
    Alarm(alarm::Alarm),
    Env(env::Env),
    Completions(completions::Completions),
}

/// The whole of kvctl: reads the command line, does it, says how it ended.
pub fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    match run(global, command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(if failure.quiet { 0 } else { failure.exit as u8 })
        }
    }
}

fn run(global: GlobalArguments, command: Command) -> Outcome {
    let global = global.resolve(std::env::var_os("KVRAFT_NAME"))?;
    let runtime = runtime()?;
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, path::followed(dispatch(&global, command)));
    drop(local);
    // Not waited for: a read of standard input that nobody needs any more would hang it.
    runtime.shutdown_background();
    outcome
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

async fn dispatch(global: &Global, command: Command) -> Outcome {
    match command {
        Command::Cluster(command) => cluster::run(global, command).await,
        Command::Node(command) => node::run(global, command).await,
        Command::Chaos(command) => chaos::run(global, command).await,
        Command::Member(command) => member::run(global, command).await,
        Command::Leader(command) => leader::run(global, command).await,
        Command::Snapshot(command) => snapshot::run(global, command).await,
        Command::Put(command) => put::run(global, command).await,
        Command::Get(command) => get::run(global, command).await,
        Command::Del(command) => del::run(global, command).await,
        Command::Scan(command) => scan::run(global, command).await,
        Command::Cas(command) => cas::run(global, command).await,
        Command::Txn(command) => txn::run(global, command).await,
        Command::Compact(command) => compact::run(global, command).await,
        Command::Watch(command) => watch::run(global, command).await,
        Command::Lease(command) => lease::run(global, command).await,
        Command::Lock(command) => lock::run(global, command).await,
        Command::Elect(command) => elect::run(global, command).await,
        Command::Import(command) => import::run(global, command).await,
        Command::Export(command) => export::run(global, command).await,
        Command::Bench(command) => bench::run(global, command).await,
        Command::Log(command) => log::run(global, command),
        Command::Sim(command) => sim::run(global, command).await,
        Command::Replay(command) => replay::run(global, command).await,
        Command::Check(command) => check::run(global, command).await,
        Command::Verify(command) => verify::run(global, command).await,
        Command::Ops(command) => ops::run(global, command).await,
        Command::Console(command) => console::run(global, command).await,
        Command::Top(command) => top::run(global, command).await,
        Command::Doctor(command) => doctor::run(global, &command).await,
        Command::Defrag(command) => defrag::run(global, command).await,
        Command::Alarm(command) => alarm::run(global, command).await,
        Command::Env(command) => env::run(global, command).await,
        Command::Completions(command) => completions::run(&command),
    }
}
