//! What a cluster has: volumes and snapshots in one space of names, clients and what is attached to them.

mod attach;
mod iscsi;
mod kv;
mod moving;
mod names;
mod object;
mod refusal;
mod sessions;
mod snapshots;
mod space;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;
use std::time::Duration;

pub use attach::{Attachment, Client, Detach, Entry, Rights};
pub use iscsi::{Export, Initiator, Iscsi, PortalGroup, Target};
pub use kv::Bucket;
pub use object::{Kind, Limit, Object, Policy, Tags};
pub use refusal::{Refusal, Result};
pub use sessions::Session;
pub use snapshots::{Cut, Cutting};
pub use space::Space;
pub use volumes::{Change, Order};

use crate::config::Config;

/// Since 1970.
pub type Moment = Duration;

/// Something that changes for those who show devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskChange {
    /// A volume or snapshot was made, with the content of another one.
    Made {
        /// Its number.
        id: u64,
        /// Its size in bytes.
        size: u64,
        /// Whose content it has.
        from: Option<u64>,
    },
    /// It has another size.
    Sized {
        /// Its number.
        id: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A client has it.
    Attached {
        /// The client.
        client: u16,
        /// The number of the volume or snapshot.
        id: u64,
        /// Its global id.
        global_id: String,
        /// Its name, where it has one.
        name: Option<String>,
        /// Whether it refuses writes.
        readonly: bool,
    },
    /// A client shows the size that it has.
    Shown {
        /// The client.
        client: u16,
        /// The number of the volume.
        id: u64,
    },
    /// A client has it no more.
    Detached {
        /// The client.
        client: u16,
        /// The number of the volume or snapshot.
        id: u64,
    },
    /// It is gone, or its content is another one's.
    Gone {
        /// Its number.
        id: u64,
    },
}

/// What should never happen, and who looks for it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Volumes that several clients could write to at once, with the clients.
    pub shared: Vec<(String, Vec<u16>)>,
    /// Volumes and clients that lost them while they had them open.
    pub cut_off: Vec<(String, u16)>,
    /// Volumes that initiators of iSCSI could write to beside others: the initiators, and how many clients.
    pub exported: Vec<(String, Vec<String>, usize)>,
    /// Volumes and initiators whose sessions ended because what they were logged in to was withdrawn.
    pub logged_off: Vec<(String, String)>,
    /// How often something was attached anew.
    pub attached: u64,
}

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What it has and how fast it is.
    pub config: Config,
    /// Changes of its configuration.
    pub generation: u64,
    /// The computers that can have volumes, by number.
    pub clients: BTreeMap<u16, Client>,
    /// What happened that should not.
    pub ledger: Ledger,
    /// What changed for those who show devices; `None` where nobody does.
    pub changes: Option<Vec<DiskChange>>,
    objects: BTreeMap<u64, Object>,
    attachments: BTreeMap<(u64, u16), Attachment>,
    buckets: BTreeMap<String, Bucket>,
    iscsi: Iscsi,
    now: Moment,
    next: u64,
}

impl Cluster {
    /// An empty one.
    #[must_use]
    pub fn new(config: Config, now: Moment) -> Self {
        Self {
            config,
            generation: 1,
            clients: BTreeMap::new(),
            ledger: Ledger::default(),
            changes: None,
            objects: BTreeMap::new(),
            attachments: BTreeMap::new(),
            buckets: BTreeMap::new(),
            iscsi: Iscsi::default(),
            now,
            next: 0,
        }
    }

    /// The time in the cluster.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// Seconds since 1970.
    pub(crate) const fn seconds(&self) -> u64 {
        self.now.as_secs()
    }

    /// Lets everything happen that is due by then.
    pub fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
        self.expire();
        self.reclaim();
        self.show_sizes();
        self.reach_clients();
    }

    /// Notes a change of the configuration, and tells its number.
    pub(crate) const fn changed(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    pub(crate) fn tell(&mut self, change: DiskChange) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    /// All volumes and snapshots.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// The volume or snapshot of this number.
    #[must_use]
    pub fn object(&self, id: u64) -> Option<&Object> {
        self.objects.get(&id)
    }

    /// All that is attached, by number and client.
    pub fn attachments(&self) -> impl Iterator<Item = (&Object, u16, &Attachment)> {
        self.attachments
            .iter()
            .filter_map(|((id, client), attachment)| Some((self.objects.get(id)?, *client, attachment)))
    }

    /// What is in the key-value store.
    #[must_use]
    pub const fn buckets(&self) -> &BTreeMap<String, Bucket> {
        &self.buckets
    }

    /// What is exported over iSCSI.
    #[must_use]
    pub const fn iscsi(&self) -> &Iscsi {
        &self.iscsi
    }
}
