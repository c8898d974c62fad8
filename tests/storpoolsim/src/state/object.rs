//! Volumes and snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

/// Notes about a volume or snapshot.
pub type Tags = BTreeMap<String, String>;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
}

/// A limit; `None`: none.
pub type Limit = Option<u64>;

/// Where and how its data is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The template; empty: none.
    pub template: String,
    /// Copies.
    pub replication: u64,
    /// The placement groups: all, tail, head.
    pub places: [String; 3],
    /// Operations in a second.
    pub iops: Limit,
    /// KB in a second.
    pub bw: Limit,
    /// What the limits are for: `total` or `perGiB`.
    pub limit_type: Option<String>,
}

/// A volume or a snapshot.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its number, which never changes.
    pub id: u64,
    /// Which of the two it is.
    pub kind: Kind,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its global id now.
    pub global_id: String,
    /// The one that it had first, where it has another now.
    pub preserved: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The snapshot that its content begins with.
    pub parent: Option<u64>,
    /// Of a snapshot: the volume that it was cut from.
    pub volume: Option<u64>,
    /// Where and how its data is kept.
    pub policy: Policy,
    /// Its notes.
    pub tags: Tags,
    /// Seconds since 1970.
    pub created: u64,
    /// Bytes of data that it has of its own.
    pub stored: u64,
    /// Of a snapshot: goes once nothing is made from it any more.
    pub bound: bool,
    /// Of a snapshot: made by the system for a copy.
    pub transient: bool,
    /// Of a snapshot: since when it is being deleted.
    pub deleted: Option<Duration>,
    /// Of a snapshot: when it goes by itself, in seconds since 1970.
    pub end: Option<u64>,
    /// What its health is told as: `up`, `up soon`, `data lost`, `down`.
    pub status: &'static str,
    /// Whether there are fewer copies than there should be.
    pub degraded: bool,
    /// When clients show the size that it has.
    pub(crate) shown: Option<Duration>,
}

impl Object {
    /// What it is called: its name, or its first global id with `~`.
    #[must_use]
    pub fn called(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("~{}", self.preserved.as_deref().unwrap_or(&self.global_id)))
    }

    /// Whether a `~` and this text mean it.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        self.global_id == id || self.preserved.as_deref() == Some(id)
    }
}
