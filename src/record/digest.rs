//! Digests: what must be equal in the record and in its replay, as one number.
//!
//! `std`'s `Hash` says what a value is made of, but hashes a `usize` by the machine's width and a
//! number by the machine's byte order; here both are fixed, so that a record of one machine can be
//! replayed on another. Every step of a node pays for this: so bytes are hashed at once, by XXH3,
//! and a number is mixed in by a few multiplications, each of which loses nothing. Two states of
//! the same digest could be made on purpose; nobody has to be kept from it.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::types::Random;

/// The digest of `value`.
pub fn of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = Portable(0);
    value.hash(&mut hasher);
    hasher.finish()
}

struct Portable(u64);

impl Hasher for Portable {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxh3_64(bytes));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = Random::from_seed(self.0 ^ number).bits();
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// What `Hash` writes for the variant of an enum.
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as i64 as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_for_ever_and_everywhere() {
        assert_eq!(of(&(1_u64, "x", Some(2_usize))), 0xeea7_6752_c765_480d);
        assert_ne!(of(&(1_u64, 2_u64)), of(&(2_u64, 1_u64)));
    }
}
