//! A bind mount that appears with its flags in one step (open_tree(2), mount_setattr(2), move_mount(2); Linux 5.12).
//!
//! The classic way binds first and gives the flags after: a process that ends between the two leaves a writable bind
//! where a read-only one was ordered, and nobody can tell it from one that was meant.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// What a mount's attributes become, in the bits of mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
}

const NOTHING: &CStr = c"";

/// Mounts what `from` is onto what `onto` is. Nothing is mounted where it fails; `ENOSYS` where the kernel is too old.
pub(super) fn bind(from: impl AsFd, onto: impl AsFd, attributes: Attributes) -> Result<(), Errno> {
    let empty_path = libc::AT_EMPTY_PATH.cast_unsigned();
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | empty_path;
    // SAFETY: the descriptor is open and the path is a C string; the call returns a new descriptor or -1.
    let tree = Errno::result(unsafe {
        libc::syscall(libc::SYS_open_tree, from.as_fd().as_raw_fd(), NOTHING.as_ptr(), flags)
    })?;
    let tree = i32::try_from(tree).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just given this descriptor to us alone. Closing it drops a tree that was not moved.
    let tree = unsafe { OwnedFd::from_raw_fd(tree) };
    let attributes = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open, the path is a C string, and `attributes` is a whole `struct mount_attr`.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            NOTHING.as_ptr(),
            empty_path,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both descriptors are open and both paths are C strings.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            NOTHING.as_ptr(),
            onto.as_fd().as_raw_fd(),
            NOTHING.as_ptr(),
            flags,
        )
    })?;
    Ok(())
}
