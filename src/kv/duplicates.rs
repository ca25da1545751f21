//! One key, one change: what etcd calls a duplicate key.
//!
//! # The problem
//!
//! All changes of a transaction bear one revision, and at one revision a key has one value. Two
//! puts of one key, or a put of a key that is deleted as well, would need an order, and a reader
//! could never see the first of them.
//!
//! # The rule
//!
//! It is etcd's, with its exceptions, so that what etcd takes is taken here. In a list of
//! operations, and in what nested transactions may add to it:
//!
//! - no key is put twice, but both lists of *one* nested transaction may put it, since only one of
//!   them is done;
//! - no key is put that one of the list's own deletes covers, in whatever order they stand;
//! - no key is put that a delete of a nested transaction covers, if the put is the list's own or of
//!   a *later* nested one. But a nested transaction may delete what an earlier one put: then the
//!   key was there for the rest of the transaction only;
//! - a delete from a key on, without an end, covers nothing: etcd compares keys with the zero byte
//!   that stands for "no end". So what it deletes may be put again, and is a new key then.
//!
//! # Cost
//!
//! Deleted ranges are merged into ranges that do not touch, so each question is one search: a
//! transaction of many small operations must not cost their square.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

use super::{Invalid, RequestOp, Transaction};

/// Whether no key is changed twice, whichever way the transaction goes.
pub fn check(transaction: &Transaction) -> Result<(), Invalid> {
    changes_of(&transaction.success)?;
    changes_of(&transaction.failure)?;
    Ok(())
}

/// What a list of operations may change.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deleted: Ranges<'a>,
}

impl<'a> Changes<'a> {
    /// Another put, which must not meet any change so far.
    fn put(&mut self, key: &'a [u8]) -> Result<(), Invalid> {
        if self.deleted.contains(key) || !self.puts.insert(key) {
            return Err(Invalid::DuplicateKey);
        }
        Ok(())
    }
}

fn changes_of(operations: &[RequestOp]) -> Result<Changes<'_>, Invalid> {
    let mut all = Changes::default();
    for operation in operations {
        if let RequestOp::DeleteRange(delete) = operation
            && !delete.end.is_empty()
        {
            all.deleted.add(&delete.start, &delete.end);
        }
    }
    for operation in operations {
        let RequestOp::Transaction(inner) = operation else { continue };
        let (success, failure) = (changes_of(&inner.success)?, changes_of(&inner.failure)?);
        for key in success.puts.union(&failure.puts) {
            all.put(key)?;
        }
        all.deleted.add_all(success.deleted);
        all.deleted.add_all(failure.deleted);
    }
    for operation in operations {
        if let RequestOp::Put(put) = operation {
            all.put(&put.key)?;
        }
    }
    Ok(all)
}

/// Ranges of keys, merged so that none touches another: from start to end, exclusive.
#[derive(Default)]
struct Ranges<'a>(BTreeMap<&'a [u8], &'a [u8]>);

impl<'a> Ranges<'a> {
    fn contains(&self, key: &[u8]) -> bool {
        let before = self.0.range::<[u8], _>((Unbounded, Included(key))).next_back();
        before.is_some_and(|(_, end)| key < *end)
    }

    fn add(&mut self, start: &'a [u8], end: &'a [u8]) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        let before = self.0.range::<[u8], _>((Unbounded, Included(start))).next_back();
        if let Some((first, last)) = before.map(|(first, last)| (*first, *last))
            && start <= last
        {
            start = first;
            end = end.max(last);
        }
        while let Some((first, last)) =
            self.0.range::<[u8], _>((Included(start), Unbounded)).next().map(|(a, b)| (*a, *b))
            && first <= end
        {
            self.0.remove(first);
            end = end.max(last);
        }
        self.0.insert(start, end);
    }

    fn add_all(&mut self, others: Ranges<'a>) {
        others.0.into_iter().for_each(|(start, end)| self.add(start, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_hold_what_they_should() {
        let mut ranges = Ranges::default();
        for (start, end) in [("b", "d"), ("f", "h"), ("x", "x"), ("m", "zz"), ("p", "q")] {
            ranges.add(start.as_bytes(), end.as_bytes());
        }
        assert_eq!(ranges.0.len(), 3);
        ranges.add(b"d", b"f");
        assert_eq!(ranges.0.len(), 2);
        ranges.add(b"a", b"c");
        assert_eq!(ranges.0.iter().next(), Some((&&b"a"[..], &&b"h"[..])));
        for (key, held) in [("a", true), ("gz", true), ("h", false), ("l", false), ("z", true)] {
            assert_eq!(ranges.contains(key.as_bytes()), held, "{key}");
        }
        ranges.add(b"", b"zzz");
        assert_eq!(ranges.0.len(), 1);
    }
}
