//! Cinder's objects.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;

use super::{Listed, Status, described, lenient};

/// A volume with its details (cinder/api/v3/views/volumes.py).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// Its id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// Its name; not unique. Older APIs and Cyclades call it `display_name`.
    #[serde(default, alias = "display_name", deserialize_with = "lenient::maybe_text")]
    pub name: Option<String>,
    /// Its state.
    pub status: Status,
    /// GiB.
    #[serde(deserialize_with = "lenient::number")]
    pub size: u64,
    /// Where it is.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub availability_zone: Option<String>,
    /// Its type's name.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub volume_type: Option<String>,
    /// What it was made from.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub snapshot_id: Option<String>,
    /// What it was made from.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub source_volid: Option<String>,
    /// Of which group it is (from 3.13).
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub group_id: Option<String>,
    /// For people, and for notes where a cloud keeps them there.
    #[serde(default, alias = "display_description", deserialize_with = "lenient::maybe_text")]
    pub description: Option<String>,
    /// Whether it is shown although it was deleted (Cyclades).
    #[serde(default, deserialize_with = "lenient::truth")]
    pub deleted: bool,
    /// What was noted about it.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub metadata: BTreeMap<String, String>,
    /// What is known of the image that it was made from.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub volume_image_metadata: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
    /// When its record was last changed, to the second; `None`: never since it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub updated_at: Option<SystemTime>,
    /// Whether several servers can have it.
    #[serde(default, deserialize_with = "lenient::truth")]
    pub multiattach: bool,
    /// Whether it is encrypted.
    #[serde(default, deserialize_with = "lenient::truth")]
    pub encrypted: bool,
    /// Whether a server can start from it.
    #[serde(default, deserialize_with = "lenient::truth")]
    pub bootable: bool,
    /// Which service holds it (from 3.48). Cinder saves it after it has made the volume `available`, and a volume
    /// without it cannot be attached yet.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub service_uuid: Option<String>,
    /// How it is copied elsewhere.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub replication_status: Option<String>,
    /// The servers that have it.
    #[serde(default, deserialize_with = "lenient::list")]
    pub attachments: Vec<VolumeAttachment>,
}

impl Listed for Volume {
    const KEY: &'static str = "volumes";
    const LINKS: &'static str = "volumes_links";

    fn id(&self) -> &str {
        &self.id
    }

    fn is_deleted(&self) -> bool {
        self.deleted || self.status == Status::Deleted
    }

    fn take_description(&mut self) {
        self.metadata.extend(described::read(self.description.as_deref()));
    }
}

/// In the place of a server's id: a host has the volume, for itself.
pub const NO_SERVER: &str = "a-host-itself";

/// A server that has a volume, as the volume tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct VolumeAttachment {
    /// The server. Of a volume that a host has without a server (Cinder then tells null): [`NO_SERVER`].
    #[serde(deserialize_with = "lenient::holder")]
    pub server_id: String,
    /// The attachment in Cinder.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub attachment_id: Option<String>,
    /// What the device may be called there.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub device: Option<String>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Snapshot {
    /// Its id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// Its name; not unique.
    #[serde(default, alias = "display_name", deserialize_with = "lenient::maybe_text")]
    pub name: Option<String>,
    /// Its state.
    pub status: Status,
    /// GiB.
    #[serde(deserialize_with = "lenient::number")]
    pub size: u64,
    /// Of which volume.
    #[serde(deserialize_with = "lenient::text")]
    pub volume_id: String,
    /// When it was cut.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
    /// For people, and for notes where a cloud keeps them there.
    #[serde(default, alias = "display_description", deserialize_with = "lenient::maybe_text")]
    pub description: Option<String>,
    /// What was noted about it.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub metadata: BTreeMap<String, String>,
    /// Of which group snapshot it is (from 3.14).
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub group_snapshot_id: Option<String>,
}

impl Listed for Snapshot {
    const KEY: &'static str = "snapshots";
    const LINKS: &'static str = "snapshots_links";

    fn id(&self) -> &str {
        &self.id
    }

    fn is_deleted(&self) -> bool {
        self.status == Status::Deleted
    }

    fn take_description(&mut self) {
        self.metadata.extend(described::read(self.description.as_deref()));
    }
}

/// A backup with its details.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub name: Option<String>,
    /// Its state.
    pub status: Status,
    /// GiB of the volume.
    #[serde(deserialize_with = "lenient::number")]
    pub size: u64,
    /// Of which volume.
    pub volume_id: String,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
    /// What was noted about it (from 3.43).
    #[serde(default, deserialize_with = "lenient::texts")]
    pub metadata: BTreeMap<String, String>,
    /// Why it failed.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub fail_reason: Option<String>,
    /// Whether others build on it, so that it cannot be deleted.
    #[serde(default, deserialize_with = "lenient::truth")]
    pub has_dependent_backups: bool,
}

impl Listed for Backup {
    const KEY: &'static str = "backups";
    const LINKS: &'static str = "backups_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// What a restore began.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Restore {
    /// From which backup.
    pub backup_id: String,
    /// Into which volume.
    pub volume_id: String,
}

/// An attachment with its details, as Cinder keeps it (from 3.27). Its connection is not read: it may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: String,
    /// Its state.
    pub status: Status,
    /// The volume.
    pub volume_id: String,
    /// The server.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub instance: Option<String>,
}

impl Listed for Attachment {
    const KEY: &'static str = "attachments";
    const LINKS: &'static str = "attachments_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// A type of volumes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct VolumeType {
    /// Its id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// What a user may know of it: zones, multiattach, replication.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub extra_specs: BTreeMap<String, String>,
    /// Whether its volumes can go from server to server (Cyclades); others say nothing of it.
    #[serde(default, rename = "SNF:detachable")]
    pub detachable: Option<bool>,
}

impl Listed for VolumeType {
    const KEY: &'static str = "volume_types";
    const LINKS: &'static str = "volume_type_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Zone {
    /// Its name.
    #[serde(rename = "zoneName")]
    pub name: String,
    /// Whether it can be used.
    #[serde(default, rename = "zoneState")]
    pub state: ZoneState,
}

/// Whether a zone can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ZoneState {
    /// Whether it can.
    #[serde(default)]
    pub available: bool,
}

/// What a project may have and has. -1 is no limit; a cloud may leave any of them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AbsoluteLimits {
    /// Volumes at most.
    pub max_total_volumes: Option<i64>,
    /// GiB at most, of volumes and snapshots.
    pub max_total_volume_gigabytes: Option<i64>,
    /// Snapshots at most.
    pub max_total_snapshots: Option<i64>,
    /// Backups at most.
    pub max_total_backups: Option<i64>,
    /// Volumes.
    pub total_volumes_used: Option<i64>,
    /// GiB.
    pub total_gigabytes_used: Option<i64>,
    /// Snapshots.
    pub total_snapshots_used: Option<i64>,
    /// Backups.
    pub total_backups_used: Option<i64>,
}

/// Why something failed, as the cloud tells its users (from 3.3).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The text.
    #[serde(default)]
    pub user_message: String,
    /// What it is about.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub resource_uuid: Option<String>,
    /// The request that failed.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub request_id: Option<String>,
    /// When.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
}

impl Listed for Message {
    const KEY: &'static str = "messages";
    const LINKS: &'static str = "messages_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// A group of volumes (from 3.13).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub name: Option<String>,
    /// Its state.
    pub status: Status,
    /// For people; here also for ourselves.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub description: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
    /// Its type's id.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub group_type: Option<String>,
    /// Its members (from 3.25, where they are asked for).
    #[serde(default, deserialize_with = "lenient::list")]
    pub volumes: Vec<String>,
}

impl Listed for Group {
    const KEY: &'static str = "groups";
    const LINKS: &'static str = "group_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// A type of groups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupType {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What a user may know of it, such as whether its snapshots are consistent.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub group_specs: BTreeMap<String, String>,
}

impl Listed for GroupType {
    const KEY: &'static str = "group_types";
    const LINKS: &'static str = "group_type_links";

    fn id(&self) -> &str {
        &self.id
    }
}

/// A snapshot of a group (from 3.14).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GroupSnapshot {
    /// Its id.
    pub id: String,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub name: Option<String>,
    /// Its state.
    pub status: Status,
    /// Of which group.
    pub group_id: String,
    /// When it was cut.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
}

impl Listed for GroupSnapshot {
    const KEY: &'static str = "group_snapshots";
    const LINKS: &'static str = "group_snapshot_links";

    fn id(&self) -> &str {
        &self.id
    }
}
