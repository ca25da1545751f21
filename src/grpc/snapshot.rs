//! A snapshot for a client of etcd: the node's own file, as `etcdctl snapshot save` wants it.
//!
//! # The problem
//! That client writes what it gets into a file, and checks nothing but that its length modulo 512
//! is 32: a database of whole pages, and the SHA-256 of it. A file of ours has any length, and
//! whoever makes a cluster out of it again must know where it ends.
//!
//! # The rule
//! ```text
//! the snapshot's file · zeros · "kvraftsn" · its length u64 │ SHA-256 of all before
//!                              a multiple of 512 bytes      │ 32 bytes, a message of its own
//! ```
//! The length is little-endian. `kvctl snapshot restore` takes such a file and checks the sum
//! ([`unwrap`]).
//!
//! # Caveats
//! `etcdctl snapshot status` and `restore` want a database of etcd's, and this is none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tonic::Status;

use super::backend::Backend;
use super::call::{Replies, reply};
use super::pb::etcdserverpb::SnapshotResponse;

/// Bytes of a message, as etcd's.
const BLOB_BYTES: u64 = 32 << 10;

/// What the length of all but the sum is a multiple of.
const PAGE_BYTES: u64 = 512;

const MAGIC: [u8; 8] = *b"kvraftsn";

/// The mark and the length.
const TRAILER_BYTES: u64 = 16;

/// Of the sum.
const SUM_BYTES: u64 = 32;

/// A snapshot's file, open. It stays whole although a newer one takes its place.
#[derive(Clone, Debug)]
pub struct SnapshotBytes {
    file: Arc<File>,
    bytes: u64,
}

impl SnapshotBytes {
    pub fn new(file: Arc<File>, bytes: u64) -> SnapshotBytes {
        SnapshotBytes { file, bytes }
    }

    /// Bytes of the file with what is put behind it.
    fn padded(&self) -> u64 {
        (self.bytes + TRAILER_BYTES).next_multiple_of(PAGE_BYTES)
    }

    /// So many bytes from `offset` on, of the file with what is put behind it.
    fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut blob = vec![0; length as usize];
        let of_file = self.bytes.saturating_sub(offset).min(length) as usize;
        self.file.read_exact_at(&mut blob[..of_file], offset)?;
        let trailer = [MAGIC, self.bytes.to_le_bytes()].concat();
        let at = self.padded() - TRAILER_BYTES;
        for (place, byte) in (at..).zip(trailer) {
            if let Some(slot) = place.checked_sub(offset).and_then(|it| blob.get_mut(it as usize)) {
                *slot = byte;
            }
        }
        Ok(blob)
    }
}

/// Sends the newest snapshot. The disk is read on a thread of its own: one that is slow must not
/// hold up the node.
pub async fn send(
    backend: &dyn Backend,
    replies: &Replies<SnapshotResponse>,
) -> Result<(), Status> {
    let failed = |why: String| Status::unavailable(format!("etcdserver: {why}"));
    let snapshot = backend.open_snapshot().map_err(failed)?;
    let (total, mut sent, mut sum) = (snapshot.padded(), 0, Sha256::new());
    while sent < total {
        let (from, length, it) = (sent, BLOB_BYTES.min(total - sent), snapshot.clone());
        let read = tokio::task::spawn_blocking(move || it.read(from, length)).await;
        let blob = read.map_err(|error| failed(error.to_string()))?;
        let blob = blob.map_err(|error| failed(format!("cannot read the snapshot: {error}")))?;
        sum.update(&blob);
        sent += length;
        let (remaining_bytes, blob) = (total - sent, Bytes::from(blob));
        let answer = SnapshotResponse { header: None, remaining_bytes, blob };
        if reply(replies, answer).await.is_err() {
            return Ok(());
        }
    }
    let blob = Bytes::from(sum.finalize().to_vec());
    let _ = reply(replies, SnapshotResponse { header: None, remaining_bytes: 0, blob }).await;
    Ok(())
}

/// What is wrong with a file that says it was wrapped.
#[derive(Debug, thiserror::Error)]
pub enum Unwrapping {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its SHA-256 is not that of what is in it")]
    WrongSum,
    #[error("it says that a snapshot of {said} bytes is in it, and it has {has}")]
    WrongLength { said: u64, has: u64 },
}

/// How long the snapshot in `file` is, if `etcdctl snapshot save` wrote it; nothing, if it is a
/// snapshot and nothing besides. All of it is read, and the sum compared.
pub fn unwrap(file: &File) -> Result<Option<u64>, Unwrapping> {
    let whole = file.metadata()?.len();
    let Some(body) = whole
        .checked_sub(SUM_BYTES)
        .filter(|body| body.is_multiple_of(PAGE_BYTES) && *body >= PAGE_BYTES)
    else {
        return Ok(None);
    };
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact_at(&mut trailer, body - TRAILER_BYTES)?;
    let (magic, length) = trailer.split_at(MAGIC.len());
    if magic != MAGIC {
        return Ok(None);
    }
    let said = length.try_into().map(u64::from_le_bytes).unwrap_or_default();
    if (said.saturating_add(TRAILER_BYTES)).checked_next_multiple_of(PAGE_BYTES) != Some(body) {
        return Err(Unwrapping::WrongLength { said, has: body });
    }
    let mut named = [0; SUM_BYTES as usize];
    file.read_exact_at(&mut named, body)?;
    let (mut sum, mut at, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    while at < body {
        let length = (body - at).min(buffer.len() as u64);
        let part = &mut buffer[..length as usize];
        file.read_exact_at(part, at)?;
        sum.update(&*part);
        at += length;
    }
    if sum.finalize()[..] != named {
        return Err(Unwrapping::WrongSum);
    }
    Ok(Some(said))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// As the client writes it, in blobs of any length.
    fn wrapped(content: &[u8], blob: u64) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let snapshot = SnapshotBytes::new(Arc::new(file), content.len() as u64);
        let (total, mut all) = (snapshot.padded(), Vec::new());
        while (all.len() as u64) < total {
            let at = all.len() as u64;
            all.extend(snapshot.read(at, blob.min(total - at)).unwrap());
        }
        let sum = Sha256::digest(&all);
        all.extend_from_slice(&sum);
        all
    }

    fn of(bytes: &[u8]) -> Result<Option<u64>, Unwrapping> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        unwrap(&file)
    }

    #[test]
    fn what_was_wrapped_is_found_again_whatever_its_length() {
        for length in [0, 1, 495, 496, 497, 512, 1000, 1008, 1009, 5000] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8 + 1).collect();
            let all = wrapped(&content, 700);
            assert_eq!(all.len() % 512, 32, "etcdctl wants it so");
            assert_eq!(all, wrapped(&content, 3), "however it is cut");
            assert_eq!(all[..content.len()], content);
            assert_eq!(of(&all).unwrap(), Some(length));
        }
    }

    #[test]
    fn damage_is_told_and_other_files_are_left_alone() {
        let all = wrapped(&[7; 1000], 512);
        for at in [0, 999, 1001, all.len() - 1] {
            let mut damaged = all.clone();
            damaged[at] ^= 1;
            assert!(matches!(of(&damaged), Err(Unwrapping::WrongSum)), "{at}");
        }
        let mut damaged = all.clone();
        let length_at = all.len() - 32 - 8;
        damaged[length_at + 2] ^= 1;
        assert!(matches!(of(&damaged), Err(Unwrapping::WrongLength { .. })));
        assert_eq!(of(&[7; 1000]).unwrap(), None);
        assert_eq!(of(&[7; 1024 + 32]).unwrap(), None);
        assert_eq!(of(&[]).unwrap(), None);
    }
}
