//! What the kernel says about a process.
//!
//! Read from `/proc/<pid>/{stat,status,fd,limits}`, so the same code describes this process and
//! any other of the same user: the benchmark reads its nodes' figures this way.

use std::fs;
use std::path::PathBuf;

/// Clock ticks per second in `/proc/<pid>/stat`. The kernel's USER_HZ, which is part of its
/// interface and 100 on every architecture that Rust's Linux targets have today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// User and system time used so far, of all threads; in steps of 10 ms.
    pub cpu_seconds: f64,
    /// Memory that is in RAM (`VmRSS`).
    pub resident_bytes: u64,
    /// Address space (`VmSize`).
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    /// The soft limit of open files; `None` means unlimited.
    pub max_fds: Option<u64>,
    /// Unix time of its start.
    pub start_time_seconds: f64,
}

/// A file under `/proc` could not be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum FiguresError {
    #[error("cannot read {path}: {source} (is the process gone?)", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} lacks {what}; is this Linux?", path = path.display())]
    Malformed { path: PathBuf, what: &'static str },
}

impl Figures {
    /// Of this process.
    pub fn of_self() -> Result<Figures, FiguresError> {
        Figures::read(PathBuf::from("/proc/self"))
    }

    /// Of the process `pid`, which must belong to this user.
    pub fn of_process(pid: u32) -> Result<Figures, FiguresError> {
        Figures::read(PathBuf::from(format!("/proc/{pid}")))
    }

    fn read(directory: PathBuf) -> Result<Figures, FiguresError> {
        let stat = Page::read(directory.join("stat"))?;
        let status = Page::read(directory.join("status"))?;
        let limits = Page::read(directory.join("limits"))?;
        let system = Page::read(PathBuf::from("/proc/stat"))?;
        let fds = directory.join("fd");
        let own = directory.as_os_str() == "/proc/self";
        let open_fds = fs::read_dir(&fds)
            .map_err(|source| FiguresError::Read { path: fds, source })?
            .count() as u64;

        // Positions as in proc(5), where the first is 1.
        let cpu_ticks = stat.field(14, "utime")? + stat.field(15, "stime")?;
        let started = stat.field(22, "starttime")? / TICKS_PER_SECOND;
        Ok(Figures {
            cpu_seconds: cpu_ticks / TICKS_PER_SECOND,
            resident_bytes: status.line("VmRSS:")? * 1024,
            virtual_bytes: status.line("VmSize:")? * 1024,
            threads: status.line("Threads:")?,
            // Looking at our own directory takes a descriptor, which is in it.
            open_fds: open_fds.saturating_sub(u64::from(own)),
            max_fds: limits.line("Max open files").ok(),
            start_time_seconds: system.line("btime")? as f64 + started,
        })
    }
}

/// A text file of the kernel's, with its path for errors.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Result<Page, FiguresError> {
        match fs::read(&path) {
            // A program's name may be any bytes.
            Ok(bytes) => Ok(Page { path, text: String::from_utf8_lossy(&bytes).into_owned() }),
            Err(source) => Err(FiguresError::Read { path, source }),
        }
    }

    /// The number at `position` of `/proc/<pid>/stat`. The second field is the program's name in
    /// parentheses, which may itself hold spaces and parentheses: count from the last one.
    fn field(&self, position: usize, what: &'static str) -> Result<f64, FiguresError> {
        self.text
            .rfind(')')
            .and_then(|end| self.text[end + 1..].split_ascii_whitespace().nth(position - 3))
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| self.malformed(what))
    }

    /// The first number on the line that begins with `name`.
    fn line(&self, name: &'static str) -> Result<u64, FiguresError> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| self.malformed(name))
    }

    fn malformed(&self, what: &'static str) -> FiguresError {
        FiguresError::Malformed { path: self.path.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: PathBuf::from("/proc/1/stat"), text: text.to_owned() }
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = page("7 (a ) b) c) S 1 7 7 0 -1 4194304 99 0 0 0 250 50 0 0 20 0 3 0 1234 4096");
        assert_eq!(stat.field(14, "utime").unwrap(), 250.0);
        assert_eq!(stat.field(15, "stime").unwrap(), 50.0);
        assert_eq!(stat.field(22, "starttime").unwrap(), 1234.0);
    }

    #[test]
    fn what_is_missing_is_named_with_its_file() {
        let message = page("7 (x) S 1").field(14, "utime").unwrap_err().to_string();
        assert!(message.contains("/proc/1/stat") && message.contains("utime"), "{message}");
        assert!(page("Threads:\tmany").line("Threads:").is_err());
        let gone = Figures::of_process(u32::MAX).unwrap_err().to_string();
        assert!(gone.contains("gone"), "{gone}");
    }

    #[test]
    fn an_open_file_and_used_memory_show() {
        let before = Figures::of_self().unwrap();
        let files: Vec<_> =
            (0..64).map(|_| fs::File::open("/proc/self/stat").expect("it was just read")).collect();
        let memory = vec![1u8; 64 << 20];
        let after = Figures::of_self().unwrap();
        // Other tests of this process may open and close files meanwhile, but not dozens.
        assert!(after.open_fds >= before.open_fds + 16, "{before:?} {after:?}");
        assert!(after.resident_bytes >= before.resident_bytes + (32 << 20), "{after:?}");
        assert!(after.virtual_bytes > after.resident_bytes && after.threads >= 1);
        drop((files, memory));
    }

    #[test]
    fn the_start_lies_in_the_past_and_the_processor_time_grows() {
        let first = Figures::of_self().unwrap();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        let age = now - first.start_time_seconds;
        // The boot time is whole seconds, so the start may lie a second off.
        assert!((-1.5..86_400.0).contains(&age), "started {age} s ago");
        let mut sum = 0u64;
        while Figures::of_self().unwrap().cpu_seconds < first.cpu_seconds + 0.02 {
            sum = sum.wrapping_add((0..100_000u64).sum());
        }
        assert!(sum > 0);
    }
}
