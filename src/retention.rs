//! How much of the past is kept by itself.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::parse_positive_duration;

/// What a cluster forgets of its past without being told to, as etcd's automatic compaction does.
/// Written as `all`, as a number of revisions, or as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Nothing: whoever wants it compacted says so.
    All,
    /// The last so many revisions are kept at least, unless they are too large: see
    /// [`MAX_PAST_BYTES`].
    Revisions(u64),
    /// What was there within this time is kept at least.
    Time(Duration),
}

/// As many revisions as anybody needs who looked away for a moment; with small values, a few
/// megabytes.
pub const DEFAULT_REVISIONS: u64 = 10_000;

/// Of keys and values that are not the latest any more, so much is kept at most if a number of
/// revisions is to be kept: beyond it half of the revisions go, and half of the rest, until it is
/// less. Ten thousand values of a megabyte would be more than most machines have memory.
pub const MAX_PAST_BYTES: u64 = 256 << 20;

/// What happened within less than this cannot be kept alone: to look every few milliseconds for
/// what is to go would cost more than it frees.
const SHORTEST: Duration = Duration::from_secs(1);

impl Default for Retention {
    fn default() -> Retention {
        Retention::Revisions(DEFAULT_REVISIONS)
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Retention, String> {
        let wrong =
            || format!("`{text}` says nothing of how much is kept: write `all`, `10000` or `5m`");
        match text.parse() {
            _ if text == "all" => Ok(Retention::All),
            Ok(0) => Err("nothing can be kept of no revision: keep 1 at least".to_owned()),
            Ok(revisions) => Ok(Retention::Revisions(revisions)),
            Err(_) => match parse_positive_duration(text) {
                Ok(time) if time < SHORTEST => {
                    Err(format!("`{text}` is too short a time to be kept: keep 1s at least"))
                }
                Ok(time) => Ok(Retention::Time(time)),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::All => write!(f, "all"),
            Retention::Revisions(revisions) => write!(f, "{revisions}"),
            Retention::Time(time) => write!(f, "{}ms", time.as_millis().max(1)),
        }
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Retention {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Retention, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for (text, retention) in [
            ("all", Retention::All),
            ("10000", Retention::Revisions(10_000)),
            ("1000ms", Retention::Time(Duration::from_secs(1))),
            ("300000ms", Retention::Time(Duration::from_secs(300))),
        ] {
            assert_eq!(text.parse(), Ok(retention));
            assert_eq!(retention.to_string(), text);
        }
        for wrong in ["0", "none", "-3", "0s", "999ms", "1ms", ""] {
            assert!(wrong.parse::<Retention>().is_err(), "{wrong}");
        }
    }
}
