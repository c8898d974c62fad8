//! A claim on a device that lives exactly as long as the external command that works on it.
//!
//! Not every tool holds its device exclusively while it writes (mkfs.btrfs does not), and a command may outlive this
//! process, or its own SIGKILL while it waits for a dead disk. So the command inherits an open file description with a lock
//! on it (F_OFD_SETLK, fcntl_locking(2)): the kernel drops the lock when the last holder has really ended. flock(2) would
//! not do, because newer tools take that lock themselves.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::error::{Error, Result};

/// Locks the whole file, which must be open for writing.
///
/// # Errors
/// `Busy` where another has claimed it.
pub(super) fn take(file: &File, path: &Path) -> Result<()> {
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole())) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(busy(path)),
        Err(errno) => Err(Error::io(format!("lock {}", path.display()), errno.into())),
    }
}

/// Proves that nobody has claimed it.
///
/// # Errors
/// `Busy` where somebody has.
pub(super) fn check_free(file: &File, path: &Path) -> Result<()> {
    let mut lock = whole();
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))
        .map_err(|errno| Error::io(format!("ask for locks on {}", path.display()), errno.into()))?;
    if i32::from(lock.l_type) == libc::F_UNLCK { Ok(()) } else { Err(busy(path)) }
}

fn busy(path: &Path) -> Error {
    Error::busy(format!("the mkfs or fsck of an earlier try still works on {}", path.display()))
}

/// A write lock from begin to end. The process id must be 0 for this kind of lock.
#[allow(clippy::cast_possible_truncation, reason = "the constants are small; their types differ by platform")]
fn whole() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Kind;
    use crate::host::exec;

    #[tokio::test]
    async fn a_claim_lasts_as_long_as_the_command_that_inherited_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("disk");
        let claimed = File::create_new(&path).unwrap();
        let other = File::options().write(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        take(&claimed, &path).unwrap();
        // The command's only copy is its standard input, which cannot be read.
        let script = ["-c", "read x && exit 9; sleep 30"];
        let run = exec::run_holding(Path::new("/bin/sh"), &script, Duration::from_secs(20), claimed);
        let watch = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let seen =
                (take(&other, &path).unwrap_err().kind(), check_free(&reader, &path).unwrap_err().kind());
            assert_eq!(seen, (Kind::Busy, Kind::Busy));
        };
        let ended = tokio::time::timeout(Duration::from_secs(2), async { tokio::join!(run, watch) }).await;
        assert!(ended.is_err(), "the command ended by itself");
        // Dropped, it is killed; the kernel lets go of the lock with it.
        for _ in 0..200 {
            if check_free(&reader, &path).is_ok() {
                return take(&other, &path).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the claim outlived its command");
    }
}
