//! The time in which programs tell each other when something was.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds of Unix time.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
