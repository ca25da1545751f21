//! Reading one segment during recovery: group after group, and past the last of them.

use bytes::Bytes;

use crate::types::{LogIndex, Term};

use super::disk::{Disk, Operation, Outcome};
use super::error::LogError;
use super::format::{
    EntryKind, Identity, MARK_LEN, Mark, OLD_MARK_LEN, RECORD_HEADER_LEN, RecordHeader, RecordKind,
    Salt, decode_mark,
};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// No system that this runs on has larger pages of memory.
const LARGEST_PAGE: usize = 64 << 10;

/// A valid record.
#[derive(Debug)]
pub struct Record {
    pub kind: RecordKind,
    pub offset: u64,
    pub term: Term,
    pub index: LogIndex,
    /// Bytes of payload.
    pub length: usize,
    /// Empty for commands, which recovery has no use for.
    pub payload: Bytes,
}

/// A complete group: its records after the mark, all valid.
pub struct Group {
    pub mark: Mark,
    pub records: Vec<Record>,
    /// Where it ends.
    pub end: u64,
}

/// Why there is no complete group.
#[derive(Debug)]
pub struct GroupError {
    /// Where the first record lies that is not in order.
    pub offset: u64,
    pub what: String,
}

/// What lies behind the end of the readable groups.
pub struct Behind {
    /// A valid record of a later group lies here, and its group begins there.
    pub proof: Option<(u64, u64)>,
    /// The end of the last bytes that are not zero.
    pub last_data: Option<u64>,
}

/// A file read in chunks.
pub struct SegmentReader<'a, D: Disk> {
    disk: &'a mut D,
    salt: Salt,
    file: &'a str,
    /// The file's length.
    length: u64,
    /// The chunk read last, and where it begins.
    chunk: Bytes,
    base: u64,
}

impl<'a, D: Disk> SegmentReader<'a, D> {
    pub fn new(
        disk: &'a mut D,
        identity: Identity,
        sequence: u64,
        file: &'a str,
        length: u64,
    ) -> SegmentReader<'a, D> {
        let salt = Salt::new(identity, sequence);
        SegmentReader { disk, salt, file, length, chunk: Bytes::new(), base: 0 }
    }

    /// Exactly `length` bytes at `offset`; `None` if the file ends before.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<Option<Bytes>, LogError> {
        if offset + length as u64 > self.length {
            return Ok(None);
        }
        let end = self.base + self.chunk.len() as u64;
        if offset < self.base || offset + length as u64 > end {
            self.chunk = self.read(offset, length.max(CHUNK))?;
            self.base = offset;
        }
        let at = (offset - self.base) as usize;
        Ok((at + length <= self.chunk.len()).then(|| self.chunk.slice(at..at + length)))
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Bytes, LogError> {
        let length = length.min((self.length - offset) as usize);
        let read = Operation::Read { file: self.file.to_owned(), offset, length };
        Ok(self.disk.execute(read)?.into_bytes())
    }

    /// The record at `offset`, if a valid one lies there that ends at `limit` at the latest.
    fn record(
        &mut self,
        offset: u64,
        limit: u64,
    ) -> Result<Result<(RecordHeader, Bytes), &'static str>, LogError> {
        let Some(bytes) = self.bytes(offset, RECORD_HEADER_LEN)? else {
            return Ok(Err("the file ends here"));
        };
        let Some(header) = RecordHeader::decode(&bytes, offset) else {
            return Ok(Err(if bytes.iter().all(|byte| *byte == 0) {
                "there are zeros where a record should be"
            } else {
                "there is no record here"
            }));
        };
        if offset + header.record_len() > limit {
            return Ok(Err("a record is longer than what it lies in"));
        }
        let Some(bytes) = self.bytes(offset, header.record_len() as usize)? else {
            return Ok(Err("the file ends within a record"));
        };
        if !self.salt.verify(&header, offset, &bytes) {
            return Ok(Err("a record's checksum is wrong"));
        }
        let payload = bytes.slice(RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.length);
        Ok(Ok((header, payload)))
    }

    /// The mark of the group at `offset`, which must end at `limit` at the latest.
    pub fn mark(
        &mut self,
        offset: u64,
        limit: u64,
    ) -> Result<Result<Mark, &'static str>, LogError> {
        let (header, payload) = match self.record(offset, limit)? {
            Ok(record) => record,
            Err(what) => return Ok(Err(what)),
        };
        if header.kind != RecordKind::DurableMark || header.group != offset {
            return Ok(Err("a group does not begin with its mark"));
        }
        let mark = decode_mark(&payload)
            .filter(|mark| mark.durable == offset && mark.length >= header.record_len());
        Ok(mark.ok_or("a group's mark makes no sense"))
    }

    /// The valid records between `from` and `to`, whatever lies between them; marks left out.
    pub fn salvage(&mut self, from: u64, to: u64) -> Result<Vec<Record>, LogError> {
        let (mut records, mut at) = (Vec::new(), from);
        while at < to {
            match self.record(at, to)? {
                Ok((header, payload)) => {
                    if header.kind != RecordKind::DurableMark {
                        records.push(record_of(&header, at, &payload));
                    }
                    at += header.record_len();
                }
                Err(_) => at += 8,
            }
        }
        Ok(records)
    }

    /// The group at `offset`, which must end at `limit` at the latest.
    pub fn group(
        &mut self,
        offset: u64,
        limit: u64,
    ) -> Result<Result<Group, GroupError>, LogError> {
        let error = |offset, what: &str| Ok(Err(GroupError { offset, what: what.to_owned() }));
        let mark = match self.mark(offset, limit)? {
            Ok(mark) => mark,
            Err(what) => return error(offset, what),
        };
        let end = offset.saturating_add(mark.length);
        if end > limit {
            return error(offset, "a group is longer than what it lies in");
        }
        let mut records = Vec::new();
        let mut at = offset + mark_record_len(&mark);
        while at < end {
            let (header, payload) = match self.record(at, end)? {
                Ok(record) => record,
                Err(what) => return error(at, what),
            };
            if header.group != offset {
                return error(at, "a record belongs to another group");
            }
            records.push(record_of(&header, at, &payload));
            at += header.record_len();
        }
        Ok(Ok(Group { mark, records, end }))
    }

    /// Looks at everything behind `start`, where the groups end, and before `limit`, for a record
    /// of a group that begins after `start`.
    pub fn look_behind(&mut self, start: u64, limit: u64) -> Result<Behind, LogError> {
        let mut behind = Behind { proof: None, last_data: None };
        let mut offset = start;
        while offset < limit {
            // Allocated and never written: nothing to read there.
            let find = Operation::FindData { file: self.file.to_owned(), offset };
            if let Outcome::Offset(data) = self.disk.execute(find)? {
                offset = offset.max(data & !7);
            }
            if offset >= limit {
                break;
            }
            // To the end of a page, or the next search would find what this read brought to memory.
            let chunk = self.read(offset, CHUNK - offset as usize % LARGEST_PAGE)?;
            if chunk.is_empty() {
                break;
            }
            for at in data_words(&chunk) {
                let position = offset + at as u64;
                behind.last_data = Some((position + 8).min(self.length));
                if position >= limit {
                    break;
                }
                if let Some(group) = self.proves(&chunk[at..], position, start)? {
                    behind.proof = Some((position, group));
                    return Ok(behind);
                }
            }
            offset += chunk.len() as u64;
        }
        Ok(behind)
    }

    /// Where the group of a valid record at `position` begins, if that is after `start`; the bytes
    /// `seen` have been read there.
    fn proves(&mut self, seen: &[u8], position: u64, start: u64) -> Result<Option<u64>, LogError> {
        // Two bytes of every record are zero and its kind is small, so nearly all that is no
        // record is told without looking further; records at the chunk's end are rare.
        let plausible = seen.len() < RECORD_HEADER_LEN
            || RecordHeader::decode(seen, position).is_some_and(|header| header.group > start);
        if !plausible {
            return Ok(None);
        }
        let record = self.record(position, self.length)?;
        Ok(record.ok().map(|(header, _)| header.group).filter(|group| *group > start))
    }
}

/// Bytes of the record of a mark.
fn mark_record_len(mark: &Mark) -> u64 {
    match mark.summary {
        Some(_) => MARK_LEN,
        None => OLD_MARK_LEN,
    }
}

/// What recovery keeps of a record. A slice would keep the chunk it lies in, so only what is needed
/// is kept, as a copy.
fn record_of(header: &RecordHeader, offset: u64, payload: &Bytes) -> Record {
    let payload = match header.kind {
        RecordKind::Entry(EntryKind::Noop | EntryKind::Command) => Bytes::new(),
        _ => Bytes::copy_from_slice(payload),
    };
    let length = header.length;
    Record { length, kind: header.kind, offset, term: header.term, index: header.index, payload }
}

/// The positions of the words in `chunk` that are not zero.
fn data_words(chunk: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const BLOCK: usize = 4096;
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let blocks = chunk.chunks(BLOCK).enumerate();
    let blocks = blocks.filter(|(_, block)| **block != ZEROS[..block.len()]);
    blocks.flat_map(|(number, block)| {
        let words = block.chunks(8).enumerate();
        words
            .filter(|(_, word)| word.iter().any(|byte| *byte != 0))
            .map(move |(word, _)| number * BLOCK + word * 8)
    })
}
