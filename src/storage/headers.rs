//! The segments that a start finds, by their headers.

use crate::types::LogIndex;

use super::disk::{Disk, Operation};
use super::error::LogError;
use super::format::{self, HeaderError, Identity, SegmentHeader, VOID_BEFORE, parse_segment_name};

/// Headers to come are no longer than this.
const MAX_HEADER_LEN: usize = 4096;

/// A segment's file, with a header that is in order.
pub struct FoundSegment {
    pub file: String,
    pub length: u64,
    pub header: SegmentHeader,
}

/// The segments that count, in order, and the names of those that do not any more: they are older
/// than a healed log.
pub struct Headers {
    pub segments: Vec<FoundSegment>,
    pub void: Vec<String>,
}

/// Reads the header of every segment, in order, and sees to it that none is missing.
pub fn read_headers<D: Disk>(
    disk: &mut D,
    identity: Identity,
    files: &[(String, u64)],
) -> Result<Headers, LogError> {
    let mut named = Vec::new();
    for (file, length) in files {
        let unexpected =
            |what: &str| LogError::UnexpectedFile { file: file.clone(), what: what.to_owned() };
        if let Some(name) = parse_segment_name(file) {
            let (sequence, first_index) = name.map_err(unexpected)?;
            named.push((sequence, first_index, file, *length));
        }
    }
    named.sort_by_key(|segment| segment.0);
    let mut segments: Vec<FoundSegment> = Vec::with_capacity(named.len());
    for (sequence, first_index, file, length) in named {
        if let Some(previous) = segments.last() {
            let expected = previous.header.sequence + 1;
            if sequence < expected {
                let what = format!("{} has the same sequence", previous.file);
                return Err(LogError::UnexpectedFile { file: file.clone(), what });
            }
            if sequence > expected {
                return Err(LogError::MissingSegment {
                    sequence: expected,
                    index: previous.header.first_index,
                    evidence: format!("{} is there, and so is {file}", previous.file),
                });
            }
        }
        let header = read_header(disk, identity, (sequence, first_index), file)?;
        segments.push(FoundSegment { file: file.clone(), length, header });
    }
    let healed = segments.iter().rposition(|s| s.header.previous_end == VOID_BEFORE);
    let void = segments.drain(..healed.unwrap_or(0)).map(|segment| segment.file).collect();
    Ok(Headers { segments, void })
}

fn read_header<D: Disk>(
    disk: &mut D,
    identity: Identity,
    named: (u64, LogIndex),
    file: &str,
) -> Result<SegmentHeader, LogError> {
    let read = Operation::Read { file: file.to_owned(), offset: 0, length: MAX_HEADER_LEN };
    let bytes = disk.execute(read)?.into_bytes();
    let corrupt = |what: &str| LogError::Corrupt {
        file: file.to_owned(),
        offset: 0,
        index: named.1,
        what: what.to_owned(),
    };
    let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
        HeaderError::Damaged(what) => corrupt(what),
        HeaderError::Newer(found) => {
            LogError::NewerFormat { file: file.to_owned(), found, supported: format::VERSION }
        }
    })?;
    if header.identity != identity {
        return Err(LogError::Foreign {
            file: file.to_owned(),
            found_cluster: header.identity.cluster,
            found_node: header.identity.node,
            expected_cluster: identity.cluster,
            expected_node: identity.node,
        });
    }
    if (header.sequence, header.first_index) != named {
        return Err(corrupt("the header is that of another segment: the file was renamed"));
    }
    Ok(header)
}
