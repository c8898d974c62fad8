//! What a cloud keeps.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::table::Row;

/// When, since 1970.
pub type Moment = Duration;

/// What was noted about an object.
pub type Metadata = BTreeMap<String, String>;

/// A volume. Its state is Cinder's text for it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Who made it.
    pub user: String,
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: &'static str,
    /// GiB.
    pub size: u64,
    /// Its type's id.
    pub kind: String,
    /// Its zone.
    pub zone: String,
    /// When it was made.
    pub created: Moment,
    /// When it last changed.
    pub updated: Option<Moment>,
    /// What it was made from.
    pub snapshot: Option<String>,
    /// What it was made from.
    pub source: Option<String>,
    /// What it was made from.
    pub image: Option<String>,
    /// What it was made from.
    pub backup: Option<String>,
    /// Of which group it is.
    pub group: Option<String>,
    /// What was noted about it.
    pub metadata: Metadata,
    /// Whether a server can start from it.
    pub bootable: bool,
    /// Whether it can only be read by those that get it from now on.
    pub readonly: bool,
    /// Which service holds it; noted a moment after it is `available`.
    pub service: Option<String>,
    /// The server on which it was made, where it was made on one.
    pub server: Option<String>,
    /// Whether a server ever had it.
    pub written: bool,
    /// Cyclades keeps what was deleted.
    pub deleted: bool,
    /// What its state was before the work that is under way.
    pub before: &'static str,
}

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Who made it.
    pub user: String,
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: &'static str,
    /// GiB.
    pub size: u64,
    /// Of which volume.
    pub volume: String,
    /// Of which group snapshot.
    pub cut: Option<String>,
    /// When it was made.
    pub created: Moment,
    /// When it last changed.
    pub updated: Option<Moment>,
    /// What was noted about it.
    pub metadata: Metadata,
}

/// A backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: &'static str,
    /// GiB of the volume.
    pub size: u64,
    /// Of which volume.
    pub volume: String,
    /// Of which snapshot.
    pub snapshot: Option<String>,
    /// On which backup it builds.
    pub parent: Option<String>,
    /// Where it is kept.
    pub container: Option<String>,
    /// When it was made.
    pub created: Moment,
    /// When it last changed.
    pub updated: Option<Moment>,
    /// What was noted about it.
    pub metadata: Metadata,
    /// Why it failed.
    pub failure: Option<String>,
}

/// An attachment as Cinder keeps it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its id.
    pub id: String,
    /// The volume.
    pub volume: String,
    /// The server, where it is for one.
    pub server: Option<String>,
    /// `reserved`, `attaching` or `attached`.
    pub status: &'static str,
    /// Whether the storage has been told of the host.
    pub connected: bool,
    /// The mode, where one was given.
    pub mode: String,
    /// What the device may be called.
    pub device: Option<String>,
    /// Since when the server has it.
    pub attached: Option<Moment>,
}

/// A disk as Nova keeps it: a block device mapping.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its own id.
    pub id: String,
    /// The volume.
    pub volume: String,
    /// The attachment in Cinder, once there is one.
    pub attachment: Option<String>,
    /// What the device may be called.
    pub device: String,
    /// Whether the volume goes with the server.
    pub with_server: bool,
    /// What the caller calls it.
    pub tag: Option<String>,
}

/// Work on a server, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Plugs the volume of this attachment.
    Attach(String),
    /// Unplugs this volume.
    Detach(String),
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// ACTIVE, SHUTOFF, ...
    pub status: String,
    /// active, stopped, ...
    pub vm_state: String,
    /// What Nova is doing with it.
    pub task_state: Option<String>,
    /// What was noted about it.
    pub metadata: Metadata,
    /// When it was made.
    pub created: Moment,
    /// Its disks that are volumes.
    pub disks: Vec<Disk>,
    /// What was done with it, oldest first.
    pub actions: Vec<Action>,
    /// Whether its compute service works.
    pub compute: bool,
    /// What is being done now.
    pub working: Option<Work>,
    /// What waits for its turn.
    pub waiting: VecDeque<(Work, super::Caller)>,
    /// Volumes whose disk a compute service that did not answer is still to note.
    pub late_disks: Vec<String>,
}

/// Something that was done with a server.
#[derive(Clone, Debug)]
pub struct Action {
    /// Such as `attach_volume`.
    pub action: &'static str,
    /// The request that asked for it.
    pub request: String,
    /// `Error` where it failed.
    pub message: Option<&'static str>,
    /// When.
    pub at: Moment,
}

/// A group of volumes.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: &'static str,
    /// Its type's id.
    pub kind: String,
    /// The types of its volumes, by id.
    pub volume_types: Vec<String>,
    /// Its zone.
    pub zone: String,
    /// When it was made.
    pub created: Moment,
}

/// A snapshot of a group.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its state.
    pub status: &'static str,
    /// Of which group.
    pub group: String,
    /// That group's type.
    pub kind: String,
    /// When it was made.
    pub created: Moment,
}

/// Why something failed, as users are told.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Of which project.
    pub project: String,
    /// What kind of object it is about, such as VOLUME.
    pub about: &'static str,
    /// Which.
    pub object: String,
    /// Cinder's id of the event.
    pub event: &'static str,
    /// The text.
    pub text: String,
    /// The request that failed.
    pub request: String,
    /// When.
    pub created: Moment,
}

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// What is sent.
    pub secret: String,
    /// The project's id.
    pub project: String,
    /// The user's id.
    pub user: String,
    /// Until when it is good.
    pub end: Moment,
}

macro_rules! rows {
    ($($kind:ty => $field:ident),* $(,)?) => {
        $(impl Row for $kind {
            fn id(&self) -> &str {
                &self.$field
            }
        })*
    };
}

rows! {
    Volume => id, Snapshot => id, Backup => id, Attachment => id, Server => id, Group => id, Cut => id, Message => id,
    Token => secret,
}

impl Volume {
    /// As JSON, for those who look from outside of the cloud's own API.
    #[must_use]
    pub fn summary(&self) -> Value {
        serde_json::json!({"id": self.id, "name": self.name, "status": self.status, "size": self.size})
    }
}
