//! A snapshot that comes from the leader, chunk by chunk, and is trusted once it was read back.
//!
//! # What can go wrong
//!
//! Chunks are repeated, lost and overtaken; the leader changes in the middle, and the new one sends
//! another snapshot; a chunk was right when it left and is wrong on our disk; the disk is full.
//! Whatever happens, a file that is not a whole snapshot must never get the name of one: the log
//! would be thrown away for it.
//!
//! # The rule
//!
//! Chunks go one after the other into `received.tmp`. One that does not continue what is there is
//! not written: the answer says how far it has come, and the sender goes on from there; so a
//! transfer resumes after a broken connection. After the last one, the file is read back from the
//! disk and verified, a piece at a time, so that the event loop goes on; cluster, index and term
//! must be those announced. Only then it gets its name. Otherwise it is deleted, and the leader
//! begins anew.

use bytes::Bytes;

use crate::consensus::{Chunk, SnapshotMark};
use crate::types::{LogIndex, Term};

use super::background::Owner;
use super::disk::{Disk, Operation};
use super::log::SegmentLog;
use super::report::LogEvent;
use super::script::{Purpose, Verification};
use super::snapshot_format::{Item, RECEIVING_FILE, SnapshotDecoder};
use super::snapshots::READ_CHUNK;

/// The snapshot that is being received.
pub struct Receiving {
    pub owner: Owner,
    announced: SnapshotMark,
    /// Written, or about to be.
    bytes: u64,
}

impl<D: Disk> SegmentLog<D> {
    /// A chunk of the snapshot of `index` has come, whose last entry has `term`. Offset 0 begins
    /// anew. Answered by [`LogEvent::SnapshotWritten`], with the bytes that are there, whether it
    /// fitted or not; the last chunk by [`LogEvent::SnapshotReceived`] or
    /// [`LogEvent::SnapshotRejected`].
    pub fn receive_snapshot(&mut self, index: LogIndex, term: Term, offset: u64, chunk: Chunk) {
        let mut operations = Vec::new();
        if offset == 0 {
            operations = self.begin_reception(index, term);
        }
        let fits = |coming: &&mut Receiving| {
            (coming.announced.index, coming.announced.term, coming.bytes) == (index, term, offset)
        };
        let Some(coming) = self.receiving.as_mut().filter(fits) else {
            let here = self.receiving.as_ref().filter(|coming| coming.announced.index == index);
            let bytes = here.map_or(0, |coming| coming.bytes);
            let event = LogEvent::SnapshotWritten { index, bytes };
            self.lane.push(Owner::None, Vec::new(), Purpose::Report(Some(event)));
            return self.start_background();
        };
        coming.bytes += chunk.data.len() as u64;
        let (owner, bytes) = (coming.owner, coming.bytes);
        let file = RECEIVING_FILE.to_owned();
        operations.push(Operation::Write { file, offset, bytes: chunk.data, sync: true });
        let event = LogEvent::SnapshotWritten { index, bytes };
        let purpose = match chunk.done {
            false => Purpose::Report(Some(event)),
            true => self.verification(),
        };
        self.lane.push(owner, operations, purpose);
        self.start_background();
    }

    fn begin_reception(&mut self, index: LogIndex, term: Term) -> Vec<Operation> {
        if let Some(Receiving { owner: Owner::Receiving(number, _), .. }) = self.receiving.take() {
            self.lane.dead_receptions = self.lane.dead_receptions.max(number);
        }
        self.receptions += 1;
        let owner = Owner::Receiving(self.receptions, index);
        let announced = SnapshotMark { index, term, ..SnapshotMark::default() };
        self.receiving = Some(Receiving { owner, announced, bytes: 0 });
        let file = RECEIVING_FILE.to_owned();
        vec![Operation::Delete { file: file.clone() }, Operation::Create { file, size: 0 }]
    }

    /// All has come: what is there is to be read back.
    fn verification(&mut self) -> Purpose {
        let Some(coming) = self.receiving.take() else { return Purpose::Report(None) };
        Purpose::Verify(Box::new(Verification {
            announced: coming.announced,
            decoder: SnapshotDecoder::new(self.identity.cluster),
            found: None,
            offset: 0,
            total: coming.bytes,
        }))
    }

    /// The next piece of it was read back; or, the first time, the last chunk was written.
    pub(super) fn verify(
        &mut self,
        owner: Owner,
        mut verification: Box<Verification>,
        bytes: Option<Bytes>,
    ) {
        let verified = match bytes {
            Some(bytes) => verification.take(&bytes),
            None => Err("it cannot be read back".to_owned()),
        };
        match verified {
            Err(why) => self.give_up(owner, &why),
            Ok(None) => {
                let (file, offset) = (RECEIVING_FILE.to_owned(), verification.offset);
                let read = vec![Operation::Read { file, offset, length: READ_CHUNK }];
                self.lane.push_front(owner, read, Purpose::Verify(verification));
            }
            Ok(Some(snapshot)) => {
                let event = LogEvent::SnapshotReceived { snapshot: snapshot.clone() };
                let total = verification.total;
                self.name_snapshot(owner, None, RECEIVING_FILE, snapshot, total, event);
            }
        }
    }
}

impl Verification {
    /// Takes the next bytes of the file; what it is, once all were read.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<SnapshotMark>, String> {
        if bytes.is_empty() && self.offset > 0 {
            return Err(format!("only {} of {} bytes are there", self.offset, self.total));
        }
        self.decoder.push(bytes);
        self.offset += bytes.len() as u64;
        while let Some(item) = self.decoder.item().map_err(|damage| damage.to_string())? {
            if let Item::Mark(mark) = item {
                let (index, term) = (self.announced.index, self.announced.term);
                if (mark.index, mark.term) != (index, term) {
                    return Err(format!(
                        "it is the snapshot of entry {} of term {}, not of {index} of term {term}",
                        mark.index, mark.term
                    ));
                }
                if mark.configuration.voters.is_empty() {
                    return Err("it says that nobody votes".to_owned());
                }
                self.found = Some(mark);
            }
        }
        if self.offset < self.total {
            return Ok(None);
        }
        self.decoder.finish().map_err(|damage| damage.to_string())?;
        Ok(self.found.take())
    }
}
