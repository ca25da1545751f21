//! Which keys a watch is about, and which of their changes.

use bytes::Bytes;

use crate::kv::{Change, after};

/// Where a range ends. Every key lies before the end of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    Key(Bytes),
    End,
}

/// A half-open range that is not empty. Ordered by where it begins, then by where it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    start: Bytes,
    end: Edge,
}

impl KeyRange {
    /// What etcd's two fields mean; nothing if the range is empty. The bytes are copied: a watch
    /// lives long, and must not hold the whole message that it came in.
    pub fn of(key: &[u8], range_end: &[u8]) -> Option<KeyRange> {
        let start = Bytes::copy_from_slice(if key.is_empty() { &[0] } else { key });
        let end = match range_end {
            [] => Edge::Key(after(&start)),
            [0] => Edge::End,
            end => Edge::Key(Bytes::copy_from_slice(end)),
        };
        (Edge::Key(start.clone()) < end).then_some(KeyRange { start, end })
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Edge::Key(end.into())
            }
            None => Edge::End,
        };
        KeyRange { start: Bytes::copy_from_slice(prefix), end }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        let is_before_the_end = match &self.end {
            Edge::Key(end) => key < &end[..],
            Edge::End => true,
        };
        self.start <= key && is_before_the_end
    }

    /// The key, if there is room for one alone.
    pub fn only_key(&self) -> Option<&Bytes> {
        let Edge::Key(end) = &self.end else { return None };
        let (last, before) = end.split_last()?;
        (*last == 0 && self.start == before).then_some(&self.start)
    }

    pub fn start(&self) -> &Bytes {
        &self.start
    }

    pub fn end(&self) -> &Edge {
        &self.end
    }

    /// What it costs to keep.
    pub fn bytes(&self) -> usize {
        let end = match &self.end {
            Edge::Key(end) => end.len(),
            Edge::End => 0,
        };
        self.start.len() + end
    }
}

/// The kinds of changes that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    pub puts: bool,
    pub deletes: bool,
}

impl Wants {
    pub const ALL: Wants = Wants { puts: true, deletes: true };

    pub fn takes(self, change: &Change) -> bool {
        if change.is_delete { self.deletes } else { self.puts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_etcds_do() {
        let contains = |key: &[u8], end: &[u8], asked: &[u8]| {
            KeyRange::of(key, end).map(|range| range.contains(asked))
        };
        assert_eq!(contains(b"a", b"", b"a"), Some(true));
        assert_eq!(contains(b"a", b"", b"a\0"), Some(false));
        assert_eq!(contains(b"a", b"c", b"b\xff"), Some(true));
        assert_eq!(contains(b"a", b"c", b"c"), Some(false));
        assert_eq!(contains(b"a", b"\0", b"\xff\xff"), Some(true));
        assert_eq!(contains(b"b", b"\0", b"a"), Some(false));
        assert_eq!(contains(b"", b"\0", b"\0"), Some(true));
        assert_eq!(contains(b"", b"", b"\0"), Some(true));
        assert_eq!(contains(b"", b"", b"a"), Some(false));
        assert_eq!(contains(b"b", b"a", b"a"), None);
        assert_eq!(contains(b"a", b"a", b"a"), None);
        assert_eq!(KeyRange::of(b"a", b"").unwrap().only_key().unwrap(), "a");
        assert_eq!(KeyRange::of(b"a", b"a\0").unwrap().only_key().unwrap(), "a");
        assert_eq!(KeyRange::of(b"a", b"b\0").unwrap().only_key(), None);
        assert_eq!(KeyRange::of(b"a", b"\0").unwrap().only_key(), None);
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let holds = |prefix: &[u8], key: &[u8]| KeyRange::prefix(prefix).contains(key);
        assert!(holds(b"a/", b"a/") && holds(b"a/", b"a/\xff") && !holds(b"a/", b"a0"));
        assert!(holds(b"a\xff", b"a\xffz") && !holds(b"a\xff", b"b"));
        assert!(holds(b"\xff", b"\xff\xff") && !holds(b"\xff", b"\xfe"));
        assert!(holds(b"", b"x"));
    }
}
