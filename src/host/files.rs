//! Files that must survive a crash, and copies that keep their holes. All calls block the thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Whence, lseek};

use crate::error::{Error, Kind, Result};

/// How much is copied at once.
const CHUNK: usize = 1 << 20;
/// Zeros of this size and alignment are left out of a copy.
const GRAIN: usize = 1 << 16;
/// statfs(2) types whose clients cache writes that another machine does not see: NFS, CIFS, SMB2, CephFS, FUSE.
const NETWORK: [i64; 5] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x6573_5546];

/// Syncs a directory, so that names made or removed in it last.
///
/// # Errors
/// Where it cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io(format!("sync the directory {}", path.display()), error))
}

/// Writes a file and syncs it. What was there is overwritten in place: for names that nobody reads yet.
///
/// # Errors
/// Where that fails; the file may then hold a part.
pub fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| Error::io(format!("write {}", path.display()), error))
}

/// The name under which [`replace`] writes before it renames.
#[must_use]
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Replaces a small file in one step, durably. The caller holds a lock for it.
///
/// # Errors
/// Where that fails; the old content is then still there, and no temporary file.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = write_synced(&temporary, content).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        remove(&temporary)?;
    }
    written?;
    sync_directory(parent(path))
}

/// Renames.
///
/// # Errors
/// The kernel's refusal.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .map_err(|error| Error::io(format!("rename {} to {}", from.display(), to.display()), error))
}

/// Removes a file and tells whether it was there. Not yet durable.
///
/// # Errors
/// The kernel's refusal.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("remove {}", path.display()), error)),
    }
}

/// Removes a file durably. Missing is `Ok`.
///
/// # Errors
/// The kernel's refusal.
pub fn remove_synced(path: &Path) -> Result<()> {
    if remove(path)? { sync_directory(parent(path)) } else { Ok(()) }
}

/// Reads a small file whole; `None` where it is missing.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("read {}", path.display()), error)),
    }
}

/// Length and allocated bytes of a file; `None` where it is missing.
///
/// # Errors
/// Where even that cannot be told.
pub fn extent(path: &Path) -> Result<Option<(u64, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_file() => Ok(Some((data.len(), data.blocks() * 512))),
        Ok(_) => {
            Err(Error::unknown(Kind::FailedPrecondition, format!("{} is no regular file", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("look at {}", path.display()), error)),
    }
}

/// The names in a directory, in no order; empty where it is missing. Names that are not UTF-8 are none of ours.
///
/// # Errors
/// Where it cannot be read.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("list {}", directory.display()), error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Makes one directory; there already is `Ok`.
///
/// # Errors
/// Where it cannot be made, or something else is there.
pub fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_directory(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::io(format!("make the directory {}", path.display()), error)),
    }
}

/// Bytes that can still be written below a path (statvfs(3), for unprivileged users).
///
/// # Errors
/// The kernel's refusal.
pub fn available(path: &Path) -> Result<u64> {
    let stat =
        statvfs(path).map_err(|errno| Error::io(format!("statvfs {}", path.display()), errno.into()))?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Whether other machines may hold writes back that this one does not see.
///
/// # Errors
/// The kernel's refusal.
pub fn is_network(path: &Path) -> Result<bool> {
    let stat = statfs(path).map_err(|errno| Error::io(format!("statfs {}", path.display()), errno.into()))?;
    Ok(NETWORK.contains(&stat.filesystem_type().0))
}

/// Random hexadecimal digits, two for each byte.
///
/// # Errors
/// Where the kernel gives none.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .map_err(|error| Error::io("read /dev/urandom", error))?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The call of linux/fs.h.
mod call {
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

/// Makes `target` share all blocks of `source` in one step (ioctl_ficlone(2)); `false` where the file system cannot.
///
/// # Errors
/// Any other refusal of the kernel.
pub fn reflink(source: &File, target: &File) -> Result<bool> {
    let argument = u64::try_from(source.as_raw_fd())
        .map_err(|_| Error::internal("a negative file descriptor cannot be cloned from"))?;
    // SAFETY: both descriptors are open for the whole call; FICLONE takes the source's as a plain number.
    match unsafe { call::ficlone(target.as_raw_fd(), argument) } {
        Ok(_) => Ok(true),
        Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::ENOTTY | Errno::ENOSYS | Errno::EINVAL) => Ok(false),
        Err(errno) => Err(Error::io("share blocks by FICLONE", errno.into())),
    }
}

/// Copies the data of `source` into the empty or all-zero `target`, keeping holes and leaving out long runs of zeros.
/// `progress` is told the offset after each piece. Neither length nor durability of `target` is settled.
///
/// # Errors
/// Where reading or writing fails; the copy is then a part.
pub fn copy_sparse(source: &File, target: &File, mut progress: impl FnMut(u64)) -> Result<()> {
    let reading = |error| Error::io("read the image to copy", error);
    let length = source.metadata().map_err(reading)?.len();
    let mut buffer = vec![0; CHUNK];
    let mut end = 0;
    while let Some(start) = seek(source, end, Whence::SeekData)? {
        end = seek(source, start, Whence::SeekHole)?.unwrap_or(length);
        let mut at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            source.read_exact_at(piece, at).map_err(reading)?;
            let mut offset = at;
            for grain in piece.chunks(GRAIN) {
                if grain.iter().any(|byte| *byte != 0) {
                    target.write_all_at(grain, offset).map_err(|error| Error::io("write the copy", error))?;
                }
                offset += grain.len() as u64;
            }
            at = offset;
            progress(at);
        }
    }
    Ok(())
}

/// The next data or hole at or after `from`; `None` past the last.
fn seek(file: &File, from: u64, whence: Whence) -> Result<Option<u64>> {
    let start = i64::try_from(from).map_err(|_| Error::internal("an offset is over 2^63"))?;
    match lseek(file, start, whence) {
        Ok(found) => Ok(Some(found.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(Error::io("find holes by lseek", errno.into())),
    }
}

/// The directory of a path; paths here always have one.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_content_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let source =
            File::options().read(true).write(true).create_new(true).open(directory.path().join("a")).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(&[7; 3000], 5 << 20).unwrap();
        source.write_all_at(&[0; 1 << 20], 20 << 20).unwrap();
        source.write_all_at(b"end", (64 << 20) - 3).unwrap();
        let path = directory.path().join("b");
        let target = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        target.set_len(64 << 20).unwrap();
        let mut told = 0;
        copy_sparse(&source, &target, |at| told = at).unwrap();
        target.sync_all().unwrap();
        assert_eq!(told, 64 << 20);
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), fs::read(&path).unwrap());
        let (length, allocated) = extent(&path).unwrap().unwrap();
        assert_eq!(length, 64 << 20);
        assert!(allocated <= 256 << 10, "written zeros and holes stay out of the copy: {allocated}");
    }

    #[test]
    fn a_replacement_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(names(directory.path()).unwrap(), ["x.json"]);
        let missing = directory.path().join("none/x.json");
        assert!(replace(&missing, b"").is_err());
        assert_eq!(read(&missing).unwrap(), None);
    }
}
