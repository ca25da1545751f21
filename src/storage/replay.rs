//! One record on its way into the contents, during recovery.

use bytes::Bytes;

use crate::codec;
use crate::consensus::{Configuration, SnapshotMark};

use super::contents::{Contents, Place};
use super::error::LogError;
use super::format::{EntryKind, RecordKind};
use super::scan::Record;

/// The segment that a record was read from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a str,
    pub sequence: u64,
}

impl Source<'_> {
    /// Applies a record that is valid.
    pub fn apply(self, contents: &mut Contents, record: &Record) -> Result<(), LogError> {
        let applied = match record.kind {
            RecordKind::Entry(kind) => {
                let configuration = match kind {
                    EntryKind::Configuration => Some(self.configuration(contents, record)?),
                    EntryKind::Noop | EntryKind::Command => None,
                };
                let place = Place { sequence: self.sequence, offset: record.offset };
                contents.push(record.index, record.term, configuration, place)
            }
            RecordKind::HardState => {
                contents.hard_state = Bytes::copy_from_slice(&record.payload);
                Ok(())
            }
            RecordKind::Truncation => contents.truncate(record.index),
            RecordKind::SnapshotMark => {
                let mark = self.mark(contents, record)?;
                contents.mark(mark)
            }
            RecordKind::SnapshotInstead => {
                let mark = self.mark(contents, record)?;
                contents.discard(mark)
            }
            RecordKind::Seal => {
                return Err(LogError::MissingSegment {
                    sequence: record.index.0,
                    index: contents.last_index.next(),
                    evidence: format!("{} says that it follows", self.file),
                });
            }
            RecordKind::Configuration | RecordKind::DurableMark => {
                Err("a record that belongs elsewhere".to_owned())
            }
        };
        applied.map_err(|what| self.corrupt(contents, record.offset, &what))
    }

    pub fn mark(self, contents: &Contents, record: &Record) -> Result<SnapshotMark, LogError> {
        let configuration = self.configuration(contents, record)?;
        Ok(SnapshotMark { index: record.index, term: record.term, configuration })
    }

    pub fn configuration(
        self,
        contents: &Contents,
        record: &Record,
    ) -> Result<Configuration, LogError> {
        codec::decode_configuration(&record.payload).map_err(|error| {
            let what = format!("a configuration that cannot be read ({error})");
            self.corrupt(contents, record.offset, &what)
        })
    }

    pub fn corrupt(self, contents: &Contents, offset: u64, what: &str) -> LogError {
        LogError::Corrupt {
            file: self.file.to_owned(),
            offset,
            index: contents.last_index.next(),
            what: what.to_owned(),
        }
    }
}
