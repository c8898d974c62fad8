//! The sockets: closed to others before it can be connected to, and never taken from a process that lives.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::UnixListener;

use crate::error::{Error, Kind, Result};

/// For its owner alone.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// Connections that wait to be accepted: kubelet dials for every call, so bursts come.
const BACKLOG: i32 = 128;
/// Looking and binding take microseconds; whoever holds the directory longer is not one of us.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Removes the socket when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Whether it is still at its path.
    #[must_use]
    pub fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Makes the socket, with mode 0600 from its first moment on, and listens. A socket that nobody listens on is
/// replaced. Blocks for at most two seconds. `taken` is the advice where
/// another process listens there, beside stopping it.
///
/// # Errors
/// `FailedPrecondition` where the parent directory is missing, something other than a socket is in the way, or a
/// process that lives listens there.
pub fn listen_at(path: &Path, taken: &str) -> Result<(UnixListener, SocketFile)> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("/"));
    // Two processes that start at once must not each find the other's socket stale between bind and listen.
    let _turn = lock(parent)?;
    clear(path, taken)?;
    let fault =
        |what: &str, errno: Errno| Error::io(format!("{what} the socket {}", path.display()), errno.into());
    let address = UnixAddr::new(path).map_err(|errno| fault("name", errno))?;
    let descriptor = stream_socket().map_err(|errno| fault("open", errno))?;
    // The file that bind makes takes its mode from the socket, less the umask (unix(7), Linux), so it is never open to
    // others, not even for the moment that a chmod after bind would leave.
    fchmod(&descriptor, MODE).map_err(|errno| fault("set the mode of", errno))?;
    bind(descriptor.as_raw_fd(), &address).map_err(|errno| fault("bind", errno))?;
    let found = std::fs::symlink_metadata(path)
        .map_err(|error| Error::io(format!("look at the socket {}", path.display()), error))?;
    let file = SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() };
    if found.mode() & 0o177 != 0 {
        return Err(Error::internal(format!(
            "the socket {} got the mode {:o}: it must be closed to others",
            path.display(),
            found.mode() & 0o7777
        )));
    }
    let backlog = Backlog::new(BACKLOG).map_err(|errno| fault("listen on", errno))?;
    listen(&descriptor, backlog).map_err(|errno| fault("listen on", errno))?;
    let listener = UnixListener::from_std(StdListener::from(descriptor))
        .map_err(|error| Error::io(format!("serve the socket {}", path.display()), error))?;
    Ok((listener, file))
}

fn stream_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// Holds the directory while a socket in it is looked at and made. Ends with the returned value.
fn lock(parent: &Path) -> Result<Flock<File>> {
    let mut directory = File::open(parent).map_err(|error| {
        let advice = "the directory of the socket must exist: make it, or mount it into the container";
        Error::precondition(format!("cannot open {}: {advice}", parent.display())).caused_by(error)
    })?;
    let start = Instant::now();
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) if start.elapsed() < LOCK_WAIT => directory = file,
            Err((_, errno)) => {
                return Err(Error::io(format!("lock the directory {}", parent.display()), errno.into()));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes room at `path`: only a socket that nobody listens on is removed.
fn clear(path: &Path, taken: &str) -> Result<()> {
    let refuse = |text: String| Err(Error::refused(Kind::FailedPrecondition, text));
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(format!("look at {shown}"), error)),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return refuse(format!("{shown} is there and is no socket: remove it"));
        }
    }
    let fault = |errno: Errno| Error::io(format!("try the socket {shown}"), errno.into());
    let probe = stream_socket().map_err(fault)?;
    let address = UnixAddr::new(path).map_err(fault)?;
    match connect(probe.as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove the stale socket {shown}"), error))
            }
            _ => {
                tracing::info!(path = %shown, "removed a socket that nobody listened on");
                Ok(())
            }
        },
        Err(Errno::ENOENT) => Ok(()),
        // EAGAIN: somebody listens, with a full queue.
        Ok(()) | Err(Errno::EAGAIN) => {
            refuse(format!("a process already serves {shown}: stop it, or {taken}"))
        }
        Err(errno) => Err(fault(errno)),
    }
}
