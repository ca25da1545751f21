//! Reading and writing configuration files, with errors that help.
//!
//! A person who misspells a key wants three things: the file, the line, and the key that was
//! probably meant. `toml` knows the first two and serde lists the keys it would have taken; the
//! closest of those, by edits, is the third.
//!
//! Files are replaced atomically: written beside, synced, renamed, and the directory synced. After
//! a power cut there is the old file or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// It is no TOML, or has keys or values that it must not have.
    #[error("{}{}: {message}{}", path.display(),
        line.map_or(String::new(), |line| format!(":{line}")),
        suggestion.as_ref().map_or(String::new(), |key| format!("; did you mean `{key}`?")))]
    Wrong { path: PathBuf, line: Option<usize>, message: String, suggestion: Option<String> },
}

impl ConfigError {
    /// A value that is well-formed and makes no sense.
    pub fn wrong(path: &Path, message: impl Into<String>) -> ConfigError {
        ConfigError::Wrong {
            path: path.to_owned(),
            line: None,
            message: message.into(),
            suggestion: None,
        }
    }
}

/// Reads the TOML file at `path`.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse_toml(path, &text)
}

/// Reads TOML from `text`; `path` is for the error.
pub fn parse_toml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        let message = error.message().to_owned();
        let suggestion = suggestion(&message);
        ConfigError::Wrong { path: path.to_owned(), line, message, suggestion }
    })
}

/// Out of serde's "unknown field `a`, expected one of `b`, `c`": the expected one closest to `a`.
fn suggestion(message: &str) -> Option<String> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let (distance, closest) = quoted.map(|key| (edits(given, key), key)).min()?;
    (distance <= 1 + given.chars().count() / 3).then(|| closest.to_owned())
}

/// How many characters must be inserted, removed or replaced to make `a` into `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Replaces the file at `path` by `contents`, durably and atomically; readable by its owner only.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".tmp");
    write_synced(&beside, contents)?;
    fs::rename(&beside, path)?;
    sync_directory_of(path)
}

/// Creates the file at `path` with `contents`, durably; an error of kind `AlreadyExists` if there
/// is one. Two who try at the same moment: exactly one succeeds, and nobody ever sees half a file.
pub fn create_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    write_synced(&beside, contents)?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    sync_directory_of(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterConfig, NodeConfig};

    #[test]
    fn a_misspelt_key_is_named_with_file_line_and_the_key_meant() {
        let text = "name = \"a\"\nid = 7\nnodes = 3\n\n[timings]\nheartbeat_milis = 20\n";
        let error = parse_toml::<ClusterConfig>(Path::new("/c/cluster.toml"), text).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("/c/cluster.toml:6: unknown field `heartbeat_milis`"), "{said}");
        assert!(said.ends_with("did you mean `heartbeat_millis`?"), "{said}");
    }

    #[test]
    fn a_misspelt_key_of_a_node_is_found_too_and_nonsense_gets_no_suggestion() {
        let said = |text: &str| {
            parse_toml::<NodeConfig>(Path::new("node.toml"), text).unwrap_err().to_string()
        };
        let text = said("cluster_name = \"a\"\nnode = 1\nduribility = \"fsync\"\n");
        assert!(text.starts_with("node.toml:3:") && text.contains("mean `durability`?"), "{text}");
        assert!(!said("qqqqqqqq = 1\n").contains("did you mean"));
        assert!(said("node = = 1").starts_with("node.toml:1:"));
    }

    #[test]
    fn a_misspelt_word_is_found() {
        let text = "name = \"a\"\nid = 7\nnodes = 3\ndurability = \"fsnyc\"\n";
        let said = parse_toml::<ClusterConfig>(Path::new("c"), text).unwrap_err().to_string();
        assert!(said.starts_with("c:4:") && said.contains("did you mean `fsync`?"), "{said}");
    }

    #[test]
    fn files_are_replaced_whole_and_created_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        create_file(&path, b"one").unwrap();
        assert_eq!(create_file(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace_file(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside");
    }
}
