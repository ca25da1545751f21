//! The head of a segment, and its name. [`format`](mod@super::format) says what they are for.

use bytes::BufMut;

use crate::types::{ClusterId, LogIndex, NodeId};

use super::format::{HEADER_LEN, Identity, VERSION, u32_at, u64_at};

const MAGIC: [u8; 8] = *b"KVRAFTLG";
const SUFFIX: &str = ".seg";

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Of the format of the segment.
    pub version: u32,
    pub identity: Identity,
    pub sequence: u64,
    /// The index of the next entry when the segment was opened.
    pub first_index: LogIndex,
    /// Where the previous segment ends; zero for the first.
    pub previous_end: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    /// The header's bytes. Magic, version, length and the place of the checksum (the last 4 of
    /// `length` bytes) stay the same in all versions to come.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(self.version);
        out.put_u32_le(HEADER_LEN as u32);
        out.put_u64_le(self.identity.cluster.0);
        out.put_u64_le(self.identity.node.0);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.first_index.0);
        out.put_u64_le(self.previous_end);
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        if bytes.len() < HEADER_LEN {
            return Err(HeaderError::Damaged("the file is shorter than a segment's header"));
        }
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Damaged("it does not begin as a segment does"));
        }
        let length = u32_at(bytes, 12) as usize;
        if length < HEADER_LEN || length > bytes.len() {
            return Err(HeaderError::Damaged("the header's length is impossible"));
        }
        if crc32c::crc32c(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
            return Err(HeaderError::Damaged("the header's checksum is wrong"));
        }
        let version = u32_at(bytes, 8);
        match version {
            1..=VERSION => {}
            newer if newer > VERSION => return Err(HeaderError::Newer(newer)),
            _ => return Err(HeaderError::Damaged("the format version does not exist")),
        }
        Ok(SegmentHeader {
            version,
            identity: Identity {
                cluster: ClusterId(u64_at(bytes, 16)),
                node: NodeId(u64_at(bytes, 24)),
            },
            sequence: u64_at(bytes, 32),
            first_index: LogIndex(u64_at(bytes, 40)),
            previous_end: u64_at(bytes, 48),
        })
    }
}

/// The name of a segment.
pub fn segment_name(sequence: u64, first_index: LogIndex) -> String {
    format!("{sequence:020}-{:020}{SUFFIX}", first_index.0)
}

/// Sequence and first index of the segment called `name`: `None` if the name does not end like a
/// segment's, an error if it does and is not one.
pub fn parse_segment_name(name: &str) -> Option<Result<(u64, LogIndex), &'static str>> {
    let stem = name.strip_suffix(SUFFIX)?;
    let parsed = two_numbers(stem).map(|(sequence, first)| (sequence, LogIndex(first)));
    Some(parsed.ok_or("a segment's name is two numbers of 20 digits"))
}

/// The numbers of a file's name: `<20 digits>-<20 digits>`.
pub fn two_numbers(stem: &str) -> Option<(u64, u64)> {
    let (first, second) = stem.split_once('-')?;
    let number = |digits: &str| {
        let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        well_formed.then(|| digits.parse().ok()).flatten()
    };
    Some((number(first)?, number(second)?))
}
