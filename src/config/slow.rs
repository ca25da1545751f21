//! Slow motion: a real cluster, so many times slower, for people who want to see each step.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many times as long all takes that happens between nodes: election time-outs, heartbeats, and
/// each message's way. At 1 a message takes as long as it takes; above, also a fifth of a
/// heartbeat's interval, so that each can be followed by eye, and an election time-out is still
/// many messages long (paper §5.6: broadcast time ≪ election time-out).
///
/// Written `20x`, or `20`; a number in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slow(pub u32);

impl Slow {
    /// An election takes up to fifteen seconds: what waits for one still waits long enough.
    pub const MAX: u32 = 50;

    /// `millis`, so many times as long.
    pub fn stretch(self, millis: u64) -> u64 {
        millis.saturating_mul(u64::from(self.0))
    }

    /// How long a message's way takes on top, for heartbeats (already stretched) so far apart.
    pub fn link_delay_millis(self, heartbeat_millis: u64) -> u64 {
        if self.is_real_time() { 0 } else { heartbeat_millis / 5 }
    }

    /// Nothing is slower than it is.
    pub fn is_real_time(self) -> bool {
        self.0 == 1
    }

    pub(super) fn validate(self) -> Result<(), String> {
        if (1..=Slow::MAX).contains(&self.0) {
            return Ok(());
        }
        Err(format!("`slow` is {}: from 1 to {} times are possible", self.0, Slow::MAX))
    }
}

impl Default for Slow {
    fn default() -> Slow {
        Slow(1)
    }
}

impl FromStr for Slow {
    type Err = String;

    fn from_str(text: &str) -> Result<Slow, String> {
        let number = text.strip_suffix('x').unwrap_or(text);
        let slow = Slow(number.parse().map_err(|_| {
            format!("`{text}` is no number of times, such as 20x, from 1x to {}x", Slow::MAX)
        })?);
        slow.validate().map(|()| slow)
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!("20x".parse(), Ok(Slow(20)));
        assert_eq!("1".parse(), Ok(Slow(1)));
        assert_eq!(Slow(20).to_string().parse(), Ok(Slow(20)));
        for wrong in ["0x", "51x", "x", "-3", "1.5x", "99999999999"] {
            assert!(wrong.parse::<Slow>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_message_takes_a_fifth_of_a_heartbeat_and_nothing_in_real_time() {
        assert_eq!(Slow(20).link_delay_millis(Slow(20).stretch(50)), 200);
        assert_eq!(Slow(1).link_delay_millis(50), 0);
    }
}
