//! The values of a history, without their bytes.
//!
//! The search compares and remembers states by the million, and a string that grows by appends
//! would be copied at each. So a history's values are looked at once, before. *Mentioned* are those
//! that some read found or something asked for: only they can tell one state from another. They are
//! sorted, and a state is then one of three things:
//!
//! - the key is absent;
//! - it has a value that some mentioned one begins with: those that do are neighbours in the sorted
//!   list, so the state is their range and a length, and an append makes the range narrower;
//! - it has any other value, *junk*: no append makes a mentioned one of it, so that no answer can
//!   tell it from other junk.

use std::collections::BTreeSet;

use bytes::Bytes;

/// The values that a history mentions.
pub struct Values {
    /// Sorted.
    mentioned: Vec<Bytes>,
    /// What is appended. Where nothing is, what a mentioned value begins with is junk.
    pieces: BTreeSet<Bytes>,
    /// How long those are.
    lengths: BTreeSet<usize>,
}

/// What a key holds, as far as a history can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Absent,
    Junk,
    /// The first `length` bytes of the mentioned values from `first` to before `end`, and of no
    /// others.
    Begins {
        first: u32,
        end: u32,
        length: u32,
    },
}

impl Values {
    /// What is mentioned, and what is appended.
    pub fn new(mut mentioned: Vec<Bytes>, pieces: BTreeSet<Bytes>) -> Values {
        mentioned.sort();
        mentioned.dedup();
        let lengths = pieces.iter().map(Bytes::len).collect();
        Values { mentioned, pieces, lengths }
    }

    /// The state in which a key has this value.
    pub fn state(&self, value: Option<&Bytes>) -> State {
        let Some(value) = value else { return State::Absent };
        let all = State::Begins { first: 0, end: self.mentioned.len() as u32, length: 0 };
        let state = self.longer(all, value);
        if !self.pieces.is_empty() || self.is_whole(state) { state } else { State::Junk }
    }

    /// The state with `more` at the end of its value.
    pub fn longer(&self, state: State, more: &[u8]) -> State {
        let (first, end, length) = match state {
            State::Absent => (0, self.mentioned.len() as u32, 0),
            State::Junk => return State::Junk,
            State::Begins { first, end, length } => (first, end, length),
        };
        let range = &self.mentioned[first as usize..end as usize];
        // All have the same beginning, so that what follows it is sorted, too; a value that ends
        // before `more` does stands in front of those that begin with it.
        let next = |value: &Bytes| {
            let rest = &value[length as usize..];
            rest.get(..more.len()).unwrap_or(rest).cmp(more)
        };
        let skip = range.partition_point(|value| next(value).is_lt());
        let count = range[skip..].partition_point(|value| next(value).is_eq());
        let first = first + skip as u32;
        match count {
            0 => State::Junk,
            count => State::Begins {
                first,
                end: first + count as u32,
                length: length + more.len() as u32,
            },
        }
    }

    /// Whether some append could have been the first of those that added `rest`.
    fn may_be_appended(&self, rest: &[u8]) -> bool {
        let begins = |length: &usize| rest.get(..*length).is_some_and(|r| self.pieces.contains(r));
        rest.is_empty() || self.lengths.range(..=rest.len()).any(begins)
    }

    /// Whether it is a mentioned value itself: then that is the shortest, and first, of its range.
    fn is_whole(&self, state: State) -> bool {
        match state {
            State::Absent => true,
            State::Junk => false,
            State::Begins { first, length, .. } => {
                self.mentioned[first as usize].len() == length as usize
            }
        }
    }

    /// Whether appends might lead from one state to another.
    pub fn may_grow(&self, from: State, to: State) -> bool {
        let State::Begins { first: whole, length: longer, .. } = to else { return false };
        let length = match from {
            State::Absent => 0,
            State::Begins { first, end, length } if (first..end).contains(&whole) => length,
            _ => return false,
        };
        let value = &self.mentioned[whole as usize][..longer as usize];
        value.get(length as usize..).is_some_and(|rest| self.may_be_appended(rest))
    }
}
