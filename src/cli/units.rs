//! Times and sizes as people write and read them, and what needs a clock for it.

use std::time::Duration;

pub use crate::control::unix_millis;
pub use crate::units::{
    parse_duration, parse_jump, parse_positive_duration, parse_share, parse_size, short_duration,
    short_size, timestamp, unix_days,
};

/// How long ago a moment of Unix time was; nothing if it lies ahead.
pub fn since(unix: u64) -> Duration {
    Duration::from_millis(unix_millis().saturating_sub(unix))
}
