//! The external tools: what they are called, which Debian package has them, where they are here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::volume::FsType;

/// Where tools are looked for beside `PATH`, which in a container often lacks the `sbin` directories.
pub(super) const DIRECTORIES: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// An external tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tool {
    Blkid,
    MkfsExt4,
    E2fsck,
    Resize2fs,
    MkfsXfs,
    XfsGrowfs,
    MkfsBtrfs,
    Btrfs,
}

impl Tool {
    const ALL: [Self; 8] = [
        Self::Blkid,
        Self::MkfsExt4,
        Self::E2fsck,
        Self::Resize2fs,
        Self::MkfsXfs,
        Self::XfsGrowfs,
        Self::MkfsBtrfs,
        Self::Btrfs,
    ];

    /// Its file name and its Debian package.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Blkid => ("blkid", "util-linux"),
            Self::MkfsExt4 => ("mkfs.ext4", "e2fsprogs"),
            Self::E2fsck => ("e2fsck", "e2fsprogs"),
            Self::Resize2fs => ("resize2fs", "e2fsprogs"),
            Self::MkfsXfs => ("mkfs.xfs", "xfsprogs"),
            Self::XfsGrowfs => ("xfs_growfs", "xfsprogs"),
            Self::MkfsBtrfs => ("mkfs.btrfs", "btrfs-progs"),
            Self::Btrfs => ("btrfs", "btrfs-progs"),
        }
    }

    /// The file system that needs it; `None`: all do.
    const fn serves(self) -> Option<FsType> {
        match self {
            Self::Blkid => None,
            Self::MkfsExt4 | Self::E2fsck | Self::Resize2fs => Some(FsType::Ext4),
            Self::MkfsXfs | Self::XfsGrowfs => Some(FsType::Xfs),
            Self::MkfsBtrfs | Self::Btrfs => Some(FsType::Btrfs),
        }
    }
}

/// Where the tools are, looked up once.
#[derive(Debug)]
pub(super) struct Tools(BTreeMap<Tool, PathBuf>);

impl Tools {
    /// Looks in `PATH` and the usual directories.
    pub(super) fn find() -> Self {
        Self::find_by(|name| {
            which::which_global(name).or_else(|_| which::which_in(name, Some(DIRECTORIES), "/")).ok()
        })
    }

    fn find_by(find: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let place = |tool: Tool| find(tool.names().0).filter(|path| path.is_absolute());
        Self(Tool::ALL.into_iter().filter_map(|tool| place(tool).map(|path| (tool, path))).collect())
    }

    /// A tool's absolute path.
    pub(super) fn path(&self, tool: Tool) -> Result<&Path> {
        self.0.get(&tool).map(PathBuf::as_path).ok_or_else(|| {
            let (name, package) = tool.names();
            Error::unknown(Kind::Unavailable, format!("{name} was not found at start: install {package}"))
        })
    }

    /// The missing ones among those that the file systems need.
    pub(super) fn missing(&self, file_systems: &[FsType]) -> Vec<String> {
        let needed = |tool: &Tool| tool.serves().is_none_or(|fs| file_systems.contains(&fs));
        let missing = Tool::ALL.into_iter().filter(needed).filter(|tool| !self.0.contains_key(tool));
        missing.map(Tool::names).map(|(name, package)| format!("{name} (Debian package {package})")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let some = Tools::find_by(|name| (!name.contains("xfs")).then(|| Path::new("/sbin").join(name)));
        assert!(some.missing(&[FsType::Ext4, FsType::Btrfs]).is_empty());
        assert_eq!(
            some.missing(&[FsType::Ext4, FsType::Xfs]),
            ["mkfs.xfs (Debian package xfsprogs)", "xfs_growfs (Debian package xfsprogs)"]
        );
        assert_eq!(some.path(Tool::Blkid).unwrap(), Path::new("/sbin/blkid"));
        assert!(some.path(Tool::MkfsXfs).unwrap_err().to_string().contains("xfsprogs"));
        let none = Tools::find_by(|_| Some("relative/path".into()));
        assert_eq!(none.missing(&[]), ["blkid (Debian package util-linux)"]);
        assert_eq!(none.missing(&FsType::ALL).len(), Tool::ALL.len());
    }
}
