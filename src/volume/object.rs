//! Volumes and snapshots as a back end tells them.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::volume::{Bytes, Content, NativeId, NodeId, Topology};

/// What a volume was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A snapshot in the same back end.
    Snapshot(NativeId),
    /// A volume in the same back end.
    Volume(NativeId),
}

/// A volume that exists and can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its id in the back end.
    pub id: NativeId,
    /// The name that it was ordered under.
    pub name: String,
    /// Its size now.
    pub size: Bytes,
    /// What it was made from.
    pub source: Option<Source>,
    /// What is known of its content.
    pub content: Content,
    /// From where it can be reached; empty: from everywhere.
    pub reach: Topology,
    /// The nodes that have it.
    pub attached: Vec<NodeId>,
}

/// A snapshot that has been cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id in the back end.
    pub id: NativeId,
    /// The name that it was ordered under.
    pub name: String,
    /// The volume that it was cut from.
    pub volume: NativeId,
    /// The size of a volume made from it.
    pub size: Bytes,
    /// When it was cut.
    pub created: SystemTime,
    /// Whether a volume can be made from it already.
    pub ready: bool,
    /// The group snapshot that it belongs to.
    pub group: Option<NativeId>,
}

/// Snapshots of several volumes, cut at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// Its id in the back end.
    pub id: NativeId,
    /// The name that it was ordered under.
    pub name: String,
    /// When it was cut.
    pub created: SystemTime,
    /// One for each volume.
    pub members: Vec<Snapshot>,
}

/// How bad a fault of a volume is (CSI spec, VolumeHealthErrorType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthStatus {
    /// Works, with less redundancy or speed than it should.
    Degraded,
    /// Cannot be reached at present.
    Inaccessible,
    /// Data is lost.
    DataLoss,
}

/// One fault of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthFault {
    /// How bad it is.
    pub status: HealthStatus,
    /// One CamelCase word, unique with the status.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// The faults of a volume; none means healthy.
pub type Health = Vec<HealthFault>;
