//! Directories and small files, made and removed one by one, never through a link in the last part.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{PathKind, mount, mountinfo};
use crate::error::{Error, Kind, Result};
use crate::failpoint;

/// The largest file that [`read_small`] takes.
const SMALL: u64 = 64 << 10;

/// What there is at a path, without following a link in the last part.
pub(super) fn kind(path: &Path) -> Result<PathKind> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => {
            let kind = found.file_type();
            Ok(match () {
                () if kind.is_dir() => PathKind::Directory,
                () if kind.is_file() => PathKind::File,
                () if kind.is_symlink() => PathKind::Link,
                () if kind.is_block_device() => PathKind::BlockDevice(found.rdev()),
                () => PathKind::Other,
            })
        }
        Err(error) if is_missing(&error) => Ok(PathKind::Missing),
        Err(error) if mount::means_dead(&error) => Ok(PathKind::Dead),
        Err(error) => Err(Error::io(format!("look at {}", path.display()), error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path's directory, opened, and its last part.
struct Entry<'a> {
    path: &'a Path,
    directory: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Entry<'a> {
    /// `None` where the directory is missing.
    fn find(path: &'a Path) -> Result<Option<Self>> {
        let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), path.is_absolute()) else {
            return Err(Error::invalid(format!("{:?} is no absolute path of an entry", path.display())));
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match nix::fcntl::open(parent, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { path, directory, name })),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(Error::io(format!("open {}", parent.display()), errno.into())),
        }
    }

    /// The same where the directory must be there.
    fn within(path: &'a Path) -> Result<Self> {
        Self::find(path)?.ok_or_else(|| {
            Error::unknown(
                Kind::FailedPrecondition,
                format!("the directory of {} is missing", path.display()),
            )
        })
    }

    fn stat(&self) -> Result<Option<FileStat>> {
        match fstatat(&self.directory, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("look at", errno)),
        }
    }

    /// Where its new content waits.
    fn new_name(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(self.name);
        name.push(".new");
        name
    }

    fn sync_directory(&self) -> Result<()> {
        nix::unistd::fsync(&self.directory).map_err(|errno| self.error("sync the directory of", errno))
    }

    fn error(&self, doing: &str, errno: Errno) -> Error {
        Error::io(format!("{doing} {}", self.path.display()), errno.into())
    }

    fn other(&self, wanted: &str) -> Error {
        Error::refused(Kind::AlreadyExists, format!("{} exists and is not {wanted}", self.path.display()))
    }
}

fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// Makes one directory.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    let entry = Entry::within(path)?;
    match mkdirat(&entry.directory, entry.name, Mode::from_bits_truncate(0o750)) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => match entry.stat()? {
            Some(stat) if is(&stat, SFlag::S_IFDIR) => Ok(()),
            _ => Err(entry.other("a directory")),
        },
        Err(errno) => Err(entry.error("make the directory", errno)),
    }
}

/// Makes an empty file.
pub(super) fn make_file(path: &Path) -> Result<()> {
    let entry = Entry::within(path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(&entry.directory, entry.name, flags, Mode::from_bits_truncate(0o640)) {
        Ok(_file) => Ok(()),
        Err(Errno::EEXIST) => match entry.stat()? {
            Some(stat) if is(&stat, SFlag::S_IFREG) && stat.st_size == 0 => Ok(()),
            _ => Err(entry.other("an empty file")),
        },
        Err(errno) => Err(entry.error("make the file", errno)),
    }
}

/// Removes an empty directory or an empty file.
pub(super) fn remove_empty(path: &Path) -> Result<()> {
    let Some(entry) = Entry::find(path)? else { return Ok(()) };
    let Some(stat) = entry.stat()? else { return Ok(()) };
    // rmdir(2) refuses a mount point by itself, but only one of this process's own mount namespace is in question here.
    if let Some(canonical) = mountinfo::canonical(path)?
        && !mountinfo::at(&mountinfo::read()?, &canonical).is_empty()
    {
        return Err(Error::busy(format!("{} is a mount point: not removed", path.display())));
    }
    let how = match () {
        () if is(&stat, SFlag::S_IFDIR) => UnlinkatFlags::RemoveDir,
        () if is(&stat, SFlag::S_IFREG) && stat.st_size == 0 => UnlinkatFlags::NoRemoveDir,
        () if is(&stat, SFlag::S_IFREG) => return Err(not_empty(path)),
        () => {
            return Err(Error::precondition(format!(
                "{} is neither a directory nor a regular file: not removed",
                path.display()
            )));
        }
    };
    match unlinkat(&entry.directory, entry.name, how) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Err(not_empty(path)),
        Err(Errno::EBUSY) => Err(Error::busy(format!("{} is in use: not removed", path.display()))),
        Err(errno) => Err(entry.error("remove", errno)),
    }
}

fn not_empty(path: &Path) -> Error {
    Error::precondition(format!("{} is not empty: not removed, look what is in it", path.display()))
}

/// Replaces a small file in one step, durably. The new content waits under one fixed name (`.<name>.new`), so that what a
/// crash leaves behind is overwritten by the next try.
pub(super) fn write_durable(path: &Path, content: &str) -> Result<()> {
    let entry = Entry::within(path)?;
    let name = entry.new_name();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&entry.directory, name.as_os_str(), flags, Mode::from_bits_truncate(0o600))
        .map_err(|errno| entry.error("write beside", errno))?;
    let mut file = File::from(file);
    failpoint::step("stage.intent-begun");
    let written = file
        .write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat(&entry.directory, name.as_os_str(), &entry.directory, entry.name)?));
    if let Err(error) = written {
        // A full disk must not stay fuller than it was.
        if let Err(errno) = unlinkat(&entry.directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            tracing::warn!(path = %path.display(), %errno, "cannot remove a half-written file");
        }
        return Err(Error::io(format!("write {}", path.display()), error));
    }
    entry.sync_directory()
}

/// Reads a small file.
pub(super) fn read_small(path: &Path) -> Result<Option<String>> {
    let Some(entry) = Entry::find(path)? else { return Ok(None) };
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(&entry.directory, entry.name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(entry.error("open", errno)),
    };
    let failed = |error| Error::io(format!("read {}", path.display()), error);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::precondition(format!("{} is no regular file", path.display())));
    }
    let mut text = String::new();
    file.take(SMALL + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SMALL {
        return Err(Error::precondition(format!("{} has more than {SMALL} bytes", path.display())));
    }
    Ok(Some(text))
}

/// Removes a file durably.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    let Some(entry) = Entry::find(path)? else { return Ok(()) };
    match unlinkat(&entry.directory, entry.name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => entry.sync_directory(),
        Err(errno) => Err(entry.error("remove", errno)),
    }
}

/// Removes what a [`write_durable`] that was killed has left beside the path. Not durably: it tells nobody anything.
pub(super) fn remove_half_written(path: &Path) -> Result<()> {
    let Some(entry) = Entry::find(path)? else { return Ok(()) };
    match unlinkat(&entry.directory, entry.new_name().as_os_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(entry.error("remove what was half-written beside", errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_and_files_are_made_and_removed_twice() {
        let place = tempfile::tempdir().unwrap();
        let (directory, file) = (place.path().join("d"), place.path().join("f"));
        for _ in 0..2 {
            make_directory(&directory).unwrap();
            make_file(&file).unwrap();
        }
        assert_eq!((kind(&directory).unwrap(), kind(&file).unwrap()), (PathKind::Directory, PathKind::File));
        for (path, mode) in [(&directory, 0o750), (&file, 0o640)] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o137, mode & 0o137, "{mode:o}");
        }
        assert_eq!(make_file(&directory).unwrap_err().kind(), Kind::AlreadyExists);
        assert_eq!(make_directory(&file).unwrap_err().kind(), Kind::AlreadyExists);
        for _ in 0..2 {
            remove_empty(&directory).unwrap();
            remove_empty(&file).unwrap();
        }
        assert_eq!(kind(&directory).unwrap(), PathKind::Missing);
        assert_eq!(make_directory(&place.path().join("no/d")).unwrap_err().kind(), Kind::FailedPrecondition);
        assert_eq!(make_file(Path::new("relative")).unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn no_link_is_followed_and_nothing_full_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        symlink(at("elsewhere"), at("link")).unwrap();
        assert_eq!(kind(&at("link")).unwrap(), PathKind::Link);
        for result in [
            make_directory(&at("link")),
            make_file(&at("link")),
            remove_empty(&at("link")),
            read_small(&at("link")).map(drop),
        ] {
            result.unwrap_err();
        }
        assert_eq!(kind(&at("elsewhere")).unwrap(), PathKind::Missing);
        std::fs::create_dir(at("full")).unwrap();
        std::fs::write(at("full/x"), "data").unwrap();
        for path in ["full", "full/x"] {
            assert_eq!(remove_empty(&at(path)).unwrap_err().kind(), Kind::FailedPrecondition);
        }
        assert_eq!(std::fs::read_to_string(at("full/x")).unwrap(), "data");
    }

    #[test]
    fn small_files_are_replaced_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("record");
        assert_eq!(read_small(&path).unwrap(), None);
        std::fs::write(place.path().join(".record.new"), "what a crash left").unwrap();
        for _ in 0..2 {
            remove_half_written(&path).unwrap();
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
        std::fs::write(place.path().join(".record.new"), "what a crash left, and longer").unwrap();
        for content in ["one", "", "three"] {
            write_durable(&path, content).unwrap();
            assert_eq!(read_small(&path).unwrap().as_deref(), Some(content));
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        std::fs::create_dir(place.path().join("taken")).unwrap();
        write_durable(&place.path().join("taken"), "x").unwrap_err();
        assert_eq!(
            std::fs::read_dir(place.path()).unwrap().count(),
            2,
            "a failed write left something behind"
        );
        std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
        read_small(&path).unwrap_err();
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
        assert_eq!(read_small(&path).unwrap(), None);
        assert_eq!(read_small(&place.path().join("no/x")).unwrap(), None);
    }
}
