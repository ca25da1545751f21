//! What can be wrong with a disk, as a value: like a link's policy, but of a disk.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest that an operation can be held up.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// What is wrong with a disk. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trouble {
    /// Each operation takes so many milliseconds more…
    pub delay_millis: u64,
    /// …or up to so many milliseconds less or more than that.
    pub jitter_millis: u64,
    /// There is no space: nothing can be created, made longer or written (as on file systems that
    /// copy on write, where space that was reserved does not help).
    pub full: bool,
    /// The probability that a read fails.
    pub read_errors: f64,
    /// The probability that a write fails.
    pub write_errors: f64,
    /// The next sync fails and what was written before it is gone; the one after it "succeeds"
    /// ("fsyncgate", 2018). Only once.
    pub sync_error: bool,
    /// What was not synced is lost when the process ends, as in a power cut.
    pub lose_unsynced: bool,
    /// Of what is lost so, the first half of each write is there all the same.
    pub torn: bool,
}

/// A disk cannot be in such trouble.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidTrouble {
    #[error("{field} is a probability, from 0 (never) to 1 (always), and cannot be {value}")]
    Probability { field: &'static str, value: f64 },
    #[error("{field} of {value:?} is too long: at most {MAX_DELAY:?}")]
    TooLong { field: &'static str, value: Duration },
    #[error("nothing is wrong with such a disk")]
    Nothing,
}

impl Trouble {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        *self == Trouble::default()
    }

    /// Whether it makes sense.
    pub fn validate(&self) -> Result<(), InvalidTrouble> {
        let shares = [("read_errors", self.read_errors), ("write_errors", self.write_errors)];
        for (field, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(InvalidTrouble::Probability { field, value });
            }
        }
        for (field, millis) in [("delay", self.delay_millis), ("jitter", self.jitter_millis)] {
            let value = Duration::from_millis(millis);
            if value > MAX_DELAY {
                return Err(InvalidTrouble::TooLong { field, value });
            }
        }
        if self.is_empty() { Err(InvalidTrouble::Nothing) } else { Ok(()) }
    }

    /// What two of them come to together: delays add up, and an operation fails if either lets it.
    pub fn and(self, other: &Trouble) -> Trouble {
        let either = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        let longest = MAX_DELAY.as_millis() as u64;
        Trouble {
            delay_millis: (self.delay_millis + other.delay_millis).min(longest),
            jitter_millis: (self.jitter_millis + other.jitter_millis).min(longest),
            full: self.full || other.full,
            read_errors: either(self.read_errors, other.read_errors),
            write_errors: either(self.write_errors, other.write_errors),
            sync_error: self.sync_error || other.sync_error,
            lose_unsynced: self.lose_unsynced || other.lose_unsynced,
            torn: self.torn || other.torn,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |share: f64| format!("{} %", (share * 1e4).round() / 1e2);
        let mut words = Vec::new();
        if (self.delay_millis, self.jitter_millis) != (0, 0) {
            words.push(format!("slow by {} ms", self.delay_millis));
        }
        if self.jitter_millis > 0 {
            words.push(format!("± {} ms", self.jitter_millis));
        }
        words.extend(self.full.then(|| "full".to_owned()));
        if self.read_errors > 0.0 {
            words.push(format!("{} of reads fail", share(self.read_errors)));
        }
        if self.write_errors > 0.0 {
            words.push(format!("{} of writes fail", share(self.write_errors)));
        }
        words.extend(self.sync_error.then(|| "the next sync fails".to_owned()));
        words.extend(self.lose_unsynced.then(|| "forgets what is not synced".to_owned()));
        words.extend(self.torn.then(|| "tears what is not synced".to_owned()));
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_makes_no_sense_is_refused() {
        let nothing = Trouble::default();
        assert_eq!(nothing.validate(), Err(InvalidTrouble::Nothing));
        let often = Trouble { read_errors: 1.5, ..nothing.clone() };
        assert!(often.validate().unwrap_err().to_string().contains("probability"));
        let late = Trouble { jitter_millis: 60_001, ..nothing.clone() };
        assert!(late.validate().unwrap_err().to_string().contains("too long"));
        assert!(Trouble { write_errors: f64::NAN, ..nothing }.validate().is_err());
    }

    #[test]
    fn troubles_add_up() {
        let a = Trouble { delay_millis: 5, write_errors: 0.5, full: true, ..Trouble::default() };
        let b = Trouble { delay_millis: 7, write_errors: 0.5, torn: true, ..Trouble::default() };
        let both = a.and(&b);
        assert_eq!((both.delay_millis, both.write_errors), (12, 0.75));
        assert_eq!(
            both.to_string(),
            "slow by 12 ms, full, 75 % of writes fail, tears what is not synced"
        );
    }
}
