//! A snapshot's file, for an operator who wants to keep a copy.
//!
//! The file is opened once and read through its handle, so a newer snapshot that takes its place
//! meanwhile disturbs nobody. Reads are made on a thread of their own: a disk that is slow must not
//! hold up the node. What is read is not checked here; whoever keeps it checks the whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::control::{MAX_CHUNK, SnapshotFacts};
use crate::grpc::SnapshotBytes;
use crate::schema::control_capnp::snapshot as schema;
use crate::storage::snapshot_format::parse_snapshot_name;
use crate::types::{LogIndex, Term};

/// See the [module](self).
#[derive(Debug)]
pub struct SnapshotFile {
    file: Arc<File>,
    facts: SnapshotFacts,
}

impl SnapshotFile {
    /// For a client of etcd's API.
    pub fn into_bytes(self) -> SnapshotBytes {
        SnapshotBytes::new(self.file, self.facts.bytes)
    }

    /// The newest one of the node whose directory this is; else why there is none.
    pub fn newest(directory: &Path) -> Result<SnapshotFile, String> {
        // It may be replaced by a newer one between the look and the opening.
        for _ in 0..TRIES {
            let Some((path, index, term)) = look(&directory.join("log"))? else {
                return Err("this node has no snapshot yet".into());
            };
            let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
            match opened {
                Ok((bytes, file)) => {
                    let facts = SnapshotFacts { index, term, bytes };
                    return Ok(SnapshotFile { file: Arc::new(file), facts });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("cannot open {}: {error}", path.display())),
            }
        }
        Err("snapshots come and go too fast: try again".into())
    }
}

/// Newer snapshots may take the place of the one that was found so often.
const TRIES: u32 = 5;

/// The snapshot of the last index.
fn look(log: &Path) -> Result<Option<(PathBuf, LogIndex, Term)>, String> {
    let failed = |error: io::Error| format!("cannot look into {}: {error}", log.display());
    let mut newest = None;
    for entry in fs::read_dir(log).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(Ok(found)) = name.to_str().and_then(parse_snapshot_name) else { continue };
        if newest.as_ref().is_none_or(|(_, index, term)| (*index, *term) < found) {
            newest = Some((entry.path(), found.0, found.1));
        }
    }
    Ok(newest)
}

impl schema::Server for SnapshotFile {
    async fn describe(
        self: Rc<Self>,
        _: schema::DescribeParams,
        mut results: schema::DescribeResults,
    ) -> Result<(), capnp::Error> {
        let mut to = results.get();
        to.set_index(self.facts.index.0);
        to.set_term(self.facts.term.0);
        to.set_bytes(self.facts.bytes);
        Ok(())
    }

    async fn read(
        self: Rc<Self>,
        params: schema::ReadParams,
        mut results: schema::ReadResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let offset = params.get_offset().min(self.facts.bytes);
        let left = usize::try_from(self.facts.bytes - offset).unwrap_or(usize::MAX);
        let length = (params.get_max_bytes() as usize).min(MAX_CHUNK).min(left);
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        });
        let failed = |why: String| capnp::Error::failed(format!("cannot read the snapshot: {why}"));
        let bytes = read
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        results.get().set_data(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::snapshot_format::snapshot_name;

    #[test]
    fn the_newest_is_found_among_whatever_else_lies_there() {
        let node = tempfile::tempdir().unwrap();
        assert!(SnapshotFile::newest(node.path()).unwrap_err().contains("cannot look into"));
        let log = node.path().join("log");
        fs::create_dir(&log).unwrap();
        assert!(SnapshotFile::newest(node.path()).unwrap_err().contains("no snapshot yet"));
        for (name, bytes) in [
            (snapshot_name(LogIndex(9), Term(2)), "nine"),
            (snapshot_name(LogIndex(10), Term(2)), "ten"),
            ("snapshot.tmp".to_owned(), "half"),
            ("x.snap".to_owned(), "what is this"),
        ] {
            fs::write(log.join(name), bytes).unwrap();
        }
        let found = SnapshotFile::newest(node.path()).unwrap();
        let expected = SnapshotFacts { index: LogIndex(10), term: Term(2), bytes: 3 };
        assert_eq!(found.facts, expected);
    }
}
