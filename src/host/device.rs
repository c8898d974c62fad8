//! Block devices: opened by path, verified by number, read past the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::stat::{major, minor};

use super::{claim, exec};
use crate::backend::Device;
use crate::error::{Error, Kind, Result};
use crate::volume::Bytes;

/// The unit of aligned reads: a multiple of every logical sector size that Linux has for O_DIRECT.
pub(super) const BLOCK: usize = 4096;

mod ioctl {
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
    nix::ioctl_write_ptr_bad!(blkroset, nix::request_code_none!(0x12, 93), nix::libc::c_int);
    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), nix::libc::c_int);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
}

/// How long a claim waits for whoever has the device.
const PATIENCE: Duration = Duration::from_secs(2);

/// Claims a device: tries for a while as long as it is busy. Others claim a device for a moment without meaning it, such
/// as a program that looks for a free loop device and tries to bind one that was just taken.
pub(super) fn patiently<T>(claim: impl Fn() -> Result<T>) -> Result<T> {
    exec::settle();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match claim() {
            Err(error) if error.kind() == Kind::Busy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// How a device is opened; always for reading alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// Beside others; reads go past the page cache.
    Shared,
    /// Refused while a mount or another exclusive opener has it; reads go past the page cache.
    Exclusive,
}

/// Opens the device and proves that it is still the one that was found.
///
/// # Errors
/// `Busy` where another has it exclusively, `Unavailable` where it is gone, `FailedPrecondition` where the path now
/// leads to another device.
pub(super) fn open(device: &Device, how: Open) -> Result<File> {
    let shared = verified(device, libc::O_DIRECT)?;
    match how {
        Open::Shared => Ok(shared),
        Open::Exclusive => patiently(|| {
            // Asked before, so that the tool that claimed it never finds the device busy because of this look.
            claim::check_free(&shared, &device.path)?;
            verified(device, libc::O_DIRECT | libc::O_EXCL)
        }),
    }
}

/// Opens the device for a command that will write to it, and claims it until that command has ended.
///
/// # Errors
/// As [`open`]; `Busy` too where another command has claimed it.
pub(super) fn claim_free(device: &Device) -> Result<File> {
    // That nobody has it mounted is to be seen only before: the tools want it exclusively themselves.
    drop(open(device, Open::Exclusive)?);
    let (file, number) = open_path(&device.path, OpenOptions::new().write(true))?;
    same(device, number)?;
    claim::take(&file, &device.path)?;
    Ok(file)
}

fn verified(device: &Device, flags: i32) -> Result<File> {
    let (file, number) = open_path(&device.path, OpenOptions::new().read(true).custom_flags(flags))?;
    same(device, number)?;
    Ok(file)
}

fn same(device: &Device, number: u64) -> Result<()> {
    if number != device.number {
        return Err(Error::unknown(
            Kind::FailedPrecondition,
            format!(
                "{} now leads to device {}, but the volume was found on {}: another device took its name",
                device.path.display(),
                numbers(number),
                numbers(device.number)
            ),
        ));
    }
    Ok(())
}

/// Opens the device for itself alone, and proves that it also still has its size.
pub(super) fn open_whole(device: &Device) -> Result<File> {
    let file = open(device, Open::Exclusive)?;
    let size = size(&file, &device.path)?;
    if size == device.size.get() {
        return Ok(file);
    }
    Err(Error::unknown(
        Kind::FailedPrecondition,
        format!("{} has {size} bytes, but {} were expected", device.path.display(), device.size.get()),
    ))
}

/// The number and size behind a device node.
pub(super) fn describe(path: &Path) -> Result<Device> {
    let (file, number) = open_path(path, OpenOptions::new().read(true))?;
    Ok(Device { path: path.to_owned(), number, size: Bytes::new(size(&file, path)?) })
}

fn open_path(path: &Path, options: &mut OpenOptions) -> Result<(File, u64)> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::EBUSY) => Error::busy(format!(
            "another has {} exclusively: a mount, or the mkfs or fsck of an earlier try",
            path.display()
        )),
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM) => {
            Error::unknown(Kind::Unavailable, format!("the device {} is gone", path.display()))
                .caused_by(error)
        }
        _ => Error::io(format!("open the device {}", path.display()), error),
    };
    // O_EXCL without O_CREAT would be undefined for anything but a block device, and opening a FIFO would wait.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_block_device() {
        return Err(Error::precondition(format!("{} is no block device", path.display())));
    }
    let file = options.open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.file_type().is_block_device() {
        return Err(Error::precondition(format!("{} is no block device", path.display())));
    }
    Ok((file, found.rdev()))
}

/// The size in bytes (BLKGETSIZE64).
pub(super) fn size(file: &File, path: &Path) -> Result<u64> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open and the kernel writes one u64 to `bytes`, which lives.
    unsafe { ioctl::blkgetsize64(file.as_raw_fd(), &raw mut bytes) }
        .map_err(|error| Error::io(format!("ask the size of {}", path.display()), error.into()))?;
    Ok(bytes)
}

/// Whether the kernel refuses writes (BLKROGET).
pub(super) fn is_readonly(device: &Device) -> Result<bool> {
    let file = open(device, Open::Shared)?;
    let mut flag = 0;
    // SAFETY: the descriptor is open and the kernel writes one int to `flag`, which lives.
    unsafe { ioctl::blkroget(file.as_raw_fd(), &raw mut flag) }.map_err(|error| {
        Error::io(format!("ask whether {} is read-only", device.path.display()), error.into())
    })?;
    Ok(flag != 0)
}

/// Makes the kernel refuse writes, or allow them again (BLKROSET).
pub(super) fn set_readonly(device: &Device, readonly: bool) -> Result<()> {
    set_open_readonly(&open(device, Open::Shared)?, &device.path, readonly)
}

/// The same for a device that is open.
pub(super) fn set_open_readonly(file: &File, path: &Path, readonly: bool) -> Result<()> {
    let flag = i32::from(readonly);
    // SAFETY: the descriptor is open and the kernel reads one int from `flag`, which lives.
    unsafe { ioctl::blkroset(file.as_raw_fd(), &raw const flag) }.map_err(|error| {
        let mode = if readonly { "read-only" } else { "writable" };
        Error::io(format!("make {} {mode}", path.display()), error.into())
    })?;
    Ok(())
}

/// Shows that the device answers reads where blkid will look, its head and its tail: blkid itself says of a device that
/// it cannot read only that it found nothing.
pub(super) fn answers(file: &File, path: &Path) -> Result<()> {
    const LOOK: u64 = 1 << 20;
    let size = size(file, path)?;
    let tail = size.saturating_sub(LOOK) / BLOCK as u64 * BLOCK as u64;
    for offset in [0, tail] {
        let length = usize::try_from((size - offset).min(LOOK + BLOCK as u64)).unwrap_or(BLOCK);
        read(file, path, offset, length)?;
    }
    Ok(())
}

/// Drops what the page cache holds of the device (BLKFLSBUF), so that tools which read through it see the disk itself.
pub(super) fn drop_cache(file: &File, path: &Path) -> Result<()> {
    // SAFETY: the descriptor is open; the call takes no argument.
    unsafe { ioctl::blkflsbuf(file.as_raw_fd()) }
        .map_err(|error| Error::io(format!("drop the cache of {}", path.display()), error.into()))?;
    Ok(())
}

/// `major:minor` of a device number.
pub(super) fn numbers(number: u64) -> String {
    format!("{}:{}", major(number), minor(number))
}

/// A buffer whose address O_DIRECT accepts.
#[derive(Debug)]
pub(super) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// A buffer of so many bytes.
    pub(super) fn new(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start, length }
    }

    /// Fills the first `length` bytes from the device; `offset` and `length` must be multiples of its sector size.
    pub(super) fn read(&mut self, file: &File, offset: u64, length: usize) -> io::Result<&[u8]> {
        let length = length.min(self.length);
        let part = self.bytes.get_mut(self.start..self.start + length).unwrap_or_default();
        file.read_exact_at(part, offset)?;
        Ok(part)
    }
}

/// Reads `length` bytes at an aligned offset; an error names path and offset.
pub(super) fn read(file: &File, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut buffer = Aligned::new(length);
    let bytes = buffer.read(file, offset, length).map_err(|error| read_error(path, offset, error))?;
    Ok(bytes.to_vec())
}

/// The error of a read that failed: never to be taken for blankness.
pub(super) fn read_error(path: &Path, offset: u64, error: io::Error) -> Error {
    Error::internal(format!("cannot read {} at offset {offset}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned() {
        for length in [512, BLOCK, 3 * BLOCK] {
            let buffer = Aligned::new(length);
            let part = buffer.bytes.get(buffer.start..buffer.start + length).unwrap();
            assert_eq!((part.as_ptr() as usize % BLOCK, part.len()), (0, length));
        }
    }

    #[test]
    fn what_is_no_block_device_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(describe(file.path()).unwrap_err().kind(), Kind::FailedPrecondition);
        assert_eq!(describe(Path::new("/dev/null")).unwrap_err().kind(), Kind::FailedPrecondition);
        assert_eq!(describe(Path::new("/dev/no-such")).unwrap_err().kind(), Kind::Unavailable);
    }
}
