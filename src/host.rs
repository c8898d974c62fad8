//! Everything Linux: devices, file systems, mounts and external commands, behind one trait.
//!
//! Blocking calls run on blocking threads; every external command has a deadline. Nothing here decides policy.

mod ask;
mod blank;
mod blkid;
mod claim;
mod device;
pub mod disks;
mod exec;
pub mod files;
mod filesystem;
pub mod firmware;
pub mod iscsi;
pub mod kernel;
mod labelled;
mod linux;
pub mod lock;
pub mod loopdev;
pub mod memory;
mod mount;
mod mount_options;
mod mount_tree;
mod mountinfo;
mod paths;
mod propagation;
pub mod rooted;
mod superblock;
mod tools;
pub mod tree;
pub mod uevent;
mod usage;

use std::fmt::Debug;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::backend::Device;
use crate::error::{Error, Result};
use crate::volume::{FsType, Mark};

pub use linux::Linux;
pub use propagation::is_shared;

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id. The kernel gives a freed one to the next mount, so it tells nothing of the order.
    pub id: u64,
    /// Device number of the file system, `major:minor` as one number (`makedev`). Anonymous for btrfs: see `source`.
    pub device: u64,
    /// What of the file system is mounted; `/` unless it is a bind mount of a part.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The mount's own options (`ro`, `nosuid`, …).
    pub options: Vec<String>,
    /// The file system's type.
    pub fs_type: String,
    /// What was mounted, such as `/dev/loop0`.
    pub source: String,
    /// The file system's options.
    pub super_options: Vec<String>,
    /// Whether what is mounted below it appears below its peers, too, such as those in other mount namespaces
    /// (mount_namespaces(7)).
    pub shared: bool,
}

/// What blkid's low-level probe says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// No signature that blkid knows. This does not prove that the device is blank.
    None,
    /// A file system that the driver makes.
    Fs(FsType),
    /// Something else, in blkid's words (`crypto_LUKS`, `LVM2_member`, `PTTYPE=gpt`, …).
    Other(String),
    /// Several at once; which one is meant cannot be told.
    Ambivalent,
}

/// Use of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes all together.
    pub total: u64,
    /// Bytes that unprivileged users can still fill.
    pub available: u64,
    /// Bytes in use.
    pub used: u64,
    /// Inodes all together; 0 where the file system makes them as needed.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}

/// What there is at a path, without following a link in the last part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A block device node, with its number.
    BlockDevice(u64),
    /// A symbolic link.
    Link,
    /// Something else.
    Other,
    /// A mount whose file system is dead (ENOTCONN, EIO, ESTALE).
    Dead,
}

/// A device that is kept open: see [`Host::hold`].
pub type Hold = Box<dyn std::any::Any + Send>;

/// This machine.
#[async_trait]
pub trait Host: Debug + Send + Sync {
    /// Names the tools that are missing for what `file_systems` need; empty: all is there.
    fn missing_tools(&self, file_systems: &[FsType]) -> Vec<String>;

    /// The live mount table of this process's namespace, read until two reads agree.
    ///
    /// # Errors
    /// Where it cannot be read or parsed.
    async fn mounts(&self) -> Result<Vec<Mount>>;

    /// What there is at a path.
    ///
    /// # Errors
    /// Where even that cannot be told.
    async fn path_kind(&self, path: &Path) -> Result<PathKind>;

    /// The path as the mount table spells it: links followed in every part but the last. Where the parent is missing,
    /// the path as it is.
    ///
    /// # Errors
    /// Where that cannot be told.
    async fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(path.to_owned());
        };
        match tokio::fs::canonicalize(parent).await {
            Ok(parent) => Ok(parent.join(name)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(path.to_owned())
            }
            Err(error) => Err(Error::io(format!("resolve {}", parent.display()), error)),
        }
    }

    /// Makes one directory (mode 0750); its parent must exist. There already is `Ok`. Follows no link.
    ///
    /// # Errors
    /// Where something else is there.
    async fn make_directory(&self, path: &Path) -> Result<()>;

    /// Makes an empty file (mode 0640) to bind a device on. There already is `Ok`. Follows no link.
    ///
    /// # Errors
    /// Where something else is there.
    async fn make_file(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory, or a file that [`Host::make_file`] made (empty). Missing is `Ok`.
    ///
    /// # Errors
    /// Where it is a mount point, is not empty, or is something else.
    async fn remove_empty(&self, path: &Path) -> Result<()>;

    /// Writes a small file durably (file and directory synced), replacing what is there in one step.
    ///
    /// # Errors
    /// Where that fails; the old content is then still there.
    async fn write_durable(&self, path: &Path, content: &str) -> Result<()>;

    /// Reads a small file (at most 64 KiB); `None` where it is missing.
    ///
    /// # Errors
    /// Where it cannot be read.
    async fn read_small(&self, path: &Path) -> Result<Option<String>>;

    /// Removes a file and syncs its directory. Missing is `Ok`.
    ///
    /// # Errors
    /// Where it cannot be removed.
    async fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes what a [`Host::write_durable`] to this path that was killed half-way has left beside it. Nothing is `Ok`.
    ///
    /// # Errors
    /// Where it cannot be removed.
    async fn remove_half_written(&self, path: &Path) -> Result<()>;

    /// Mounts a device's file system. `options` are as in mount(8), split at commas outside quotes; those that are
    /// flags of mount(2) are recognised, the rest goes to the file system. Options never show in an error.
    ///
    /// # Errors
    /// The kernel's refusal.
    async fn mount(&self, device: &Path, target: &Path, fs: FsType, options: &[String]) -> Result<()>;

    /// Binds `source` (directory or device node) onto `target`, read-only where asked and with the per-mount flags among
    /// `options` (`noexec`, `nosuid`, …). It appears with its flags in one step where the kernel can (Linux 5.12).
    ///
    /// # Errors
    /// The kernel's refusal; the bind is then undone.
    async fn bind(&self, source: &Path, target: &Path, readonly: bool, options: &[String]) -> Result<()>;

    /// Unmounts everything that is mounted at `target`, also a dead file system (lazily). Not mounted is `Ok`.
    ///
    /// # Errors
    /// `Busy` where it is in use.
    async fn unmount(&self, target: &Path) -> Result<()>;

    /// Keeps the verified device open for as long as the answer lives, beside whoever claims it. A disk that is taken off
    /// meanwhile fails, but the kernel gives its number to no other one before the last descriptor of it is closed
    /// (virtio-blk, sd and loop free a number with its gendisk, which an open descriptor keeps): so all that is asked of,
    /// and done to, the number meanwhile is asked of and done to this one disk.
    ///
    /// # Errors
    /// `FailedPrecondition` where the path leads to another device by now, `Unavailable` where it is gone.
    async fn hold(&self, device: &Device) -> Result<Hold>;

    /// What signature the device bears, by blkid's low-level probe with O_DIRECT-fresh reads and exit codes told apart.
    ///
    /// # Errors
    /// A probe that failed is an error, never [`Signature::None`]. `Busy` where another has the device exclusively.
    async fn signature(&self, device: &Device) -> Result<Signature>;

    /// Proves that the device is blank: no signature, and zeros at head, tail, every place where a spare superblock
    /// could be, and samples between, read with O_DIRECT through one exclusive open of the verified device.
    ///
    /// # Errors
    /// `FailedPrecondition` saying what was found at which offset; `Internal` for a read error; `Busy` where another
    /// has the device exclusively.
    async fn prove_blank(&self, device: &Device) -> Result<()>;

    /// Makes a file system, overwriting what is there, and waits until it is on stable storage.
    ///
    /// # Errors
    /// The tool's own words; `Timeout` after its deadline.
    async fn format(&self, device: &Device, fs: FsType) -> Result<()>;

    /// The same; the file system's UUID is this mark.
    ///
    /// # Errors
    /// As [`Host::format`].
    async fn format_marked(&self, device: &Device, fs: FsType, mark: Mark) -> Result<()>;

    /// Checks an unmounted file system where that is right before a mount: ext4 by `fsck -p` (replays the journal and
    /// repairs what is safe); xfs and btrfs do their own at mount.
    ///
    /// # Errors
    /// `FailedPrecondition` where it has faults that need an operator.
    async fn check(&self, device: &Device, fs: FsType) -> Result<()>;

    /// Grows the file system to its device. Large enough already is `Ok`. `mounted_at` is where it is mounted; ext4
    /// grows by its device, xfs and btrfs by their mount.
    ///
    /// # Errors
    /// The tool's own words.
    async fn grow(&self, device: &Device, fs: FsType, mounted_at: &Path) -> Result<()>;

    /// Whether the file system is smaller than its device, by the superblock; used before a mount.
    ///
    /// # Errors
    /// Where the superblock cannot be read.
    async fn needs_growth(&self, device: &Device, fs: FsType) -> Result<bool>;

    /// The device number and size behind a device node, verified by opening it.
    ///
    /// # Errors
    /// Where it is no block device or cannot be opened.
    async fn device(&self, path: &Path) -> Result<Device>;

    /// Makes the kernel refuse writes to the device (BLKROSET), or allow them again.
    ///
    /// # Errors
    /// The kernel's refusal.
    async fn set_readonly(&self, device: &Device, readonly: bool) -> Result<()>;

    /// Use of the file system at a path. Never hangs: a dead storage gives `Timeout` while its thread waits on.
    ///
    /// # Errors
    /// `NotFound`, `Timeout`, or the kernel's refusal.
    async fn usage(&self, path: &Path) -> Result<Usage>;
}
