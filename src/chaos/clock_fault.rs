//! What can be wrong with a node's clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The furthest that a clock jumps.
const MAX_JUMP: Duration = Duration::from_secs(24 * 3600);

/// How many times as fast, or as slow, a clock can be.
const MAX_DRIFT: f64 = 100.0;

/// What is wrong with a node's monotonic clock (see [`Clock`](super::Clock)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClockFault {
    /// It jumps ahead, or, if negative, is set back: then it stands still for so long. Once.
    Jump { millis: i64 },
    /// It runs this many times as fast as others.
    Drift { rate: f64 },
    /// It stands still.
    Stop,
    /// It jumps ahead, then is set back by as much, and so on, each after so long.
    Strobe { millis: u64, every_millis: u64 },
}

impl ClockFault {
    /// Whether it makes sense.
    pub fn validate(self) -> Result<(), String> {
        let far = |millis: u64| Duration::from_millis(millis) > MAX_JUMP;
        match self {
            ClockFault::Jump { millis: 0 } | ClockFault::Strobe { millis: 0, .. } => {
                Err("a clock that jumps by 0 ms does not jump".to_owned())
            }
            ClockFault::Jump { millis } if far(millis.unsigned_abs()) => {
                Err("a clock jumps by a day at most".to_owned())
            }
            ClockFault::Strobe { millis, every_millis } if far(millis) || far(every_millis) => {
                Err("a clock jumps by a day, and once a day, at most".to_owned())
            }
            ClockFault::Strobe { every_millis: 0, .. } => {
                Err("a clock does not jump every 0 ms".to_owned())
            }
            ClockFault::Drift { rate } if !(1.0 / MAX_DRIFT..=MAX_DRIFT).contains(&rate) => {
                Err(format!("a clock runs {} to {MAX_DRIFT} times as fast", 1.0 / MAX_DRIFT))
            }
            _ => Ok(()),
        }
    }

    /// How fast the clock runs.
    pub(super) fn rate(self) -> f64 {
        match self {
            ClockFault::Drift { rate } => rate,
            ClockFault::Stop => 0.0,
            ClockFault::Jump { .. } | ClockFault::Strobe { .. } => 1.0,
        }
    }

    /// How many jumps are due, so long after its beginning.
    pub(super) fn jumps(self, after_millis: u64) -> u64 {
        match self {
            ClockFault::Jump { .. } => 1,
            ClockFault::Strobe { every_millis, .. } => after_millis / every_millis.max(1) + 1,
            ClockFault::Drift { .. } | ClockFault::Stop => 0,
        }
    }

    /// By how many milliseconds the jump of this number, from 0, goes.
    pub(super) fn jump(self, number: u64) -> i64 {
        match self {
            ClockFault::Jump { millis } => millis,
            ClockFault::Strobe { millis, .. } => {
                let millis = i64::try_from(millis).unwrap_or(i64::MAX);
                if number.is_multiple_of(2) { millis } else { -millis }
            }
            ClockFault::Drift { .. } | ClockFault::Stop => 0,
        }
    }

    /// When the next jump is due, as long after its beginning.
    pub(super) fn next_jump(self, after_millis: u64) -> Option<u64> {
        match self {
            ClockFault::Strobe { every_millis, .. } => {
                Some((after_millis / every_millis.max(1) + 1) * every_millis)
            }
            _ => None,
        }
    }

    /// For how long it is in force if nobody says: a jump is over once it was made.
    pub(super) fn natural_millis(self) -> Option<u64> {
        /// For every node to hear of it, even a slow one.
        const HEARD: u64 = 1000;
        match self {
            ClockFault::Jump { millis: back @ ..0 } => Some(back.unsigned_abs().max(HEARD)),
            ClockFault::Jump { .. } => Some(HEARD),
            _ => None,
        }
    }
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockFault::Jump { millis: back @ ..0 } => write!(f, "set back by {} ms", -back),
            ClockFault::Jump { millis } => write!(f, "jump {millis} ms ahead"),
            ClockFault::Drift { rate } => write!(f, "run at {rate} times its rate"),
            ClockFault::Stop => f.write_str("stop"),
            ClockFault::Strobe { millis, every_millis } => {
                write!(f, "jump {millis} ms ahead and back, every {every_millis} ms")
            }
        }
    }
}
