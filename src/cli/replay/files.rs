//! The files of a record, which may be written while they are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::consensus::raft::Raft;
use crate::node::recorder::ring;
use crate::record::{MAX_FILE, Reader, Record, State, Unreadable};

/// Those there were when somebody looked, oldest first.
pub struct Files {
    directory: PathBuf,
    paths: Vec<PathBuf>,
}

impl Files {
    pub fn of(directory: PathBuf) -> Result<Files, Failure> {
        let files = ring::files(&directory).map_err(|error| cannot_read(&directory, &error))?;
        let paths = files.into_iter().map(|(_, path)| path).collect();
        Ok(Files { directory, paths })
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// When the last step is that can be read, in nanoseconds of Unix time.
    pub fn end(&self) -> Result<Option<u64>, Failure> {
        for path in self.paths.iter().rev() {
            let Some(file) = read(path)? else { continue };
            let Ok((_, records)) = Reader::<Raft>::open(&file) else { continue };
            let (mut noted, mut end): (Option<State>, _) = (None, None);
            for record in records.map_while(Result::ok) {
                match record {
                    Record::Checkpoint { state, .. }
                    | Record::State(state)
                    | Record::End(state) => {
                        noted = Some(state);
                    }
                    Record::Step { now, .. } => end = noted.map(|state| state.unix_at(now)),
                    Record::Effects { .. } => {}
                }
            }
            if end.is_some() {
                return Ok(end);
            }
        }
        Ok(None)
    }

    /// There is nothing to replay; `last` is why not, if there is a file at all.
    pub fn nothing(&self, last: Option<(PathBuf, Unreadable)>) -> Failure {
        match last {
            Some((path, why)) => {
                Failure::failed(format!("cannot replay {}: {why}", path.display()))
            }
            None => Failure::failed(format!("there is no record in {}", self.directory.display())),
        }
    }
}

/// All of a file; `None` if it is not there any more: its node has let it go.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Failure::failed(format!("{} is too long for a record", path.display()))),
        false => Ok(Some(bytes)),
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read {}: {error}", path.display()))
}
