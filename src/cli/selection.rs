//! Which keys a command is about: one, a range, those with a prefix, or all from one on.

use std::ffi::OsString;

use bytes::Bytes;

use super::bytes::Encoding;
use super::failure::Failure;
use crate::client::prefix_end;
use crate::kv::{RangeRequest, SortOrder, SortTarget, after};
use crate::types::Revision;

/// A key, and how far beyond it.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// The key, or the first of a range
    pub key: OsString,
    /// Up to this key (exclusive)
    pub end: Option<OsString>,
    #[command(flatten)]
    pub reach: Breadth,
}

/// How far a range reaches, where that is no other key.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Breadth {
    /// All keys that begin with KEY (which may be empty: all)
    #[arg(long, conflicts_with_all = ["from_key", "end"])]
    pub prefix: bool,
    /// All keys from KEY on
    #[arg(long, conflicts_with = "end")]
    pub from_key: bool,
}

/// A half-open range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub start: Bytes,
    /// Exclusive; empty: to the last key.
    pub end: Bytes,
    /// It is that one key alone.
    pub is_one: bool,
}

impl Selection {
    pub fn keys(&self, encoding: Encoding) -> Result<Keys, Failure> {
        self.reach.keys(encoding, &self.key, self.end.as_ref())
    }
}

impl Breadth {
    /// The range from `key` on; `end` is where it ends, if that is another key.
    pub fn keys(
        self,
        encoding: Encoding,
        key: &OsString,
        end: Option<&OsString>,
    ) -> Result<Keys, Failure> {
        let range = |start, end| Ok(Keys { start, end, is_one: false });
        let start = match self.prefix || self.from_key {
            true => encoding.parse("key", key)?,
            false => encoding.parse_key(key)?,
        };
        if self.prefix {
            let end = prefix_end(&start);
            return range(start, end);
        }
        if self.from_key {
            return range(start, Bytes::new());
        }
        let Some(end) = end else {
            let end = after(&start);
            return Ok(Keys { start, end, is_one: true });
        };
        let end = encoding.parse("end", end)?;
        if end.is_empty() {
            return Err(
                Failure::usage("the end must not be empty").next("all that follow: --from-key")
            );
        }
        if end <= start {
            return Err(Failure::usage("the range ends before it begins"));
        }
        range(start, end)
    }
}

impl Keys {
    /// In etcd's notation: the key, and the end of the range.
    pub fn of_etcd(&self) -> (Bytes, Bytes) {
        let zero = || Bytes::from_static(&[0]);
        let key = if self.start.is_empty() { zero() } else { self.start.clone() };
        match (self.is_one, self.end.is_empty()) {
            (true, _) => (key, Bytes::new()),
            (false, true) => (key, zero()),
            (false, false) => (key, self.end.clone()),
        }
    }
}

/// What of a range is wanted, as of when, and in which order.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Want {
    /// As the keys were at this revision
    #[arg(long, value_name = "REV", value_parser = clap::value_parser!(u64).range(1..))]
    pub rev: Option<u64>,
    /// Ordered by this
    #[arg(long, value_enum, value_name = "WHAT")]
    pub sort_by: Option<SortBy>,
    /// From the least to the greatest, or the other way round
    #[arg(long, value_enum, value_name = "ORDER")]
    pub order: Option<Order>,
    /// At most so many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Without the values
    #[arg(long)]
    pub keys_only: bool,
    /// Only how many keys there are
    #[arg(long, conflicts_with_all = ["keys_only", "limit"])]
    pub count_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    Key,
    /// How often it was changed since it was created
    Version,
    /// The revision at which it was created
    Create,
    /// The revision at which it was changed last
    Modify,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    Ascend,
    Descend,
}

impl Want {
    /// Whether it asks for a list even where one key is meant.
    pub fn is_of_a_list(&self) -> bool {
        self.keys_only
            || self.count_only
            || self.limit.is_some()
            || self.sort_by.is_some()
            || self.order.is_some()
    }

    pub fn request(&self, keys: &Keys) -> RangeRequest {
        RangeRequest {
            start: keys.start.clone(),
            end: keys.end.clone(),
            limit: self.limit.unwrap_or(0),
            keys_only: self.keys_only,
            count_only: self.count_only,
            revision: Revision(self.rev.unwrap_or(0)),
            sort_order: match self.order {
                Some(Order::Descend) => SortOrder::Descend,
                Some(Order::Ascend) | None => SortOrder::Ascend,
            },
            sort_target: match self.sort_by {
                Some(SortBy::Key) | None => SortTarget::Key,
                Some(SortBy::Version) => SortTarget::Version,
                Some(SortBy::Create) => SortTarget::Create,
                Some(SortBy::Modify) => SortTarget::Mod,
                Some(SortBy::Value) => SortTarget::Value,
            },
            ..RangeRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(prefix: bool, from_key: bool, key: &str, end: Option<&str>) -> Result<Keys, Failure> {
        let end = end.map(OsString::from);
        Breadth { prefix, from_key }.keys(Encoding::default(), &key.into(), end.as_ref())
    }

    #[test]
    fn every_way_of_naming_keys_is_a_range_and_etcds_notation_of_it() {
        for (prefix, from_key, key, end, range, of_etcd) in [
            (false, false, "a", None, ("a", "a\0"), ("a", "")),
            (false, false, "a", Some("c"), ("a", "c"), ("a", "c")),
            (true, false, "a/", None, ("a/", "a0"), ("a/", "a0")),
            (true, false, "", None, ("", ""), ("\0", "\0")),
            (false, true, "b", None, ("b", ""), ("b", "\0")),
        ] {
            let keys = keys(prefix, from_key, key, end).unwrap();
            assert_eq!((&keys.start[..], &keys.end[..]), (range.0.as_bytes(), range.1.as_bytes()));
            let (start, end) = keys.of_etcd();
            assert_eq!((&start[..], &end[..]), (of_etcd.0.as_bytes(), of_etcd.1.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_range_says_why() {
        for (key, end) in [("", None), ("b", Some("a")), ("b", Some("b")), ("b", Some(""))] {
            let failure = keys(false, false, key, end).unwrap_err();
            assert_eq!(failure.exit, crate::cli::failure::Exit::Usage, "{key} {end:?}");
        }
    }
}
