//! Mounting, binding and unmounting, on the very directory or file that was looked at.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount as sys_mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::mount_options::MountOptions;
use super::{Mount, device, mount_tree, mountinfo};
use crate::error::{Error, Kind, Result};
use crate::volume::FsType;

/// How many mounts one unmount takes from a target; more than that is a runaway, not a retry's leftovers.
const STACKED: usize = 64;

/// A path that was opened without following a link in its last part, so that what is mounted is what was looked at.
struct Anchor(OwnedFd);

impl Anchor {
    fn open(path: &Path) -> Result<Self> {
        let fd = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io(format!("open {}", path.display()), errno.into()))?;
        let stat =
            fstat(&fd).map_err(|errno| Error::io(format!("look at {}", path.display()), errno.into()))?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK {
            return Err(Error::precondition(format!("{} is a symbolic link: not followed", path.display())));
        }
        Ok(Self(fd))
    }

    /// A path that leads the kernel to the opened object itself.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Mounts a device's file system.
pub(super) fn mount(device: &Path, target: &Path, fs: FsType, options: &[String]) -> Result<()> {
    let options = MountOptions::parse(options);
    let anchor = Anchor::open(target)?;
    let (onto, data) = (anchor.path(), options.data.as_str());
    device::patiently(|| {
        sys_mount(Some(device), &onto, Some(fs.as_str()), options.flags, Some(data)).map_err(|errno| {
            refusal(errno, format!("mount {} ({fs}) on {}", device.display(), target.display()))
        })
    })
}

/// Binds `source` onto `target` and gives the bind its own flags, or leaves nothing behind.
pub(super) fn bind(source: &Path, target: &Path, readonly: bool, options: &[String]) -> Result<()> {
    let (from, onto) = (Anchor::open(source)?, Anchor::open(target)?);
    let options = MountOptions::parse(options);
    let refused = |errno| refusal(errno, format!("bind {} onto {}", source.display(), target.display()));
    let ready = match options.for_new_bind(readonly) {
        Some(attributes) => match mount_tree::bind(&from.0, &onto.0, attributes) {
            Ok(()) => true,
            // An old kernel, or a sandbox that does not know the calls.
            Err(Errno::ENOSYS | Errno::EPERM) => false,
            Err(errno) => return Err(refused(errno)),
        },
        None => false,
    };
    if !ready {
        let none = None::<&str>;
        sys_mount(Some(&from.path()), &onto.path(), none, MsFlags::MS_BIND, none).map_err(refused)?;
    }
    give_flags(target, readonly, &options).map_err(|error| match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => error,
        Err(errno) => Error::internal(format!(
            "the bind on {} could neither get its flags nor be undone ({error})",
            target.display()
        ))
        .caused_by(errno),
    })
}

fn give_flags(target: &Path, readonly: bool, options: &MountOptions) -> Result<()> {
    let Some(flags) = options.for_bind(readonly, &top(target)?.options) else { return Ok(()) };
    // Opened anew: it must be the bind's root, not what lies under it.
    let anchor = Anchor::open(target)?;
    let none = None::<&str>;
    sys_mount(none, &anchor.path(), none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, none)
        .map_err(|errno| refusal(errno, format!("give the bind on {} its flags", target.display())))?;
    // A workload that could write where it must not is worse than one that does not start: look, do not believe.
    if readonly && !top(target)?.options.iter().any(|option| option == "ro") {
        return Err(Error::internal(format!("the bind on {} did not become read-only", target.display())));
    }
    Ok(())
}

/// The mount on top at a target.
pub(super) fn top(target: &Path) -> Result<Mount> {
    let missing = || Error::precondition(format!("nothing is mounted on {}", target.display()));
    let path = mountinfo::canonical(target)?.ok_or_else(missing)?;
    mountinfo::at(&mountinfo::read()?, &path).pop().ok_or_else(missing)
}

/// Unmounts everything at a target, the top first. A dead file system that is in use is detached lazily, because its
/// users can never let go of it; a live one never is.
pub(super) fn unmount(target: &Path) -> Result<()> {
    let Some(path) = mountinfo::canonical(target)? else { return Ok(()) };
    for _ in 0..STACKED {
        if mountinfo::at(&mountinfo::read()?, &path).is_empty() {
            return Ok(());
        }
        // A command that any thread of this process starts holds, between fork and exec, what this process holds open.
        device::patiently(|| match umount2(&path, MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL and ENOENT: it went away since the table was read. The next look at the table tells.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
            Err(errno) if is_dead(&path) => {
                tracing::warn!(target = %path.display(), %errno, "a dead file system is detached lazily");
                umount2(&path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
                    .map_err(|errno| refusal(errno, format!("detach {}", path.display())))
            }
            Err(errno) => Err(refusal(errno, format!("unmount {}", path.display()))),
        })?;
    }
    if mountinfo::at(&mountinfo::read()?, &path).is_empty() {
        return Ok(());
    }
    Err(Error::busy(format!("{} is still a mount point after {STACKED} unmounts", path.display())))
}

/// Whether the file system at a path answers nothing but that it is dead.
fn is_dead(path: &Path) -> bool {
    let look = || -> io::Result<()> {
        if std::fs::symlink_metadata(path)?.is_dir() {
            std::fs::read_dir(path)?.next().transpose()?;
        }
        Ok(())
    };
    look().is_err_and(|error| means_dead(&error))
}

/// Whether an error means that the file system can never answer again.
pub(super) fn means_dead(error: &io::Error) -> bool {
    let dead = [Errno::ENOTCONN, Errno::EIO, Errno::ESTALE, Errno::ESHUTDOWN, Errno::ENXIO, Errno::ENODEV];
    error.raw_os_error().is_some_and(|code| dead.contains(&Errno::from_raw(code)))
}

/// The kernel's refusal. `what` holds no options.
fn refusal(errno: Errno, what: String) -> Error {
    match errno {
        Errno::EBUSY => Error::busy(format!("cannot {what}: it is in use")).caused_by(errno),
        Errno::EINVAL => Error::unknown(
            Kind::FailedPrecondition,
            format!("cannot {what}: the kernel refuses the options or the file system (dmesg says which)"),
        )
        .caused_by(errno),
        _ => Error::io(what, errno.into()),
    }
}
