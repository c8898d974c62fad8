//! Locks between processes that die with their holder: byte ranges of one file (fcntl(2), open file description locks).
//!
//! Each key is one byte at an offset that its hash gives, so the file stays empty and no lock file is left behind.
//! Every acquisition opens the file anew, so that two operations of one process exclude each other too. Two keys
//! whose hashes meet (62 bits) would only wait for each other.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The pause before the second try; doubled up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(4);

/// How a key is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Others may hold it shared too.
    Shared,
    /// Nobody else holds it.
    Exclusive,
}

/// Holds its keys until it is dropped.
#[derive(Debug)]
pub struct Guard {
    /// Closing the file releases the locks.
    _file: File,
}

/// Takes all keys, waiting for each up to `wait` all together. Keys are taken in one order everywhere, so that two
/// callers that want the same keys never wait for each other. Blocks the thread.
///
/// # Errors
/// [`Kind::Busy`](crate::error::Kind::Busy) naming the key that another operation holds; an I/O error where the file
/// cannot be opened or the file system knows no locks.
pub fn acquire(file: &Path, keys: &[(String, Mode)], wait: Duration) -> Result<Guard> {
    let deadline = Instant::now() + wait;
    let file = open(file)?;
    for (offset, key, mode) in ordered(keys) {
        let mut pause = FIRST_PAUSE;
        while !take(&file, offset, mode, key)? {
            if Instant::now() >= deadline {
                return Err(Error::busy(format!("another operation has held {key} for {wait:?}: try again")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
    Ok(Guard { _file: file })
}

/// Takes the key if nobody else has it.
///
/// # Errors
/// An I/O error as in [`acquire`].
pub fn try_acquire(file: &Path, key: &str, mode: Mode) -> Result<Option<Guard>> {
    let file = open(file)?;
    Ok(take(&file, offset(key), mode, key)?.then_some(Guard { _file: file }))
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io(format!("open the lock file {}", path.display()), error))
}

fn offset(key: &str) -> i64 {
    let digest = Sha256::digest(key.as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (number >> 2).cast_signed()
}

/// The keys by offset, each once; exclusive wins.
fn ordered(keys: &[(String, Mode)]) -> Vec<(i64, &str, Mode)> {
    let mut list: Vec<_> = keys.iter().map(|(key, mode)| (offset(key), key.as_str(), *mode)).collect();
    list.sort_by_key(|(offset, _, mode)| (*offset, std::cmp::Reverse(*mode)));
    list.dedup_by_key(|(offset, ..)| *offset);
    list
}

fn take(file: &File, offset: i64, mode: Mode, key: &str) -> Result<bool> {
    let kind = match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    };
    let flock = libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&flock)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::io(format!("lock {key}"), errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn keys(list: &[(&str, Mode)]) -> Vec<(String, Mode)> {
        list.iter().map(|(key, mode)| ((*key).to_owned(), *mode)).collect()
    }

    #[test]
    fn operations_of_one_process_exclude_each_other_until_the_guard_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        let short = Duration::from_millis(30);
        let first =
            acquire(&file, &keys(&[("a", Mode::Exclusive), ("b", Mode::Shared), ("a", Mode::Shared)]), short)
                .unwrap();
        assert!(try_acquire(&file, "a", Mode::Shared).unwrap().is_none());
        assert!(try_acquire(&file, "b", Mode::Exclusive).unwrap().is_none());
        assert!(try_acquire(&file, "b", Mode::Shared).unwrap().is_some());
        let error = acquire(&file, &keys(&[("c", Mode::Exclusive), ("a", Mode::Shared)]), short).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.to_string().contains("held a for"), "{error}");
        assert!(try_acquire(&file, "c", Mode::Exclusive).unwrap().is_some(), "a failed try keeps nothing");
        drop(first);
        assert!(try_acquire(&file, "a", Mode::Exclusive).unwrap().is_some());
    }

    #[test]
    fn crossing_orders_never_wait_for_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        std::thread::scope(|scope| {
            for order in [["a", "b"], ["b", "a"]] {
                let file = &file;
                scope.spawn(move || {
                    for _ in 0..100 {
                        let both = order.map(|key| (key.to_owned(), Mode::Exclusive));
                        acquire(file, &both, Duration::from_secs(20)).unwrap();
                    }
                });
            }
        });
    }
}
