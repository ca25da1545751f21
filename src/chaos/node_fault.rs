//! What can be wrong with a node itself, not with its links.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ClockFault;
use crate::link::MAX_DELAY;
use crate::storage::Trouble;

/// What can be wrong with a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NodeFault {
    /// Its process stands still (SIGSTOP), with its sockets open.
    Pause,
    /// It is killed (SIGKILL), and stays dead.
    Kill,
    /// It is asked to end (SIGTERM), and stays away.
    Terminate,
    /// It is killed again and again, and started each time.
    CrashLoop { every_millis: u64 },
    /// It gets this share of the time of a processor; for the rest it stands still.
    SlowCpu { share: f64 },
    /// Its data may not take more memory than this. A node that needs more ends.
    Memory { bytes: u64 },
    /// Its clock is wrong.
    Clock(ClockFault),
    /// Its disk is.
    Disk(Trouble),
    /// It is killed, and a bit of its log flips while it is down: in this segment (counted from
    /// the oldest, 0), or in any.
    Corrupt { segment: Option<u64> },
}

impl NodeFault {
    /// Whether it makes sense.
    pub fn validate(&self) -> Result<(), String> {
        match self {
            NodeFault::CrashLoop { every_millis } => {
                let range = 10..=MAX_DELAY.as_millis() as u64;
                match range.contains(every_millis) {
                    true => Ok(()),
                    false => {
                        Err("a node is killed every 10 ms at most, every hour at least".into())
                    }
                }
            }
            NodeFault::SlowCpu { share } if !(0.01..1.0).contains(share) => {
                Err("a slow node gets 1 % to 99 % of the time".to_owned())
            }
            NodeFault::Memory { bytes: 0 } => {
                Err("no process runs without memory: kill it instead".to_owned())
            }
            NodeFault::Clock(clock) => clock.validate(),
            NodeFault::Disk(trouble) => trouble.validate().map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// Whether the node takes no part while this is in force.
    pub fn takes_away(&self) -> bool {
        matches!(self, NodeFault::Pause) || self.keeps_down()
    }

    /// Whether there is no process while this is in force.
    pub fn keeps_down(&self) -> bool {
        use NodeFault::{Corrupt, Kill, Terminate};
        matches!(self, Kill | Terminate | Corrupt { .. })
    }

    /// Whether the node itself carries it out, and ends it when its time is over.
    pub(super) fn is_the_nodes(&self) -> bool {
        matches!(self, NodeFault::Clock(_) | NodeFault::Disk(_))
    }
}

/// The word for it, to be followed by the nodes and [`NodeFault::details`].
impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeFault::Pause => "pause",
            NodeFault::Kill => "kill",
            NodeFault::Terminate => "terminate",
            NodeFault::CrashLoop { .. } => "crash-loop",
            NodeFault::SlowCpu { .. } => "slow-cpu",
            NodeFault::Memory { .. } => "memory",
            NodeFault::Clock(_) => "clock",
            NodeFault::Disk(_) => "disk",
            NodeFault::Corrupt { .. } => "corrupt",
        })
    }
}

impl NodeFault {
    /// What else there is to say.
    pub fn details(&self) -> String {
        match self {
            NodeFault::Pause | NodeFault::Kill | NodeFault::Terminate => String::new(),
            NodeFault::CrashLoop { every_millis } => format!("every {every_millis} ms"),
            NodeFault::SlowCpu { share } => format!("to {} %", (share * 1e4).round() / 1e2),
            NodeFault::Memory { bytes } => format!("limited to {bytes} bytes"),
            NodeFault::Clock(clock) => clock.to_string(),
            NodeFault::Disk(trouble) => trouble.to_string(),
            NodeFault::Corrupt { segment: None } => "a bit of its log".to_owned(),
            NodeFault::Corrupt { segment: Some(segment) } => {
                format!("a bit of segment {segment} of its log")
            }
        }
    }
}
