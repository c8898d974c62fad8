//! What a back end tells of itself.

use crate::volume::{Bytes, SizeRules};

/// A volume after it grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The size now.
    pub size: Bytes,
    /// Whether the node has something left to do.
    pub node_expansion: bool,
}

/// The room that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// What may still be ordered, all together.
    pub available: Bytes,
    /// The largest volume that can be ordered now.
    pub largest: Bytes,
    /// The smallest volume that can be ordered.
    pub smallest: Bytes,
}

/// How a volume can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// Not at all.
    Never,
    /// Only while no node has it.
    Offline,
    /// Also while a node has it.
    Online,
}

/// What a back end can do, as data. What it cannot, it refuses with [`Kind::Unsupported`](crate::error::Kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Snapshots, and volumes from them.
    pub snapshots: bool,
    /// Snapshots of several volumes at one moment.
    pub group_snapshots: bool,
    /// Volumes from volumes.
    pub clones: bool,
    /// Growing.
    pub expansion: Expansion,
    /// Changing a volume's parameters while it is in use.
    pub modify: bool,
    /// Attaching so that the node cannot write.
    pub readonly_attach: bool,
    /// Several nodes at once.
    pub multi_attach: bool,
    /// Handing out the raw device, without a file system.
    pub raw: bool,
}

/// How much a back end holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sizes that it can make.
    pub sizes: SizeRules,
    /// Volumes that one server can have at once.
    pub per_server: Option<u32>,
    /// Volumes all together.
    pub volumes: Option<u64>,
    /// Bytes all together.
    pub bytes: Option<Bytes>,
}

/// Something that an operator should mend, although calls are still answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One word for it, as an event's reason.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}
