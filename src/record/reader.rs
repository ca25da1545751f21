//! Reads a file, which comes from outside: it may be cut short, damaged, or no record at all.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::format::{BLOCK_HEAD, CORE, FORMAT, Header, MAGIC, Record};
use crate::consensus::{Consensus, Input};

/// A file that cannot be replayed at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is no record of a node")]
    NoRecord,
    #[error("its format is version {0}, and this program reads {FORMAT}")]
    Version(u32),
    #[error("its beginning is damaged, or was never written")]
    Header,
    #[error(
        "it was recorded by another core: build {build}, core {core}; this program has {CORE}. \
         Replay it with the kvctl of that build"
    )]
    Core { build: String, core: String },
}

/// Why a file goes on no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// As when its node was killed, or is writing it now.
    #[error("the last block, at byte {offset}, is not all there")]
    Torn { offset: usize },
    #[error("the block at byte {offset} is damaged: its checksum does not fit")]
    Checksum { offset: usize },
    #[error("the block at byte {offset} holds what is no record")]
    NoRecord { offset: usize },
}

/// The records of a file, in their order.
#[derive(Debug)]
pub struct Reader<'f, C> {
    file: &'f [u8],
    /// Where the block begins that `records` are of, and where the next does.
    block: usize,
    next: usize,
    /// What is left of the block.
    records: &'f [u8],
    failed: bool,
    core: PhantomData<C>,
}

impl<'f, C: Consensus> Reader<'f, C> {
    /// Whose record `file` is, and what it holds.
    pub fn open(file: &'f [u8]) -> Result<(Header, Reader<'f, C>), Unreadable> {
        let rest = file.strip_prefix(&MAGIC).ok_or(Unreadable::NoRecord)?;
        let (version, _) = rest.split_first_chunk().ok_or(Unreadable::Header)?;
        match u32::from_le_bytes(*version) {
            FORMAT => {}
            other => return Err(Unreadable::Version(other)),
        }
        let next = MAGIC.len() + version.len();
        let core = PhantomData;
        let mut reader = Reader { file, block: next, next, records: &[], failed: false, core };
        reader.turn_over().map_err(|_| Unreadable::Header)?;
        let header: Header = reader.one().map_err(|_| Unreadable::Header)?;
        if header.core != CORE {
            return Err(Unreadable::Core { build: header.build, core: header.core });
        }
        Ok((header, reader))
    }

    /// Goes to the next block.
    fn turn_over(&mut self) -> Result<(), Damage> {
        let offset = self.next;
        let torn = Damage::Torn { offset };
        let Some((head, rest)) = self.file[offset..].split_first_chunk::<BLOCK_HEAD>() else {
            return Err(torn);
        };
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let Some(bytes) = rest.get(..word(0) as usize) else { return Err(torn) };
        if crc32c::crc32c(bytes) != word(4) {
            return Err(Damage::Checksum { offset });
        }
        self.block = offset;
        self.next = offset + BLOCK_HEAD + bytes.len();
        self.records = bytes;
        Ok(())
    }

    fn one<T: DeserializeOwned>(&mut self) -> Result<T, Damage> {
        let damage = Damage::NoRecord { offset: self.block };
        let (value, rest) = postcard::take_from_bytes(self.records).map_err(|_| damage)?;
        self.records = rest;
        Ok(value)
    }

    fn read(&mut self) -> Result<Option<Record<Input<C>, C>>, Damage> {
        while self.records.is_empty() {
            if self.next == self.file.len() {
                return Ok(None);
            }
            self.turn_over()?;
        }
        self.one().map(Some)
    }
}

impl<C: Consensus> Iterator for Reader<'_, C> {
    type Item = Result<Record<Input<C>, C>, Damage>;

    /// After what is damaged, nothing more can be told apart.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}
