//! `kvctl chaos`: faults on purpose.

mod ask;
mod drill;
mod heal;
mod lint;
mod nodes;
mod perform;
mod status;

pub use lint::load;

use std::path::PathBuf;
use std::time::Duration;

use super::Global;
use super::failure::Outcome;
use super::units::{parse_positive_duration, parse_share, parse_size};
use crate::chaos::{FaultId, Flap, Who};
use crate::link::Distribution;

/// What can be done to a cluster.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl chaos partition '1,2|3,4,5'           two sides (also: 1,2 3,4,5 or 1,2/3,4,5)
  kvctl chaos isolate leader --for 10s        the leader alone, for ten seconds
  kvctl chaos delay 100ms --jitter 20ms       on all links
  kvctl chaos loss 5% --links leader-2,3:4    both ways between the leader and 2; from 3 to 4
  kvctl chaos pause leader --for 5s           SIGSTOP, and SIGCONT in time
  kvctl chaos kill all --for 1s               everybody at once
  kvctl chaos clock drift 2 1.5               its clock runs half as fast again
  kvctl chaos disk full leader --for 10s      no space left
  kvctl chaos status                          what is in force, since when, by whom
  kvctl chaos heal                            end all of it
  kvctl chaos drill                           rehearse: find out what is wrong, and mend it

Nodes are named by number or by what they are when the fault begins: leader, followers, majority,
minority, all. Faults add up. One without --for stays until `heal`, across restarts of nodes and of
the supervisor; none outlives its cluster.")]
pub enum Chaos {
    Partition(Partition),
    Isolate(Isolate),
    OneWay(OneWay),
    Rings(Rings),
    Bridge(Bridge),
    Cut(Cut),
    Stall(Stall),
    Delay(Delay),
    Loss(Loss),
    Dup(Dup),
    Reorder(Reorder),
    Rate(Rate),
    Pause(Pause),
    Kill(nodes::Kill),
    Terminate(nodes::Terminate),
    CrashLoop(nodes::CrashLoop),
    SlowCpu(nodes::SlowCpu),
    Memory(nodes::Memory),
    #[command(subcommand)]
    Clock(nodes::Clock),
    #[command(subcommand)]
    Disk(nodes::Disk),
    Corrupt(nodes::Corrupt),
    Drill(drill::DrillCommand),
    Status(Status),
    Heal(Heal),
    Lint(Lint),
    Run(perform::Run),
}

/// How long, and who wants it.
#[derive(Clone, Debug, clap::Args)]
pub struct Lease {
    /// End by itself after this time [default: until `chaos heal`]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration)]
    pub lasts: Option<Duration>,
    /// Come and go: so long on, so long off
    #[arg(long, value_name = "ON/OFF", value_parser = str::parse::<Flap>)]
    pub flap: Option<Flap>,
    /// Who wants it, for `chaos status` and the history [default: you]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Even if it takes away the quorum of a protected cluster
    #[arg(long)]
    pub yes: bool,
}

/// On which links.
#[derive(Clone, Debug, clap::Args)]
pub struct OnLinks {
    /// Which links: `2-3` both ways, `1:2` from 1 to 2; with commas between [default: all]
    #[arg(long, value_name = "LINKS")]
    pub links: Option<String>,
    #[command(flatten)]
    pub lease: Lease,
}

/// Split the cluster into groups that do not reach each other
///
/// Whoever stands in no group forms one more: a single group stands against the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos partition '1,2|3,4,5'
  kvctl chaos partition 1,2 3,4,5             the same; `|` is also the shell's pipe
  kvctl chaos partition leader --for 30s      the leader against the rest
  kvctl chaos partition minority --flap 2s/1s
  kvctl chaos partition 1 2 3,4,5 -o json | jq .fault.id

JSON fields: schema_version, fault (id, wish, links, policy, nodes, flap, since_millis,
until_millis, by, at_begin), warning, unheard (nodes that live and did not answer: they get it when
they do)")]
pub struct Partition {
    /// Groups of nodes, parted by `|`, `/` or a space
    #[arg(required = true, value_name = "GROUPS")]
    pub groups: Vec<String>,
    #[command(flatten)]
    pub lease: Lease,
}

/// Cut nodes off from everybody, and from each other
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos isolate leader
  kvctl chaos isolate 2,3 --for 10s")]
pub struct Isolate {
    /// Which nodes
    #[arg(required = true, value_name = "NODES")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub lease: Lease,
}

/// Cut one direction: what FROM sends does not reach TO, and the way back goes on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos one-way leader followers        a leader that hears and is not heard
  kvctl chaos one-way 3 1,2 --for 10s")]
pub struct OneWay {
    /// Whose messages are lost
    #[arg(value_name = "FROM")]
    pub from: String,
    /// On their way to whom
    #[arg(value_name = "TO")]
    pub to: String,
    #[command(flatten)]
    pub lease: Lease,
}

/// Let every node see a majority, and no two the same one
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos rings --for 20s")]
pub struct Rings {
    #[command(flatten)]
    pub lease: Lease,
}

/// Two halves that do not reach each other, and one node that reaches both
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos bridge 3\n  kvctl chaos bridge leader --for 20s")]
pub struct Bridge {
    /// The node in between
    #[arg(value_name = "NODE")]
    pub node: Who,
    #[command(flatten)]
    pub lease: Lease,
}

/// Cut chosen links
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos cut 1-2                         both ways: the half-dead leader, if 1 leads
  kvctl chaos cut 1:2,3-4 --for 10s")]
pub struct Cut {
    /// Which: `2-3` both ways, `1:2` from 1 to 2; with commas between
    #[arg(value_name = "LINKS")]
    pub links: String,
    #[command(flatten)]
    pub lease: Lease,
}

/// Let nothing through although connections stay open; it arrives when this is over
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos stall --links leader:followers --for 2s")]
pub struct Stall {
    #[command(flatten)]
    pub on: OnLinks,
}

/// Make messages late
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos delay 100ms
  kvctl chaos delay 40ms --jitter 10ms --distribution long-tail --links leader-followers")]
pub struct Delay {
    /// How long a message is on its way, in one direction
    #[arg(value_name = "TIME", allow_hyphen_values = true,
          value_parser = super::units::parse_duration)]
    pub delay: Duration,
    /// How much that varies
    #[arg(long, default_value = "0s", value_name = "TIME",
          value_parser = super::units::parse_duration)]
    pub jitter: Duration,
    /// How it varies: evenly in delay ± jitter; as a bell; or never less, and sometimes much more
    #[arg(long, default_value = "uniform", value_name = "SHAPE")]
    pub distribution: Distribution,
    #[command(flatten)]
    pub on: OnLinks,
}

/// Lose a share of all messages
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos loss 5%
  kvctl chaos loss 20% --burst 10 --links 2-3    the same share, ten in a row on average")]
pub struct Loss {
    /// How many: `5%` or `0.05`
    #[arg(value_name = "SHARE", value_parser = parse_share)]
    pub share: f64,
    /// Lose so many in a row, on average
    #[arg(long, default_value_t = 1.0, value_name = "MESSAGES")]
    pub burst: f64,
    #[command(flatten)]
    pub on: OnLinks,
}

/// Let a share of all messages arrive twice
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos dup 10%")]
pub struct Dup {
    /// How many: `5%` or `0.05`
    #[arg(value_name = "SHARE", value_parser = parse_share)]
    pub share: f64,
    #[command(flatten)]
    pub on: OnLinks,
}

/// Hold a share of all messages back, so that later ones overtake them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos reorder 10% --hold 20ms")]
pub struct Reorder {
    /// How many: `5%` or `0.05`
    #[arg(value_name = "SHARE", value_parser = parse_share)]
    pub share: f64,
    /// For how long
    #[arg(long, default_value = "10ms", value_name = "TIME",
          value_parser = parse_positive_duration)]
    pub hold: Duration,
    #[command(flatten)]
    pub on: OnLinks,
}

/// Let only so many bytes a second through
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos rate 64KiB --links leader:2")]
pub struct Rate {
    /// Bytes a second, on each link: `64KiB`, `1MB`
    #[arg(value_name = "SIZE", value_parser = parse_size)]
    pub bytes: usize,
    #[command(flatten)]
    pub on: OnLinks,
}

/// Let nodes stand still (SIGSTOP): alive, their sockets open, and silent
///
/// Like `node pause`, and with an end: with --for, they go on in time even if the supervisor is
/// gone by then.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos pause leader --for 5s
  kvctl chaos pause 2,3")]
pub struct Pause {
    /// Which nodes
    #[arg(required = true, value_name = "NODES")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    pub lease: Lease,
}

/// Show the faults in force: since when, until when, by whom
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos status
  kvctl chaos status -o json | jq '.faults[].id'

JSON fields: schema_version, faults (each: id, wish, links, policy, nodes, flap, since_millis,
until_millis, by, at_begin)")]
pub struct Status {}

/// End faults: those of these numbers, or all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos heal
  kvctl chaos heal 3 4

What the cluster did meanwhile is as of its nodes' last reports, which may be 250 ms old.

JSON fields: schema_version, healed (each: id, what, lasted_millis, at_begin and at_end: term,
leader, commit_index, starts), unheard (nodes that live and did not answer: for them it ends when
they do)")]
pub struct Heal {
    /// Their numbers, as `chaos status` shows them [default: all]
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub faults: Vec<FaultId>,
}

/// Check scenario files, and point at what is wrong in them
///
/// All mistakes are told at once, each with its line. A scenario that passes runs on a living
/// cluster and in the simulator (`kvctl sim --scenario FILE`). ops/scenarios/README.md says what
/// can be written.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos lint ops/scenarios/half-dead-leader.toml
  kvctl chaos lint ops/scenarios/*.toml -o json

Exit codes: 0 all of them make sense, 2 one does not.

JSON fields: schema_version, files (each: file, name, simulated: whether the simulator can perform
it; mistakes: line, column, what, help)")]
pub struct Lint {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

fn parse_id(text: &str) -> Result<FaultId, String> {
    text.parse().map(FaultId).map_err(|_| "write the number of a fault".to_owned())
}

pub async fn run(global: &Global, command: Chaos) -> Outcome {
    match command {
        Chaos::Status(_) => status::run(global).await,
        Chaos::Heal(heal) => heal::run(global, heal).await,
        Chaos::Drill(drill) => drill::run(global, drill).await,
        Chaos::Lint(lint) => lint::run(global, &lint),
        Chaos::Run(run) => perform::run(global, run).await,
        other => ask::run(global, other).await,
    }
}
