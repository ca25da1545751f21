//! The faults of nodes themselves: of their processes, clocks and disks.

use std::time::Duration;

use super::Lease;
use crate::chaos::{ClockFault, NodeFault};
use crate::cli::units::{
    parse_duration, parse_jump, parse_positive_duration, parse_share, parse_size,
};
use crate::storage::Trouble;

/// Which nodes, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct OnNodes {
    /// Which nodes: numbers with commas between, or leader, followers, majority, minority, all
    #[arg(value_name = "NODES")]
    pub nodes: String,
    #[command(flatten)]
    pub lease: Lease,
}

/// Kill nodes (SIGKILL), and leave them dead until the fault ends
///
/// Then they start again. To kill a node that comes back at once: `kvctl node kill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos kill leader --for 5s
  kvctl chaos kill all                        everybody, until `chaos heal`")]
pub struct Kill {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Ask nodes to end (SIGTERM), and leave them away until the fault ends
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos terminate 2,3 --for 10s")]
pub struct Terminate {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Kill nodes again and again; each time they start again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos crash-loop 3 --every 500ms --for 20s")]
pub struct CrashLoop {
    /// How often
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub every: Duration,
    #[command(flatten)]
    pub on: OnNodes,
}

/// Leave nodes only a share of their time: they are stopped and let go on ten times a second
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos slow-cpu leader --to 20% --for 10s")]
pub struct SlowCpu {
    /// How much is left to them: `20%` or `0.2`
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub to: f64,
    #[command(flatten)]
    pub on: OnNodes,
}

/// Limit the memory of nodes' data (RLIMIT_DATA): who needs more ends
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos memory 2 --limit 64MiB")]
pub struct Memory {
    /// How much they may have: `64MiB`
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: usize,
    #[command(flatten)]
    pub on: OnNodes,
}

/// Kill a node and flip a bit of its log while it is down; it starts again when the fault ends
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos corrupt 3 --for 1s
  kvctl chaos corrupt 3 --segment 0           in its oldest segment")]
pub struct Corrupt {
    /// In which segment: 0 is the oldest [default: any]
    #[arg(long, value_name = "NUMBER")]
    pub segment: Option<u64>,
    #[command(flatten)]
    pub on: OnNodes,
}

/// Make the clocks of nodes wrong
///
/// A node counts elections, heartbeats and leases with a monotonic clock: it can run fast or slow,
/// jump ahead, and stand still, but not go back. One that is set back stands still for so long.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl chaos clock jump leader 2s            once; -2s sets it back
  kvctl chaos clock drift 2 1.5 --for 30s     half as fast again
  kvctl chaos clock stop leader --for 2s
  kvctl chaos clock strobe 3 200ms --every 100ms")]
pub enum Clock {
    Jump(Jump),
    Drift(Drift),
    Stop(Stop),
    Strobe(Strobe),
}

/// Let clocks jump ahead, or set them back, once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos clock jump leader 2s
  kvctl chaos clock jump 2,3 -500ms")]
pub struct Jump {
    #[command(flatten)]
    pub on: OnNodes,
    /// How far: `2s`; `-2s` sets them back
    #[arg(value_name = "TIME", allow_hyphen_values = true, value_parser = parse_jump)]
    pub far: i64,
}

/// Let clocks run fast or slow
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos clock drift leader 0.5 --for 10s")]
pub struct Drift {
    #[command(flatten)]
    pub on: OnNodes,
    /// How many times as fast
    #[arg(value_name = "RATE")]
    pub rate: f64,
}

/// Let clocks stand still
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos clock stop 2 --for 5s")]
pub struct Stop {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Let clocks jump ahead and be set back again, over and over
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos clock strobe all 200ms --every 50ms --for 10s")]
pub struct Strobe {
    #[command(flatten)]
    pub on: OnNodes,
    /// How far
    #[arg(value_name = "TIME", value_parser = parse_positive_duration)]
    pub far: Duration,
    /// How often
    #[arg(long, default_value = "100ms", value_name = "TIME",
          value_parser = parse_positive_duration)]
    pub every: Duration,
}

/// Make the disks of nodes slow, full, failing or forgetful
///
/// It is the nodes themselves that do as if: nothing else on this machine notices.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl chaos disk slow leader 50ms --jitter 20ms
  kvctl chaos disk full 2 --for 10s
  kvctl chaos disk sync-error leader
  kvctl chaos disk forget all                 and then: kvctl chaos kill all --for 1s")]
pub enum Disk {
    Slow(Slow),
    Full(Full),
    ReadErrors(ReadErrors),
    WriteErrors(WriteErrors),
    SyncError(SyncError),
    Forget(Forget),
    Tear(Tear),
}

/// Let every operation take longer
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk slow 2,3 20ms --jitter 10ms")]
pub struct Slow {
    #[command(flatten)]
    pub on: OnNodes,
    /// How much longer
    #[arg(value_name = "TIME", value_parser = parse_positive_duration)]
    pub delay: Duration,
    /// How much that varies
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = parse_duration)]
    pub jitter: Duration,
}

/// Let there be no space: nothing can be created or written
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk full leader --for 10s")]
pub struct Full {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Let a share of all reads fail
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk read-errors 2 --share 10%")]
pub struct ReadErrors {
    #[command(flatten)]
    pub on: OnNodes,
    /// How many: `5%` or `0.05`
    #[arg(long, default_value = "100%", value_name = "SHARE", value_parser = parse_share)]
    pub share: f64,
}

/// Let a share of all writes fail
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk write-errors 2 --share 1% --for 10s")]
pub struct WriteErrors {
    #[command(flatten)]
    pub on: OnNodes,
    /// How many: `5%` or `0.05`
    #[arg(long, default_value = "100%", value_name = "SHARE", value_parser = parse_share)]
    pub share: f64,
}

/// Let one sync fail, and what it should have saved be gone; later ones \"succeed\"
///
/// As after a failed fsync on Linux (\"fsyncgate\", 2018). A node that believed the next one would
/// lose what it acknowledged; ours ends, and starts again from what is on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk sync-error leader")]
pub struct SyncError {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Let what was not synced be lost when a node is killed, as in a power cut
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk forget all --for 30s")]
pub struct Forget {
    #[command(flatten)]
    pub on: OnNodes,
}

/// Let half of each write that was not synced be there when a node is killed
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kvctl chaos disk tear leader --for 30s")]
pub struct Tear {
    #[command(flatten)]
    pub on: OnNodes,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Clock {
    /// On which nodes, and what.
    pub fn fault(self) -> (OnNodes, NodeFault) {
        let (on, fault) = match self {
            Clock::Jump(it) => (it.on, ClockFault::Jump { millis: it.far }),
            Clock::Drift(it) => (it.on, ClockFault::Drift { rate: it.rate }),
            Clock::Stop(it) => (it.on, ClockFault::Stop),
            Clock::Strobe(it) => {
                let (millis, every_millis) = (millis(it.far), millis(it.every));
                (it.on, ClockFault::Strobe { millis, every_millis })
            }
        };
        (on, NodeFault::Clock(fault))
    }
}

impl Disk {
    /// On which nodes, and what.
    pub fn fault(self) -> (OnNodes, NodeFault) {
        let well = Trouble::default();
        let (on, trouble) = match self {
            Disk::Slow(it) => {
                let (delay_millis, jitter_millis) =
                    (millis(it.delay), it.jitter.as_millis() as u64);
                (it.on, Trouble { delay_millis, jitter_millis, ..well })
            }
            Disk::Full(it) => (it.on, Trouble { full: true, ..well }),
            Disk::ReadErrors(it) => (it.on, Trouble { read_errors: it.share, ..well }),
            Disk::WriteErrors(it) => (it.on, Trouble { write_errors: it.share, ..well }),
            Disk::SyncError(it) => (it.on, Trouble { sync_error: true, ..well }),
            Disk::Forget(it) => (it.on, Trouble { lose_unsynced: true, ..well }),
            Disk::Tear(it) => (it.on, Trouble { torn: true, ..well }),
        };
        (on, NodeFault::Disk(trouble))
    }
}
