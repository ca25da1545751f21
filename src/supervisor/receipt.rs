//! After the end: a look at what is left of a cluster, which ought to be nothing.
//!
//! It asks the system and not the supervisor's files: what runs (`/proc`), what socket files lie
//! in the directory, which of the ports that were handed out still answer, and whether somebody
//! holds the lock.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ops::{SideCar, files::Places};
use super::process::{self, Identity};
use super::run::{DaemonError, lock};
use super::state::StateFile;
use crate::config::{Address, ClusterDirectory};

/// A port on this machine answers at once or not at all.
const PORT_PATIENCE: Duration = Duration::from_millis(200);

/// What is left of a cluster that is down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// Nodes and supervisors that run, by number.
    pub processes: Vec<u32>,
    pub sockets: Vec<PathBuf>,
    /// Ports of the cluster at which somebody listens.
    pub ports: Vec<SocketAddr>,
    /// Directories of which somebody holds the lock.
    pub locks: Vec<PathBuf>,
}

impl Leftovers {
    /// Nothing is left.
    pub fn is_clean(&self) -> bool {
        *self == Leftovers::default()
    }
}

/// Looks at what is left. A directory that does not exist (any more) is fine: only processes can be
/// left then.
pub fn look(directory: &ClusterDirectory) -> io::Result<Leftovers> {
    let mut left = Leftovers::default();
    let mut found = Vec::from_iter(supervisor_of(directory)?);
    let state = StateFile::read(directory).ok().flatten();
    let ids: Vec<_> = state.iter().flat_map(|state| state.nodes.keys().copied()).collect();
    for id in ids {
        found.extend(process::running("kvnode", &directory.node(id).node_toml())?);
    }
    for which in SideCar::ALL {
        for program in which.programs() {
            found.extend(process::running(program, &Places::of(directory).config(which))?);
        }
    }
    left.processes = found.iter().map(|identity| identity.pid).collect();
    gone_is_fine(sockets(directory.path(), &mut left.sockets))?;
    match lock(directory) {
        Ok(_) => {}
        Err(DaemonError::AlreadyRunning { directory }) => left.locks.push(directory),
        Err(DaemonError::Io { source, .. }) => gone_is_fine(Err(source))?,
        Err(error) => return Err(io::Error::other(error.to_string())),
    }
    if let Some(state) = state {
        let mut ports = vec![state.http];
        let ops = state.ops.as_ref();
        ports.extend(SideCar::ALL.iter().filter_map(|it| Some(ops?.record(*it)?.at)));
        for (_, node) in state.live() {
            ports.push(node.http);
            ports.extend(node.grpc);
            for address in [&node.peer, &node.client] {
                ports.extend(match address {
                    Address::Tcp(address) => Some(*address),
                    Address::Unix(_) => None,
                });
            }
        }
        ports.retain(|port| TcpStream::connect_timeout(port, PORT_PATIENCE).is_ok());
        left.ports = ports;
    }
    Ok(left)
}

/// A throw-away cluster's directory may vanish while one looks.
fn gone_is_fine(looked: io::Result<()>) -> io::Result<()> {
    match looked {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sockets(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            gone_is_fine(sockets(&entry.path(), found))?;
        } else if kind.is_socket() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The living process that keeps the cluster in `directory`, if one does.
pub fn supervisor_of(directory: &ClusterDirectory) -> io::Result<Option<Identity>> {
    // One that has just started may not be in the file yet, and one that was started by hand, with
    // `--name`, does not have the directory among its arguments.
    if let Some(found) = process::running("kvsupd", directory.path())?.into_iter().next() {
        return Ok(Some(found));
    }
    let recorded = StateFile::read(directory).ok().flatten().and_then(|state| state.supervisor);
    match recorded {
        Some(recorded) if recorded.pid != std::process::id() && recorded.is_alive()? => {
            Ok(Some(recorded))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn sockets_and_locks_that_are_left_are_found_and_a_directory_that_is_gone_is_clean() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::at(temporary.path().join("a")).unwrap();
        assert!(look(&directory).unwrap().is_clean());
        fs::create_dir_all(directory.path().join("nodes/1")).unwrap();
        assert!(look(&directory).unwrap().is_clean());
        let socket = directory.path().join("nodes/1/peer.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let held = lock(&directory).unwrap();
        let left = look(&directory).unwrap();
        assert_eq!(left.sockets, [socket]);
        assert_eq!(left.locks, [directory.path()]);
        drop((listener, held));
        assert!(look(&directory).unwrap().locks.is_empty());
    }
}
