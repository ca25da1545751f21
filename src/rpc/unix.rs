//! Unix sockets at paths of any length.
//!
//! # The problem
//!
//! The kernel's `sockaddr_un` holds 107 bytes of path. `$KVRAFT_HOME/<name>/nodes/<id>/client.sock`
//! is easily longer, in a test's temporary directory for one, and the user is not to blame.
//!
//! # The rule
//!
//! Open the directory (`O_PATH`, which needs no permission to read it) and name the socket through
//! it: `/proc/self/fd/<n>/client.sock` is short whatever the directory's path. Only the last part
//! of the path counts against the limit then.
//!
//! # What else can go wrong
//!
//! - *The file is there already.* A process that was killed leaves its socket behind, and `bind`
//!   refuses. If it is a socket, is ours, and nobody answers on it, it is stale and is removed.
//!   Anything else is left alone, with an error that says what is there.
//! - *Between `bind` and `chmod`, anybody could connect.* So the mode is set on the socket before
//!   `bind`: the kernel gives the file the socket's own mode (less the umask).
//! - *A successor has replaced the file by the time we go.* So the listener remembers which inode
//!   it made, and removes only that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// Bytes of path that fit a `sockaddr_un`, its closing zero aside.
pub const MAX_PATH: usize = 107;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket's place in the file system, reachable whatever the length of its path.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    name: OsString,
    /// A path for the kernel: the whole one where it fits, else one through `directory`. It is
    /// good for as long as this value lives.
    short: PathBuf,
}

impl Place {
    /// The place that `path` names; its directory must exist.
    pub fn of(path: &Path) -> io::Result<Place> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        };
        let directory =
            open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(|errno| {
                    let error = io::Error::from(errno);
                    let text = format!("its directory {}: {error}", parent.display());
                    io::Error::new(error.kind(), text)
                })?;
        let short = if path.as_os_str().len() <= MAX_PATH {
            path.to_owned()
        } else {
            PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
        };
        if short.as_os_str().len() > MAX_PATH {
            let text = format!("the name of the socket itself has {} bytes", name.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Place { directory, name: name.to_owned(), short })
    }

    /// A path that the kernel accepts while `self` lives.
    pub fn path(&self) -> &Path {
        &self.short
    }

    fn name(&self) -> &OsStr {
        &self.name
    }

    fn stat(&self) -> nix::Result<FileStat> {
        fstatat(&self.directory, self.name(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Makes room: removes a socket that is ours and that nobody listens on.
    fn clear(&self) -> io::Result<()> {
        let there = match self.stat() {
            Err(nix::errno::Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let refuse = |text: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        if there.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFSOCK.bits() {
            return refuse("a file that is no socket is there; remove it or choose another path");
        }
        if there.st_uid != geteuid().as_raw() {
            return refuse("the socket of another user is there; choose another path");
        }
        match UnixStream::connect(self.path()) {
            Ok(_) => refuse("another process listens there; stop it or choose another path"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.remove(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                refuse("another process listens there, and is overrun")
            }
            Err(error) => Err(error),
        }
    }

    fn remove(&self) -> io::Result<()> {
        match unlinkat(&self.directory, self.name(), UnlinkatFlags::NoRemoveDir) {
            Err(nix::errno::Errno::ENOENT) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The file that a listener made; removed when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    place: Place,
    made: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.place.stat().is_ok_and(|there| (there.st_dev, there.st_ino) == self.made) {
            // Nobody is left to be told; the next listener clears the place anyway.
            let _ = self.place.remove();
        }
    }
}

/// Listens at `path`: mode 0600, close-on-exec, non-blocking.
pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let place = Place::of(path)?;
    place.clear()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(place.path())?)?;
    let there = place.stat()?;
    let file = SocketFile { made: (there.st_dev, there.st_ino), place };
    nix::sys::socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok((UnixListener::from(socket), file))
}
