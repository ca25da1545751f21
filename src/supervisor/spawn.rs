//! Starting programs that outlive whoever started them.
//!
//! A node gets a session of its own, so that neither Ctrl-C in the terminal nor the terminal's end
//! reaches it; no pipe to its supervisor, since a pipe whose reader is gone blocks or kills the
//! writer; and a file for what it says before it logs and when it panics.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::observe::log::readable;

/// A file that programs append their words to is emptied when a new one starts and finds more.
const WORDS_BYTES: u64 = 256 << 10;

/// A program of ours that is not where it ought to be.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot find the program `{name}`: looked into {}; install it beside the others, or set \
     KVRAFT_BIN_DIR to where it is", looked.iter().map(|path| path.display().to_string())
     .collect::<Vec<_>>().join(", ")
)]
pub struct NoProgram {
    name: String,
    looked: Vec<PathBuf>,
}

/// Where `kvnode` or `kvsupd` is: in KVRAFT_BIN_DIR if that is set; else beside the program that
/// runs (or, if that is a test in `target/…/deps`, above it); else in PATH.
pub fn program(name: &str) -> Result<PathBuf, NoProgram> {
    let mut looked = Vec::new();
    match env::var_os("KVRAFT_BIN_DIR").filter(|value| !value.is_empty()) {
        Some(directory) => looked.push(PathBuf::from(directory)),
        None => {
            let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
            if let Some(beside) = beside {
                let above = beside.parent().map(Path::to_owned);
                let in_deps = beside.ends_with("deps");
                looked.push(beside);
                looked.extend(above.filter(|_| in_deps));
            }
            looked.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        }
    }
    let found = looked.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| NoProgram { name: name.to_owned(), looked })
}

/// Opens the file that a program's words go to, emptied if it has grown large.
pub fn words_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() > WORDS_BYTES {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Starts `command` in a session of its own, with its standard error appended to the file `words`
/// and nothing else.
pub fn detached(mut command: Command, words: &Path) -> io::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words_file(words)?);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid is one, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
    command.spawn()
}

/// The last `lines` lines of the log at `path`, for people; at most 8 KiB, nothing if it cannot be
/// read.
pub fn last_lines(path: &Path, lines: usize) -> String {
    last_lines_from(path, 0, lines)
}

/// Like [`last_lines`], of what comes after the first `from` bytes.
pub fn last_lines_from(path: &Path, from: u64, lines: usize) -> String {
    const TAIL: u64 = 8 << 10;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL).max(from)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut last: Vec<&str> =
        text.lines().rev().filter(|line| !line.trim().is_empty()).take(lines).collect();
    last.reverse();
    let last: Vec<_> = last.into_iter().map(readable).collect();
    last.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_file_and_of_none() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("f");
        assert_eq!(last_lines(&path, 3), "");
        fs::write(&path, "a\nb\n\nc\nd\n").unwrap();
        assert_eq!(last_lines(&path, 3), "b\nc\nd");
        assert_eq!(last_lines_from(&path, 5, 3), "c\nd");
        assert_eq!(last_lines_from(&path, 500, 3), "");
        fs::write(&path, "x".repeat(20_000) + "\nend").unwrap();
        assert_eq!(last_lines(&path, 1), "end");
    }

    #[test]
    fn a_detached_program_leads_a_session_and_its_words_are_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let words = temporary.path().join("words");
        let mut command = Command::new("sh");
        // Field 6 of stat is the session; `$$` is the shell.
        command.args(["-c", "read -r _ _ _ _ _ s _ </proc/$$/stat; [ $s = $$ ] && echo yes >&2"]);
        let status = detached(command, &words).unwrap().wait().unwrap();
        assert!(status.success());
        assert_eq!(fs::read_to_string(&words).unwrap(), "yes\n");
        fs::write(&words, vec![b'x'; 300 << 10]).unwrap();
        assert_eq!(words_file(&words).unwrap().metadata().unwrap().len(), 0);
    }
}
