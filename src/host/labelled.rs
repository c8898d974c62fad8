//! A file on a small disk with a label, read without mounting the disk anywhere: the mount belongs to one descriptor alone
//! (fsopen(2), fsmount(2); Linux 5.2), so nobody sees it and it goes with the process.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;

use super::device::{self, Open};
use crate::backend::Device;
use crate::error::{Error, Result};

/// The largest file that is read, in bytes.
const MAX: u64 = 256 << 10;
/// fsconfig(2) and mount attributes (linux/mount.h).
const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const CREATE: u32 = 6;
const CLOEXEC: u32 = 1;
const READ_ONLY_NO_SUID_NO_DEV_NO_EXEC: u32 = 0b1111;

/// A kind of file system that bears its label where it can be read without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Iso9660,
    Vfat,
}

impl Kind {
    const fn name(self) -> &'static CStr {
        match self {
            Self::Iso9660 => c"iso9660",
            Self::Vfat => c"vfat",
        }
    }
}

/// The file's content; `None` where the disk does not bear the label. Blocks the thread.
///
/// # Errors
/// Where the disk cannot be read, its file system cannot be mounted, or the file is not there.
pub(super) fn read(device: &Device, label: &str, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = device::open(device, Open::Shared)?;
    if device.size.get() < 64 << 10 {
        return Ok(None);
    }
    let head = device::read(&file, &device.path, 0, 40 << 10)?;
    let Some(kind) = labelled(&head, label) else { return Ok(None) };
    drop(file);
    let failed =
        |what: &str, errno: Errno| Error::io(format!("{what} {}", device.path.display()), errno.into());
    let mount = mount(device, kind).map_err(|errno| failed("mount", errno))?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file =
        openat2(&mount, path, how).map_err(|errno| failed(&format!("open {} on", path.display()), errno))?;
    let mut content = Vec::new();
    File::from(file)
        .take(MAX)
        .read_to_end(&mut content)
        .map_err(|error| Error::io(format!("read {} on {}", path.display(), device.path.display()), error))?;
    Ok(Some(content))
}

/// The kind of file system with this label that begins so. FAT knows no lower case.
fn labelled(head: &[u8], label: &str) -> Option<Kind> {
    let bears = |from: usize, length: usize| {
        let found = head.get(from..from + length).unwrap_or_default();
        String::from_utf8_lossy(found).trim_end_matches([' ', '\0']).eq_ignore_ascii_case(label)
    };
    let is = |from: usize, mark: &[u8]| head.get(from..from + mark.len()) == Some(mark);
    // ECMA-119 8.4: the primary volume descriptor.
    if is(32769, b"CD001") && bears(32768 + 40, 32) {
        return Some(Kind::Iso9660);
    }
    // The boot sector's copy of the label, at FAT12 and FAT16, and at FAT32.
    let fat = is(54, b"FAT1") && bears(43, 11) || is(82, b"FAT32") && bears(71, 11);
    fat.then_some(Kind::Vfat)
}

/// A mount of the device that is attached nowhere.
fn mount(device: &Device, kind: Kind) -> Result<OwnedFd, Errno> {
    let source = CString::new(device.path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the name is a C string; the call returns a new descriptor or -1.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.name().as_ptr(), CLOEXEC) })?;
    let set = |command: u32, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: the descriptor is open; key and value are C strings or null, as the command wants them.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0)
        })
    };
    set(SET_STRING, c"source".as_ptr(), source.as_ptr())?;
    set(SET_FLAG, c"ro".as_ptr(), std::ptr::null())?;
    set(CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: the descriptor is open; the call returns a new descriptor or -1.
    descriptor(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, READ_ONLY_NO_SUID_NO_DEV_NO_EXEC)
    })
}

fn descriptor(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = i32::try_from(Errno::result(returned)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 40 << 10];
        for (at, bytes) in parts {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn labels_are_read_where_they_are() {
        let iso = head(&[(32769, b"CD001"), (32808, b"config-2                        ")]);
        let fat16 = head(&[(43, b"CONFIG-2   "), (54, b"FAT16   ")]);
        let fat32 = head(&[(71, b"config-2   "), (82, b"FAT32   ")]);
        assert_eq!(labelled(&iso, "config-2"), Some(Kind::Iso9660));
        assert_eq!(labelled(&fat16, "config-2"), Some(Kind::Vfat));
        assert_eq!(labelled(&fat32, "config-2"), Some(Kind::Vfat));
        for other in [
            head(&[]),
            head(&[(32769, b"CD001"), (32808, b"config-22")]),
            head(&[(43, b"CONFIG-2   ")]),
            vec![],
        ] {
            assert_eq!(labelled(&other, "config-2"), None);
        }
    }
}
