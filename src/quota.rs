//! How much a cluster stores at most.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::parse_size;

/// What [`Machine::size`](crate::kv::Machine::size) may come to before writes are refused. Written
/// as `off`, or as a size: `2GiB`, `500MB`, `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// As much as there is memory and disk for.
    Off,
    Bytes(u64),
}

/// As etcd's.
pub const DEFAULT_BYTES: u64 = 2 << 30;

/// With less, hardly anything could be written.
const LEAST_BYTES: u64 = 64 << 10;

impl Quota {
    /// The bytes, if there is a bound.
    pub fn bytes(self) -> Option<u64> {
        if let Quota::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn of(bytes: u64) -> Result<Quota, String> {
        match bytes {
            ..LEAST_BYTES => Err(format!("a quota of {bytes} bytes is too small: 64KiB at least")),
            bytes => Ok(Quota::Bytes(bytes)),
        }
    }
}

impl Default for Quota {
    fn default() -> Quota {
        Quota::Bytes(DEFAULT_BYTES)
    }
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Quota, String> {
        if text == "off" {
            return Ok(Quota::Off);
        }
        let bytes = parse_size(text).map_err(|_| {
            format!("`{text}` says nothing of how much may be stored: write `off` or `2GiB`")
        })?;
        Quota::of(bytes as u64)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let Quota::Bytes(bytes) = *self else { return f.write_str("off") };
        match UNITS.iter().find(|(unit, _)| bytes.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", bytes / unit),
            None => write!(f, "{bytes}"),
        }
    }
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Quota, D::Error> {
        from.deserialize_any(NumberOrText)
    }
}

/// The other sizes of the file are plain numbers, so this one may be, too.
struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off`, or a size such as `2GiB`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Quota, E> {
        Quota::of(bytes).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Quota, E> {
        let bytes = u64::try_from(bytes);
        let bytes = bytes.map_err(|_| E::custom("a quota is no number below zero: write `off`"))?;
        Quota::of(bytes).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for (text, quota) in [
            ("off", Quota::Off),
            ("2GiB", Quota::default()),
            ("500MiB", Quota::Bytes(500 << 20)),
            ("100001", Quota::Bytes(100_001)),
        ] {
            assert_eq!(text.parse(), Ok(quota));
            assert_eq!(quota.to_string(), text);
        }
        for wrong in ["0", "on", "-3", "1KiB", ""] {
            assert!(wrong.parse::<Quota>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plain_number_is_a_size_too() {
        #[derive(Deserialize)]
        struct File {
            quota: Quota,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.quota);
        assert_eq!(read("quota = 1048576").unwrap(), Quota::Bytes(1 << 20));
        assert_eq!(read("quota = \"1MiB\"").unwrap(), Quota::Bytes(1 << 20));
        assert_eq!(read("quota = \"off\"").unwrap(), Quota::Off);
        for wrong in ["quota = 5", "quota = -1", "quota = true", "quota = \"much\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
