//! Where a cluster's files are.
//!
//! ```text
//! $KVRAFT_HOME, else $XDG_STATE_HOME/kvraft, else ~/.local/state/kvraft
//! └── <name>/                    the supervisor holds a lock on this directory
//!     ├── cluster.toml           what was asked for
//!     ├── members.toml           who the members were in the beginning
//!     ├── supervisor.json        what runs
//!     ├── supervisor.sock        control of the cluster
//!     ├── supervisor.log
//!     ├── events.jsonl           what happened (and events.1.jsonl before it)
//!     └── nodes/<id>/
//!         ├── node.toml          what the node needs to know
//!         ├── log/ snapshots/    its data
//!         ├── record/            its core's life, if it is to be recorded
//!         ├── peer.sock client.sock control.sock
//!         ├── node.log           its own log, which it rotates itself
//!         └── node.stderr        what it says before it logs, and when it panics
//! ```
//!
//! Whoever can connect to a control socket may do everything, so directories are 0700 and belong
//! to the user who uses them. A directory of another user is refused, even where permissions (or
//! being root) would allow it: files created there would lock out their owner.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Address;
use crate::types::NodeId;

/// The name of a cluster: a directory's name, a label of metrics, a word on the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The cluster that is meant when none is named.
    pub const DEFAULT: &'static str = "default";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    fn default() -> ClusterName {
        ClusterName(ClusterName::DEFAULT.to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<ClusterName, LayoutError> {
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        match first && rest && text.len() <= 64 {
            true => Ok(ClusterName(text.to_owned())),
            false => Err(LayoutError::BadName { name: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = LayoutError;
    fn try_from(text: String) -> Result<ClusterName, LayoutError> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> String {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error(
        "`{name}` is no name for a cluster: up to 64 of a-z A-Z 0-9 . _ - are, beginning with a \
         letter or digit"
    )]
    BadName { name: String },
    #[error("there is no place for clusters: set KVRAFT_HOME, XDG_STATE_HOME or HOME")]
    NoHome,
    #[error("{variable} is `{}`: it must be an absolute path", path.display())]
    Relative { variable: &'static str, path: PathBuf },
    #[error(
        "{} belongs to user {owner}, and you are user {user}: run as that user, or set KVRAFT_HOME \
         to a directory of your own", path.display()
    )]
    ForeignOwner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} is no directory: move it away, or set KVRAFT_HOME elsewhere", path.display())]
    NotADirectory { path: PathBuf },
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl LayoutError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
        let path = path.to_owned();
        move |source| LayoutError::Io { what, path, source }
    }
}

/// Where all clusters of a user are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// As the environment says.
    pub fn from_environment() -> Result<Home, LayoutError> {
        Home::resolve(|variable| std::env::var_os(variable))
    }

    fn resolve(variable: impl Fn(&str) -> Option<OsString>) -> Result<Home, LayoutError> {
        const PLACES: [(&str, &str); 3] =
            [("KVRAFT_HOME", ""), ("XDG_STATE_HOME", "kvraft"), ("HOME", ".local/state/kvraft")];
        for (name, below) in PLACES {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
            let path = PathBuf::from(value);
            if !path.is_absolute() {
                return Err(LayoutError::Relative { variable: name, path });
            }
            // `join` of nothing would leave a trailing slash.
            return Ok(Home(if below.is_empty() { path } else { path.join(below) }));
        }
        Err(LayoutError::NoHome)
    }

    /// At `path`, which must be absolute.
    pub fn at(path: impl Into<PathBuf>) -> Result<Home, LayoutError> {
        let path = path.into();
        match path.is_absolute() {
            true => Ok(Home(path)),
            false => Err(LayoutError::Relative { variable: "the directory", path }),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of the cluster `name`, be it there or not.
    pub fn cluster(&self, name: &ClusterName) -> ClusterDirectory {
        ClusterDirectory { path: self.0.join(name.as_str()) }
    }

    /// The clusters that are there, by name.
    pub fn list(&self) -> Result<Vec<(ClusterName, ClusterDirectory)>, LayoutError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(LayoutError::io("list", &self.0)(error)),
        };
        let mut clusters = Vec::new();
        for entry in entries {
            let entry = entry.map_err(LayoutError::io("list", &self.0))?;
            let name: Option<ClusterName> =
                entry.file_name().to_str().and_then(|name| name.parse().ok());
            let directory = ClusterDirectory { path: entry.path() };
            match name {
                Some(name) if directory.cluster_toml().exists() => clusters.push((name, directory)),
                _ => {}
            }
        }
        clusters.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(clusters)
    }
}

/// The directory of one cluster. It only knows names; nothing is touched unless a method says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDirectory {
    path: PathBuf,
}

impl ClusterDirectory {
    /// The one at `path`, which must be absolute.
    pub fn at(path: impl Into<PathBuf>) -> Result<ClusterDirectory, LayoutError> {
        Ok(ClusterDirectory { path: Home::at(path)?.0 })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked for.
    pub fn cluster_toml(&self) -> PathBuf {
        self.path.join("cluster.toml")
    }

    /// Who the members were in the beginning.
    pub fn members_toml(&self) -> PathBuf {
        self.path.join("members.toml")
    }

    /// What runs.
    pub fn supervisor_json(&self) -> PathBuf {
        self.path.join("supervisor.json")
    }

    /// Control of the cluster.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.path.join("supervisor.sock")
    }

    /// Where the supervisor is reached.
    pub fn supervisor_address(&self) -> Address {
        Address::Unix(self.supervisor_socket())
    }

    /// The supervisor's own log.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// What whoever uses the console must know.
    pub fn console_token(&self) -> PathBuf {
        self.path.join("console.token")
    }

    /// What happened.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// What happened before [`events`](Self::events) begins.
    pub fn older_events(&self) -> PathBuf {
        self.path.join("events.1.jsonl")
    }

    /// All nodes' directories.
    pub fn nodes(&self) -> PathBuf {
        self.path.join("nodes")
    }

    /// The directory of `node`.
    pub fn node(&self, node: NodeId) -> NodeDirectory {
        NodeDirectory { path: self.nodes().join(node.to_string()) }
    }

    /// Creates it, with what leads to it, for nobody else to enter.
    pub fn create(&self) -> Result<(), LayoutError> {
        create_private(&self.path)?;
        self.check_owner()
    }

    /// Refuses what belongs to somebody else, or is no directory. One that does not exist is fine.
    pub fn check_owner(&self) -> Result<(), LayoutError> {
        check_owner(&self.path)
    }
}

/// The directory of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDirectory {
    path: PathBuf,
}

impl NodeDirectory {
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the node needs to know.
    pub fn node_toml(&self) -> PathBuf {
        self.path.join("node.toml")
    }

    /// Its segments.
    pub fn log_directory(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Its core's life, if it is to be recorded.
    pub fn record_directory(&self) -> PathBuf {
        self.path.join("record")
    }

    /// What is wrong with its links on purpose.
    pub fn faults_file(&self) -> PathBuf {
        self.path.join("faults.json")
    }

    /// Its own log, for people.
    pub fn log_file(&self) -> PathBuf {
        self.path.join("node.log")
    }

    /// What it says before it logs, and when it panics.
    pub fn stderr(&self) -> PathBuf {
        self.path.join("node.stderr")
    }

    /// Where it can be reached by Unix socket: `peer`, `client` or `control`.
    pub fn socket(&self, what: &str) -> PathBuf {
        self.path.join(format!("{what}.sock"))
    }

    /// All of its sockets that there may be.
    pub fn sockets(&self) -> [PathBuf; 3] {
        ["peer", "client", "control"].map(|what| self.socket(what))
    }

    /// Creates it, for nobody else to enter.
    pub fn create(&self) -> Result<(), LayoutError> {
        create_private(&self.path)?;
        check_owner(&self.path)
    }
}

fn create_private(path: &Path) -> Result<(), LayoutError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(LayoutError::io("create the directory", path))
}

fn check_owner(path: &Path) -> Result<(), LayoutError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LayoutError::io("look at", path)(error)),
    };
    let user = nix::unistd::geteuid().as_raw();
    if !metadata.is_dir() {
        return Err(LayoutError::NotADirectory { path: path.to_owned() });
    }
    if metadata.uid() != user {
        return Err(LayoutError::ForeignOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    if metadata.mode() & 0o077 != 0 {
        // Ours, and open to others: from before, or by a loose umask of whoever made it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(LayoutError::io("close to others", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(variables: &[(&str, &str)]) -> Result<Home, LayoutError> {
        Home::resolve(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_first_place_that_is_set_counts() {
        let all = [("KVRAFT_HOME", "/k"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(home(&all).unwrap().path(), Path::new("/k"));
        assert_eq!(home(&all[1..]).unwrap().path(), Path::new("/x/kvraft"));
        assert_eq!(home(&all[2..]).unwrap().path(), Path::new("/h/.local/state/kvraft"));
        assert_eq!(home(&[("KVRAFT_HOME", ""), all[2]]).unwrap(), home(&all[2..]).unwrap());
        assert!(matches!(home(&[]), Err(LayoutError::NoHome)));
        let relative = home(&[("KVRAFT_HOME", "k")]).unwrap_err().to_string();
        assert_eq!(relative, "KVRAFT_HOME is `k`: it must be an absolute path");
    }

    #[test]
    fn names_cannot_escape_their_place() {
        for good in ["default", "a", "9", "a.b_c-d"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "-n", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_directory_is_ours_alone_and_an_open_one_is_closed() {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::at(temporary.path()).unwrap();
        let directory = home.cluster(&"a".parse().unwrap());
        let mode = || fs::metadata(directory.path()).unwrap().mode() & 0o777;
        directory.create().unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        directory.create().unwrap();
        assert_eq!(mode(), 0o700);
        assert!(home.list().unwrap().is_empty(), "no cluster.toml, no cluster");
        fs::write(directory.cluster_toml(), "").unwrap();
        assert_eq!(home.list().unwrap()[0].0.as_str(), "a");
    }

    #[test]
    fn a_directory_of_another_user_and_a_file_are_refused() {
        // `/` and `/proc/1` belong to root; whoever is root here looks at a file of nobody's.
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("theirs");
        fs::create_dir(&path).unwrap();
        let root = nix::unistd::geteuid().is_root();
        let foreign = match root {
            true => {
                std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
                path.clone()
            }
            false => PathBuf::from("/"),
        };
        let error = ClusterDirectory::at(foreign).unwrap().check_owner().unwrap_err();
        assert!(matches!(error, LayoutError::ForeignOwner { .. }), "{error}");
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ClusterDirectory::at(file).unwrap().check_owner().unwrap_err();
        assert!(matches!(error, LayoutError::NotADirectory { .. }), "{error}");
    }
}
