//! Which of the mounts are a volume's, by device and never by what a path looks like: a bind mount on the same file
//! system looks unmounted to stat(2), and a dead one cannot be looked at.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::host::{Host, Mount, PathKind};

/// The mount table as it was read.
#[derive(Debug)]
pub(super) struct Table<'a> {
    host: &'a dyn Host,
    mounts: Vec<Mount>,
}

/// What lies behind a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// The file system on the device of this number.
    FileSystem(u64),
    /// The node of the device of this number.
    Node(u64),
    /// No device that is there.
    Nothing,
}

/// A mount of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) target: PathBuf,
    /// Whether it is the device node that is mounted, not the file system.
    pub(super) node: bool,
    /// Whether this mount is read-only.
    pub(super) readonly: bool,
    /// Whether the file system is, for every mount of it.
    pub(super) frozen: bool,
}

impl<'a> Table<'a> {
    pub(super) async fn read(host: &'a dyn Host) -> Result<Self> {
        Ok(Self { host, mounts: host.mounts().await? })
    }

    /// The mounts at a path, lowest first.
    pub(super) fn at(&self, path: &Path) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(move |mount| mount.target == path)
    }

    /// The mount that is seen at a path. The last line is the one on top: the kernel gives a freed mount id to the next
    /// mount, so the ids tell nothing.
    pub(super) fn top(&self, path: &Path) -> Option<&Mount> {
        self.at(path).last()
    }

    pub(super) async fn backing(&self, mount: &Mount) -> Result<Backing> {
        let number = |path: PathBuf| async move {
            Ok(match self.host.path_kind(&path).await? {
                PathKind::BlockDevice(number) => Some(number),
                PathKind::Link => self.host.device(&path).await.ok().map(|device| device.number),
                _ => None,
            })
        };
        Ok(match mount.fs_type.as_str() {
            // Its device number is anonymous.
            "btrfs" => {
                number(PathBuf::from(&mount.source)).await?.map_or(Backing::Nothing, Backing::FileSystem)
            }
            // Where device nodes live. Never asked of other kinds: a stat on a network file system may hang.
            "devtmpfs" | "tmpfs" if mount.root != Path::new("/") => {
                match self.host.path_kind(&mount.target).await? {
                    PathKind::BlockDevice(number) => Backing::Node(number),
                    _ => Backing::Nothing,
                }
            }
            _ => Backing::FileSystem(mount.device),
        })
    }

    /// Every mount of the device of this number, and of its node.
    pub(super) async fn uses(&self, number: u64) -> Result<Vec<Use>> {
        let mut uses = Vec::new();
        for mount in &self.mounts {
            let backing = self.backing(mount).await?;
            if matches!(backing, Backing::FileSystem(n) | Backing::Node(n) if n == number) {
                uses.push(Use {
                    target: mount.target.clone(),
                    node: matches!(backing, Backing::Node(_)),
                    readonly: has(&mount.options, "ro"),
                    // A node's file system is the one of /dev: its state says nothing of the volume.
                    frozen: matches!(backing, Backing::FileSystem(_)) && has(&mount.super_options, "ro"),
                });
            }
        }
        Ok(uses)
    }
}

pub(super) fn has(options: &[String], name: &str) -> bool {
    options.iter().any(|option| option == name)
}

/// Paths for a message.
pub(super) fn targets<'u>(uses: impl IntoIterator<Item = &'u Use>) -> String {
    let paths: Vec<_> = uses.into_iter().map(|found| found.target.display().to_string()).collect();
    paths.join(", ")
}
