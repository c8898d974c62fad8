//! How a volume is to be used: block or file system, by how many nodes and writers.

use std::fmt;
use std::str::FromStr;

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::volume::Bytes;

/// CSI's access modes (VolumeCapability.AccessMode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessMode {
    /// One node reads and writes (the form of callers that do not know the two finer modes).
    SingleNodeWriter,
    /// One node reads.
    SingleNodeReaderOnly,
    /// Many nodes read.
    MultiNodeReaderOnly,
    /// One node writes, many read.
    MultiNodeSingleWriter,
    /// Many nodes write.
    MultiNodeMultiWriter,
    /// One node, one target path (ReadWriteOncePod).
    SingleNodeSingleWriter,
    /// One node, many target paths (ReadWriteOnce).
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether more than one node may hold the volume at once.
    #[must_use]
    pub const fn multi_node(self) -> bool {
        matches!(self, Self::MultiNodeReaderOnly | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter)
    }

    /// Whether nobody writes.
    #[must_use]
    pub const fn read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }

    /// Whether a second target path on the same node is allowed (CSI spec, NodePublishVolume, second table).
    #[must_use]
    pub const fn many_targets(self) -> bool {
        !matches!(self, Self::SingleNodeSingleWriter | Self::SingleNodeWriter | Self::SingleNodeReaderOnly)
    }
}

/// How a node uses a volume, as far as it matters to other nodes. As text: the mode, with ` ro` after it where the node
/// must not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// By how many nodes and writers.
    pub mode: AccessMode,
    /// Whether this node must not write, whatever the mode allows.
    pub readonly: bool,
}

impl Use {
    /// Whether this node may write.
    #[must_use]
    pub const fn writes(self) -> bool {
        !self.readonly && !self.mode.read_only()
    }

    /// Whether two nodes may have a volume at once.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        let both = |mode| self.mode == mode && other.mode == mode;
        self.mode.multi_node()
            && other.mode.multi_node()
            && (!self.writes() && !other.writes()
                || both(AccessMode::MultiNodeMultiWriter)
                || both(AccessMode::MultiNodeSingleWriter) && !(self.writes() && other.writes()))
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.serialize(&mut *f)?;
        f.write_str(if self.readonly { READONLY } else { "" })
    }
}

impl FromStr for Use {
    type Err = Error;

    /// # Errors
    /// `Internal`: only what this driver wrote is read.
    fn from_str(text: &str) -> Result<Self> {
        let (mode, readonly) = text.strip_suffix(READONLY).map_or((text, false), |mode| (mode, true));
        let mode: Result<_, serde::de::value::Error> = AccessMode::deserialize(mode.into_deserializer());
        let mode = mode.map_err(|error| {
            Error::internal(format!("{text:?} does not say how a volume is used")).caused_by(error)
        })?;
        Ok(Self { mode, readonly })
    }
}

const READONLY: &str = " ro";

/// The file systems that the driver makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// The default.
    #[default]
    Ext4,
    /// Grows online, cannot shrink.
    Xfs,
    /// Grows online.
    Btrfs,
}

impl FsType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The smallest volume that can hold it: what its mkfs insists on, with its default options.
    #[must_use]
    pub const fn smallest(self) -> Bytes {
        match self {
            Self::Ext4 => Bytes::mib(1),
            Self::Xfs => Bytes::mib(300),
            Self::Btrfs => Bytes::mib(110),
        }
    }

    /// The kernel's and blkid's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FsType {
    type Err = Error;

    /// Empty text is the default, ext4.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Ok(Self::default()),
            _ => Self::ALL.into_iter().find(|fs| fs.as_str() == text).ok_or_else(|| {
                Error::invalid(format!("fs_type {text:?} is not made here: use ext4, xfs or btrfs"))
            }),
        }
    }
}

/// Mount flags as the caller gave them. They may hold secrets, so `Debug` tells only their number.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MountFlags(Vec<String>);

impl MountFlags {
    /// Keeps the flags as they are.
    #[must_use]
    pub fn new(flags: Vec<String>) -> Self {
        Self(flags)
    }

    /// The flags, for mount(2) alone: never for a log or an error.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for MountFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} flags>", self.0.len())
    }
}

/// Block device or file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// The raw device.
    Block,
    /// A file system, made if the volume is provably blank.
    Mount {
        /// What is to be there.
        fs: FsType,
        /// Flags for mount(2).
        flags: MountFlags,
    },
}

/// One VolumeCapability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Block or file system.
    pub kind: AccessKind,
    /// By how many nodes and writers.
    pub mode: AccessMode,
}

impl Access {
    /// Whether it is the raw device that is asked for.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        matches!(self.kind, AccessKind::Block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(text: &str) -> Use {
        text.parse().unwrap()
    }

    #[test]
    fn a_use_is_read_as_it_was_written() {
        for text in ["single-node-writer", "multi-node-multi-writer ro", "single-node-single-writer ro"] {
            assert_eq!(used(text).to_string(), text);
        }
        for bad in ["", "ro", " ro", "multi", "multi-node-multi-writer rw"] {
            assert!(bad.parse::<Use>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_nodes_share_only_where_both_allow_it() {
        let cases = [
            ("multi-node-multi-writer", "multi-node-multi-writer", true),
            ("multi-node-multi-writer", "single-node-writer", false),
            ("multi-node-multi-writer", "multi-node-reader-only", false),
            ("multi-node-multi-writer ro", "multi-node-reader-only", true),
            ("multi-node-single-writer", "multi-node-single-writer", false),
            ("multi-node-single-writer", "multi-node-single-writer ro", true),
            ("single-node-writer", "single-node-writer ro", false),
        ];
        for (one, other, together) in cases {
            assert_eq!(used(one).goes_with(used(other)), together, "{one} {other}");
            assert_eq!(used(other).goes_with(used(one)), together, "{other} {one}");
        }
    }
}
