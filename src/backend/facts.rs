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

/// How a volume can grow; the later, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Capabilities {
    /// Nothing beyond making, attaching and deleting volumes.
    pub const NONE: Self = Self {
        snapshots: false,
        group_snapshots: false,
        clones: false,
        expansion: Expansion::Never,
        modify: false,
        readonly_attach: false,
        multi_attach: false,
        raw: false,
    };

    /// All that there is.
    pub const ALL: Self = Self {
        snapshots: true,
        group_snapshots: true,
        clones: true,
        expansion: Expansion::Online,
        modify: true,
        readonly_attach: true,
        multi_attach: true,
        raw: true,
    };

    /// What a caller is told of, in words.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let growth = match self.expansion {
            Expansion::Never => None,
            Expansion::Offline => Some("growth"),
            Expansion::Online => Some("growth in use"),
        };
        let words = [
            self.snapshots.then_some("snapshots"),
            self.group_snapshots.then_some("group snapshots"),
            self.clones.then_some("clones"),
            growth,
            self.modify.then_some("other attributes"),
        ];
        words.into_iter().flatten().collect()
    }

    /// What one of two can do.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            snapshots: self.snapshots || other.snapshots,
            group_snapshots: self.group_snapshots || other.group_snapshots,
            clones: self.clones || other.clones,
            expansion: self.expansion.max(other.expansion),
            modify: self.modify || other.modify,
            readonly_attach: self.readonly_attach || other.readonly_attach,
            multi_attach: self.multi_attach || other.multi_attach,
            raw: self.raw || other.raw,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_can_do_what_one_of_them_can() {
        let (none, all) = (Capabilities::NONE, Capabilities::ALL);
        assert_eq!((none.or(all), all.or(none), none.or(none)), (all, all, none));
        let offline = Capabilities { expansion: Expansion::Offline, snapshots: true, ..none };
        let online = Capabilities { expansion: Expansion::Online, clones: true, ..none };
        let both = Capabilities { expansion: Expansion::Online, snapshots: true, clones: true, ..none };
        assert_eq!((offline.or(online), online.or(offline)), (both, both));
        assert_eq!(both.words(), ["snapshots", "clones", "growth in use"]);
        assert!(none.words().is_empty());
    }
}
