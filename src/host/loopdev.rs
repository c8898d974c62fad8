//! Loop devices, found by what they are (loop(4)). All calls block the thread.
//!
//! A device that this driver sets up bears a tag in place of the file name that the kernel keeps for its owner; the
//! tag and the backing file's device and inode together say what it is. Foreign devices are only looked at.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::error::{Error, Kind, Result};
use crate::host::device::{set_open_readonly, size};
use crate::host::files;

/// The longest tag, in bytes: the kernel's field less its end.
pub const MAX_TAG: usize = 63;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;
/// The same on every server whatever lies below, because a file system depends on it.
const BLOCK_SIZE: u32 = 512;
/// How often another user of loop devices may win the race for the free one.
const TRIES: u32 = 200;
const POLL: Duration = Duration::from_millis(5);

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const NO_INFO: Info = Info {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// The calls of linux/loop.h.
mod call {
    use super::{Config, Info};

    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4C82);
    nix::ioctl_none_bad!(loop_clr_fd, 0x4C01);
    nix::ioctl_none_bad!(loop_set_capacity, 0x4C07);
    nix::ioctl_read_bad!(loop_get_status64, 0x4C05, Info);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4C0A, Config);
}

/// A loop device that was bound when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// Its node in `/dev`.
    pub path: PathBuf,
    /// Its device number.
    pub number: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Who set it up for what; see [`attach`].
    pub tag: String,
    /// Device number and inode of the backing file.
    pub backing: (u64, u64),
    /// Whether the kernel refuses writes to it.
    pub readonly: bool,
    /// Whether it vanishes as soon as nobody has it open any more.
    pub leaving: bool,
    /// Whether it bypasses the page cache of the backing file.
    pub direct_io: bool,
}

/// Device number and inode of a file, to compare with [`LoopDevice::backing`]; `None` where it is missing.
///
/// # Errors
/// Where even that cannot be told.
pub fn identity(path: &Path) -> Result<Option<(u64, u64)>> {
    match std::fs::metadata(path) {
        Ok(data) => Ok(Some((data.dev(), data.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("look at {}", path.display()), error)),
    }
}

/// Puts an image behind a free loop device, with direct I/O where its file system allows. `tag` has at most
/// [`MAX_TAG`] bytes.
///
/// # Errors
/// The kernel's refusal; no device is then bound.
pub fn attach(image: &Path, readonly: bool, tag: &str) -> Result<LoopDevice> {
    let backing = OpenOptions::new()
        .read(true)
        .write(!readonly)
        .open(image)
        .map_err(|error| Error::io(format!("open the image {}", image.display()), error))?;
    let mut config = Config {
        fd: u32::try_from(backing.as_raw_fd()).map_err(|_| Error::internal("a negative file descriptor"))?,
        block_size: BLOCK_SIZE,
        info: NO_INFO,
        reserved: [0; 8],
    };
    config.info.flags = DIRECT_IO | if readonly { READ_ONLY } else { 0 };
    if tag.len() > MAX_TAG {
        return Err(Error::internal(format!("the tag {tag:?} is longer than {MAX_TAG} bytes")));
    }
    for (target, byte) in config.info.file_name.iter_mut().zip(tag.bytes()) {
        *target = byte;
    }
    // One at a time, also among processes: whoever tries to bind a device that was just taken claims it exclusively for
    // a moment, and its owner's mkfs or mount then finds it in use.
    let control = control()?;
    let control = Flock::lock(control, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::io("lock /dev/loop-control", errno.into()))?;
    for _ in 0..TRIES {
        let path = free(&control)?;
        let device = match open(&path, true, 0) {
            Ok(device) => device,
            // Its owner took it away again between the two calls.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EBUSY)) => continue,
            Err(error) => return Err(Error::io(format!("open {}", path.display()), error)),
        };
        // SAFETY: the descriptor is open and `config` is a whole `struct loop_config` that outlives the call.
        match unsafe { call::loop_configure(device.as_raw_fd(), &raw const config) } {
            Ok(_) => {
                if !readonly {
                    // An earlier owner may have left the refusal, which outlives the binding.
                    set_open_readonly(&device, &path, false)?;
                }
                return look(&path)?.filter(|found| found.tag == tag).ok_or_else(|| {
                    Error::unknown(
                        Kind::Unavailable,
                        format!("{} was bound and is not any more", path.display()),
                    )
                });
            }
            Err(Errno::EBUSY) => std::thread::sleep(POLL),
            Err(Errno::EINVAL) if config.info.flags & DIRECT_IO != 0 => config.info.flags &= !DIRECT_IO,
            Err(errno) => {
                return Err(Error::io(
                    format!("bind {} to {}", path.display(), image.display()),
                    errno.into(),
                ));
            }
        }
    }
    Err(Error::busy(format!("{TRIES} times another user took the free loop device first: try again")))
}

fn no_free(error: io::Error) -> Error {
    Error::io("find a free loop device (is the module loop loaded?)", error)
}

fn control() -> Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/loop-control").map_err(no_free)
}

fn free(control: &File) -> Result<PathBuf> {
    // SAFETY: the descriptor is open; the call takes no argument.
    let number =
        unsafe { call::loop_ctl_get_free(control.as_raw_fd()) }.map_err(|errno| no_free(errno.into()))?;
    Ok(format!("/dev/loop{number}").into())
}

fn open(path: &Path, write: bool, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)
}

/// The devices that are bound to a file of this name (or to one that was deleted) and whose tag passes. Others are
/// not even opened, because a device that is open cannot be let go of by its owner.
///
/// # Errors
/// Where the kernel's list cannot be read.
pub fn find(file_name: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<LoopDevice>> {
    let mut found = Vec::new();
    for name in files::names(Path::new("/sys/block"))? {
        let numbered = name.strip_prefix("loop").is_some_and(|rest| rest.parse::<u32>().is_ok());
        let Some(backing) = numbered.then(|| backing_file(&name)).transpose()?.flatten() else { continue };
        let last = backing.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
        // An NFS client renames a file that is deleted while it is open to `.nfs…`.
        if last == file_name || last.starts_with(".nfs") {
            found.extend(look(&Path::new("/dev").join(&name))?.filter(|device| wanted(&device.tag)));
        }
    }
    Ok(found)
}

/// The path of the file behind a device as the kernel tells it; `None` where it is not bound.
fn backing_file(name: &str) -> Result<Option<String>> {
    let path = Path::new("/sys/block").join(name).join("loop/backing_file");
    match std::fs::read(&path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io(format!("read {}", path.display()), error)),
    }
}

/// What a device is; `None` where it is not bound.
fn look(path: &Path) -> Result<Option<LoopDevice>> {
    let failed = |error| Error::io(format!("look at {}", path.display()), error);
    let gone = |code: Option<i32>| matches!(code, Some(libc::ENXIO | libc::ENOENT | libc::ENODEV));
    let file = match open(path, false, 0) {
        Ok(file) => file,
        Err(error) if gone(error.raw_os_error()) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut info = NO_INFO;
    // SAFETY: the descriptor is open and `info` has room for a whole `struct loop_info64`.
    match unsafe { call::loop_get_status64(file.as_raw_fd(), &raw mut info) } {
        Ok(_) => {}
        Err(Errno::ENXIO) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    }
    let size = size(&file, path)?;
    let name = info.file_name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(LoopDevice {
        path: path.to_owned(),
        number: file.metadata().map_err(failed)?.rdev(),
        size,
        tag: String::from_utf8_lossy(name).into_owned(),
        backing: (info.device, info.inode),
        readonly: info.flags & READ_ONLY != 0,
        leaving: info.flags & AUTOCLEAR != 0,
        direct_io: info.flags & DIRECT_IO != 0,
    }))
}

/// Makes the device as large as its backing file and tells what it is then; `None` where it is not bound any more.
///
/// # Errors
/// The kernel's refusal.
pub fn resize(device: &LoopDevice) -> Result<Option<LoopDevice>> {
    let failed = |error| Error::io(format!("resize {}", device.path.display()), error);
    let file = open(&device.path, false, 0).map_err(failed)?;
    // SAFETY: the descriptor is open; the call takes no argument.
    unsafe { call::loop_set_capacity(file.as_raw_fd()) }.map_err(|errno| failed(errno.into()))?;
    Ok(look(&device.path)?.filter(|now| now.tag == device.tag))
}

/// Writes out what the device holds back, unbinds it and waits until it is unbound. Unbound already is `Ok`.
///
/// # Errors
/// [`Kind::Busy`] while something has it open. Where that is no exclusive user, it is unbound as soon as the last
/// one closes it; the next call tells.
pub fn detach(device: &LoopDevice, wait: Duration) -> Result<()> {
    let path = device.path.display();
    let name = device.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let in_use =
        || Error::busy(format!("{path} is in use: unmount it, or end what has it open, and try again"));
    let deadline = Instant::now() + wait;
    if !device.leaving {
        let file = loop {
            match open(&device.path, !device.readonly, libc::O_EXCL) {
                Ok(file) => break file,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => {
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    if Instant::now() >= deadline {
                        return Err(in_use());
                    }
                    std::thread::sleep(POLL);
                }
                Err(error) => return Err(Error::io(format!("open {path}"), error)),
            }
        };
        // The number may have a new owner since it was looked at.
        if look(&device.path)?.is_none_or(|now| now.tag != device.tag || now.backing != device.backing) {
            return Ok(());
        }
        file.sync_all().map_err(|error| Error::io(format!("write out {path}"), error))?;
        // The number's next owner would get a device that refuses writes.
        set_open_readonly(&file, &device.path, false)?;
        // SAFETY: the descriptor is open; the call takes no argument.
        match unsafe { call::loop_clr_fd(file.as_raw_fd()) } {
            Ok(_) | Err(Errno::ENXIO) => {}
            Err(Errno::EBUSY) => return Err(in_use()),
            Err(errno) => return Err(Error::io(format!("unbind {path}"), errno.into())),
        }
    }
    // With the last close the kernel lets go; before that, nothing is done.
    loop {
        if backing_file(&name)?.is_none() {
            return Ok(());
        }
        if look(&device.path)?.is_none_or(|now| now.tag != device.tag || now.backing != device.backing) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(in_use());
        }
        std::thread::sleep(POLL);
    }
}
