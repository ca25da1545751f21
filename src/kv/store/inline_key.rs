//! A key as the tree of all keys holds it.
//!
//! # Why not a handle
//! On its way to a key, a walk compares a dozen others. Behind handles each lies somewhere else,
//! and nearly each comparison waits for memory; here those of one node of the tree lie beside each
//! other.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt::{self, Debug, Formatter};

use bytes::Bytes;

/// As many bytes as fit beside the length into what a handle and its mark would take.
const INLINE: usize = 38;

/// Bytes that lie right here if they are few.
#[derive(Clone)]
pub struct InlineKey(Form);

#[derive(Clone)]
enum Form {
    Here { length: u8, bytes: [u8; INLINE] },
    Elsewhere(Bytes),
}

impl From<&Bytes> for InlineKey {
    fn from(key: &Bytes) -> InlineKey {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                InlineKey(Form::Here { length: key.len() as u8, bytes })
            }
            None => InlineKey(Form::Elsewhere(key.clone())),
        }
    }
}

impl Borrow<[u8]> for InlineKey {
    fn borrow(&self) -> &[u8] {
        match &self.0 {
            Form::Here { length, bytes } => &bytes[..usize::from(*length)],
            Form::Elsewhere(bytes) => bytes,
        }
    }
}

impl PartialEq for InlineKey {
    fn eq(&self, other: &InlineKey) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InlineKey {}

impl PartialOrd for InlineKey {
    fn partial_cmp(&self, other: &InlineKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InlineKey {
    /// As bytes are ordered, which the tree relies on when it is asked for a slice.
    fn cmp(&self, other: &InlineKey) -> Ordering {
        let (one, other): (&[u8], &[u8]) = (self.borrow(), other.borrow());
        one.cmp(other)
    }
}

impl Debug for InlineKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = self.borrow();
        write!(f, "b\"{}\"", bytes.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_ordered_as_its_bytes_are(
            one in prop::collection::vec(0..3_u8, 0..80),
            other in prop::collection::vec(0..3_u8, 0..80),
        ) {
            let (one, other) = (Bytes::from(one), Bytes::from(other));
            let (here, there) = (InlineKey::from(&one), InlineKey::from(&other));
            prop_assert_eq!(<InlineKey as Borrow<[u8]>>::borrow(&here), &one[..]);
            prop_assert_eq!(here.cmp(&there), one.cmp(&other));
            prop_assert_eq!(here == there, one == other);
        }
    }

    #[test]
    fn it_takes_no_more_than_a_handle_and_a_word() {
        assert_eq!(size_of::<InlineKey>(), size_of::<Bytes>() + size_of::<usize>());
    }
}
