//! The truth about disks, apart from what Cinder and Nova keep: which server really has which volume.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::Moment;

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Several servers had a volume at once that only one may have.
    TwoServers {
        /// The volume.
        volume: String,
        /// The servers.
        servers: Vec<String>,
        /// When the second one got it.
        at: Moment,
    },
    /// A volume was deleted while a server had it.
    DeletedInUse {
        /// The volume.
        volume: String,
        /// The servers.
        servers: Vec<String>,
        /// When.
        at: Moment,
    },
}

/// A change of a server's disks, for those who show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskChange {
    /// The server has the volume from now on.
    Plugged {
        /// The server.
        server: String,
        /// The volume.
        volume: String,
        /// GiB.
        size: u64,
        /// Whether it can only be read.
        readonly: bool,
    },
    /// The server has it no longer.
    Unplugged {
        /// The server.
        server: String,
        /// The volume.
        volume: String,
    },
    /// The server sees that it has grown.
    Grown {
        /// The server.
        server: String,
        /// The volume.
        volume: String,
        /// GiB.
        size: u64,
    },
    /// The volume was made.
    Made {
        /// The volume.
        volume: String,
        /// GiB.
        size: u64,
        /// The volume or snapshot with its content.
        from: Option<String>,
    },
    /// A snapshot was made of the volume.
    Cut {
        /// The volume.
        volume: String,
        /// The snapshot.
        snapshot: String,
    },
    /// The volume or snapshot is no more.
    Gone {
        /// Which.
        object: String,
    },
}

/// Who has what.
#[derive(Debug, Default)]
pub struct Ledger {
    plugged: BTreeMap<String, BTreeSet<String>>,
    violations: Vec<Violation>,
    /// Volumes that the cloud itself lost.
    pub lost: BTreeSet<String>,
    /// How often a server got a volume.
    pub attaches: u64,
    /// How often a volume was made.
    pub made: u64,
    /// How often a volume was deleted.
    pub gone: u64,
}

impl Ledger {
    /// What must never have happened.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The servers that really have a volume.
    #[must_use]
    pub fn holders(&self, volume: &str) -> Vec<String> {
        self.plugged.get(volume).map(|servers| servers.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn plug(&mut self, volume: &str, server: &str, shared: bool, at: Moment) {
        self.attaches += 1;
        let servers = self.plugged.entry(volume.to_owned()).or_default();
        servers.insert(server.to_owned());
        if servers.len() > 1 && !shared {
            let servers = servers.iter().cloned().collect();
            self.violations.push(Violation::TwoServers { volume: volume.to_owned(), servers, at });
        }
    }

    /// Whether it was plugged.
    pub(super) fn unplug(&mut self, volume: &str, server: &str) -> bool {
        let Some(servers) = self.plugged.get_mut(volume) else { return false };
        let there = servers.remove(server);
        if servers.is_empty() {
            self.plugged.remove(volume);
        }
        there
    }

    pub(super) fn delete(&mut self, volume: &str, at: Moment) {
        self.gone += 1;
        let servers = self.holders(volume);
        if !servers.is_empty() {
            self.violations.push(Violation::DeletedInUse { volume: volume.to_owned(), servers, at });
        }
    }
}
