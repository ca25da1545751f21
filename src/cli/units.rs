//! Times and sizes as people write and read them, and what needs a clock for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use crate::units::{
    parse_duration, parse_jump, parse_positive_duration, parse_share, parse_size, short_duration,
    short_size, timestamp, unix_days,
};

/// Now, in milliseconds of Unix time.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// How long ago a moment of Unix time was; nothing if it lies ahead.
pub fn since(unix: u64) -> Duration {
    Duration::from_millis(unix_millis().saturating_sub(unix))
}
