//! Which snapshots a start finds, and which of them count.
//!
//! The mark in the log decides. A snapshot newer than it is an orphan of a crash between its naming
//! and its mark, and goes: nothing relies on it, and the log still has what it covers, for a log is
//! compacted only after the mark. The mark's own snapshot must be there: without it the log has a
//! hole. Older ones stay until the node says what it keeps.
//!
//! Of the mark's snapshot only both ends are read here: its header, and its last bytes, by which a
//! file that was cut is noticed. All of it is verified when the state machine
//! [loads](super::SegmentLog::load_snapshot) it, which is before anything relies on it.

use std::collections::BTreeMap;

use crate::consensus::SnapshotMark;
use crate::types::{LogIndex, Term};

use super::disk::{Disk, Operation};
use super::error::LogError;
use super::format::Identity;
use super::snapshot_format::{
    END_LEN, MAX_SNAPSHOT_HEADER, Piece, SnapshotSalt, decode_piece, decode_snapshot_header,
    parse_snapshot_name, snapshot_name,
};

/// The newest snapshot beyond the mark, by its file's name.
pub fn newest_beyond(files: &[(String, u64)], mark: &SnapshotMark) -> Option<String> {
    let named = files.iter().filter_map(|(file, _)| Some((parse_snapshot_name(file)?.ok()?, file)));
    let beyond = named.filter(|((index, _), _)| *index > mark.index);
    beyond.max().map(|(_, file)| file.clone())
}

/// The snapshots of a log.
#[derive(Default)]
pub struct Inventory {
    /// Term and bytes of each that counts.
    pub snapshots: BTreeMap<LogIndex, (Term, u64)>,
    /// Names of those that do not.
    pub orphans: Vec<String>,
}

impl Inventory {
    /// Looks at the files; changes nothing.
    pub fn take<D: Disk>(
        disk: &mut D,
        identity: Identity,
        files: &[(String, u64)],
        mark: &SnapshotMark,
    ) -> Result<Inventory, LogError> {
        let mut inventory = Inventory::default();
        for (file, length) in files {
            let Some(name) = parse_snapshot_name(file) else { continue };
            let (index, term) = name.map_err(|what| LogError::UnexpectedFile {
                file: file.clone(),
                what: what.to_owned(),
            })?;
            if index > mark.index || (index == mark.index && term != mark.term) {
                inventory.orphans.push(file.clone());
            } else {
                inventory.snapshots.insert(index, (term, *length));
            }
        }
        if mark.index > LogIndex(0) {
            let file = snapshot_name(mark.index, mark.term);
            match inventory.snapshots.get(&mark.index) {
                Some((_, length)) => check_ends(disk, identity, mark, &file, *length)?,
                None => return Err(LogError::MissingSnapshot { index: mark.index, file }),
            }
        }
        Ok(inventory)
    }
}

fn check_ends<D: Disk>(
    disk: &mut D,
    identity: Identity,
    mark: &SnapshotMark,
    file: &str,
    length: u64,
) -> Result<(), LogError> {
    let damaged = |offset, what: String| LogError::DamagedSnapshot {
        index: mark.index,
        file: file.to_owned(),
        offset,
        what,
    };
    let mut read = |offset, length| {
        disk.execute(Operation::Read { file: file.to_owned(), offset, length })
            .map(super::disk::Outcome::into_bytes)
    };
    let begin = read(0, MAX_SNAPSHOT_HEADER)?;
    match decode_snapshot_header(&begin, identity.cluster) {
        Ok(Some((found, _))) if (found.index, found.term) == (mark.index, mark.term) => {}
        Ok(Some(_)) => return Err(damaged(0, "it is the snapshot of another entry".to_owned())),
        Ok(None) => return Err(damaged(0, "the file ends within its header".to_owned())),
        Err(damage) => return Err(damaged(damage.offset, damage.what)),
    }
    let at = length.saturating_sub(END_LEN as u64);
    let salt = SnapshotSalt::new(identity.cluster, mark.index, mark.term);
    match decode_piece(&read(at, END_LEN)?, at, salt) {
        Ok(Some(Piece::End { .. })) => Ok(()),
        Err(damage) => Err(damaged(damage.offset, damage.what)),
        _ => Err(damaged(at, "its end is missing".to_owned())),
    }
}
