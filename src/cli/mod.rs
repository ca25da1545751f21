//! kvctl: parse, call, print.
//!
//! One file a command. Nothing in here decides anything about the cluster: what is known about
//! nodes is [`control`](crate::control)'s, what becomes of a request is [`client`](crate::client)'s.
//! What is decided here is what people and scripts see, and that is a contract: the forms of
//! `output`, the exit codes of `failure`, the fields that each command's help documents.

mod bench;
mod bytes;
mod cas;
mod cluster;
mod completions;
mod del;
mod doctor;
mod export;
mod failure;
mod get;
mod import;
mod interrupt;
mod node;
mod output;
mod put;
mod reach;
mod scan;
mod units;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::ClusterName;
use failure::{Failure, Outcome};
use output::Format;

/// Run a replicated key-value store on this machine, use it, and break it on purpose
#[derive(Debug, Parser)]
#[command(
    name = "kvctl",
    version,
    about,
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

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no quorum or timed out, 4 an expectation was violated,
5 a check could not decide, 130 interrupted. A command that wraps another returns that one's code."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Which cluster
    #[arg(
        long,
        global = true,
        env = "KVRAFT_NAME",
        default_value_t,
        value_name = "NAME",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub name: ClusterName,
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
    Put(put::Put),
    Get(get::Get),
    Del(del::Del),
    Scan(scan::Scan),
    Cas(cas::Cas),
    Import(import::Import),
    Export(export::Export),
    Bench(bench::Bench),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// The whole of kvctl: reads the command line, does it, says how it ended.
pub fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let outcome = match runtime() {
        Ok(runtime) => {
            let local = tokio::task::LocalSet::new();
            let outcome = local.block_on(&runtime, dispatch(&global, command));
            drop(local);
            // Not waited for: a read of standard input that nobody needs any more would hang it.
            runtime.shutdown_background();
            outcome
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(if failure.quiet { 0 } else { failure.exit as u8 })
        }
    }
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
        Command::Put(command) => put::run(global, command).await,
        Command::Get(command) => get::run(global, command).await,
        Command::Del(command) => del::run(global, command).await,
        Command::Scan(command) => scan::run(global, command).await,
        Command::Cas(command) => cas::run(global, command).await,
        Command::Import(command) => import::run(global, command).await,
        Command::Export(command) => export::run(global, command).await,
        Command::Bench(command) => bench::run(global, command).await,
        Command::Doctor(command) => doctor::run(global, &command).await,
        Command::Completions(command) => completions::run(&command),
    }
}
