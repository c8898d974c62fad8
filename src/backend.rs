//! What the house asks of a cloud: [`Backend`] for the controller, [`Connector`] for the node.
//!
//! Both are object-safe and know nothing of CSI. The rules that every implementation keeps:
//!
//! - A call answers `Ok` only at the true end state: created means usable, deleted means gone, attached means
//!   that the node can open it, detached means that the node cannot.
//! - Every call may be repeated, also after a lost answer or the end of the process, and then gives the same result.
//! - An error has [`Outcome::Refused`](crate::error::Outcome) only where nothing exists or will appear.
//! - A call may take minutes. Its caller runs it as a flight of its own, so it is never cancelled half-way by a client.

pub mod cinder;
mod facts;
pub mod file;
mod late;
mod metered;
mod orders;
mod paging;
mod registry;
pub mod storpool;
mod turns;

use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;

pub use facts::{Capabilities, Capacity, Expanded, Expansion, Limits, Warning};
pub use late::{Late, Opener};
pub use metered::Metered;
pub use orders::{
    AttachOrder, DetachOrder, FencingProof, GroupOrder, Listing, Page, SnapshotFilter, SnapshotOrder,
    VolumeOrder,
};
pub use registry::{Backends, BackendsBuilder};

use crate::error::Result;
use crate::volume::{
    Attachment, Bytes, Content, GroupSnapshot, Health, Mark, NativeId, Parameters, SizeRange, Snapshot,
    Topology, Volume,
};

/// The controller's side of a cloud.
#[async_trait]
pub trait Backend: Debug + Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How much it holds.
    fn limits(&self) -> Limits;

    /// Whether it can be used now.
    ///
    /// # Errors
    /// Says what is missing.
    async fn ready(&self) -> Result<()>;

    /// What is wrong although calls are still answered, as it is now. Asks nobody.
    fn warning(&self) -> Option<Warning> {
        None
    }

    /// Makes the volume, or finds the one that an earlier try made.
    ///
    /// # Errors
    /// `AlreadyExists` for another volume of that name, `NotFound` for a missing source, `OutOfRange` for a size,
    /// `InvalidArgument` for a parameter, `ResourceExhausted` for no room or an unreachable topology.
    async fn create(&self, order: &VolumeOrder) -> Result<Volume>;

    /// Deletes it for good. Missing is `Ok`.
    ///
    /// # Errors
    /// `FailedPrecondition` while a node has it or a snapshot depends on it; it is then untouched.
    async fn delete(&self, id: &NativeId) -> Result<()>;

    /// Tells of one volume.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get(&self, id: &NativeId) -> Result<Volume>;

    /// Tells of all volumes that are ours.
    ///
    /// # Errors
    /// `BadToken`.
    async fn list(&self, page: &Page) -> Result<Listing<Volume>>;

    /// Attaches, or finds the attachment that an earlier try made. The same order gives the same attachment.
    ///
    /// # Errors
    /// `NotFound` for the volume or the node (its context says which), `AlreadyExists` where the node has it otherwise,
    /// `FailedPrecondition` where another node has it (named), `ResourceExhausted` for the node's cap.
    async fn attach(&self, order: &AttachOrder) -> Result<Attachment>;

    /// Detaches. Not attached, or gone, is `Ok`.
    ///
    /// # Errors
    /// `Busy` while a node holds it open and no fencing proof is given, as soon as that is seen: only then is a proof
    /// looked for, and the order given again with it.
    async fn detach(&self, order: &DetachOrder) -> Result<()>;

    /// Grows it to a size in the range. Large enough already is `Ok` with the size that it has.
    ///
    /// # Errors
    /// `NotFound`, `OutOfRange`, `ResourceExhausted`, `FailedPrecondition` where it can grow only detached.
    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded>;

    /// Changes parameters; keys that are absent stay. All or nothing.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` naming the bad key.
    async fn modify(&self, id: &NativeId, parameters: &Parameters) -> Result<()>;

    /// Cuts a snapshot, or finds the one that an earlier try cut.
    ///
    /// # Errors
    /// `NotFound` for the volume, `AlreadyExists` for that name on another volume, `ResourceExhausted`,
    /// `FailedPrecondition` where no consistent snapshot can be cut in this state.
    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot>;

    /// Deletes it. Missing is `Ok`.
    ///
    /// # Errors
    /// `FailedPrecondition` while it is in use; `InvalidArgument` for a member of a group snapshot.
    async fn delete_snapshot(&self, id: &NativeId) -> Result<()>;

    /// Tells of one snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot>;

    /// Tells of the snapshots that pass the filter.
    ///
    /// # Errors
    /// `BadToken`.
    async fn list_snapshots(&self, filter: &SnapshotFilter, page: &Page) -> Result<Listing<Snapshot>>;

    /// Cuts snapshots of all the volumes at one moment, or finds those that an earlier try cut.
    ///
    /// # Errors
    /// `NotFound` for a volume, `AlreadyExists` for that name on other volumes, `FailedPrecondition` where no
    /// write-order consistent cut is possible. Partial snapshots are gone before it answers.
    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot>;

    /// Deletes a group snapshot with its members. Missing is `Ok`. `members` is what the caller believes to be in it.
    ///
    /// # Errors
    /// `InvalidArgument` where the members are others, `FailedPrecondition` while one is in use.
    async fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()>;

    /// Tells of one group snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot>;

    /// The room that is left for volumes with these parameters, reachable from `place`.
    ///
    /// # Errors
    /// `InvalidArgument` for a parameter.
    async fn capacity(&self, parameters: &Parameters, place: Option<&Topology>) -> Result<Capacity>;

    /// All ids that mean this volume, the one that is asked for among them: whoever uses it may know it by another one.
    ///
    /// # Errors
    /// `NotFound` where the back end asks for it to know; why it does not tell.
    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>>;

    /// The faults of a volume.
    ///
    /// # Errors
    /// `NotFound`.
    async fn health(&self, id: &NativeId) -> Result<Health>;

    /// Whether these parameters could make a volume. Nothing is made.
    ///
    /// # Errors
    /// `InvalidArgument` naming key, value and what is allowed.
    fn check_parameters(&self, parameters: &Parameters) -> Result<()>;

    /// Whether these mutable parameters could be set.
    ///
    /// # Errors
    /// `InvalidArgument` naming key, value and what is allowed.
    fn check_mutable(&self, parameters: &Parameters) -> Result<()>;
}

/// A block device on this node, proven to be the volume's when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its node in `/dev`.
    pub path: PathBuf,
    /// Its device number, to be compared again after open.
    pub number: u64,
    /// Its size.
    pub size: Bytes,
}

/// What a connector tells of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Kind and value of this node's identity in the cloud, such as (`nova`, uuid).
    pub identity: Option<(String, String)>,
    /// Where this node is, in the back end's own segments.
    pub topology: Topology,
    /// Volumes that this node can have at once, less what is there and not ours.
    pub max_volumes: Option<u32>,
}

/// The node's side of a cloud. Holds no credentials.
#[async_trait]
pub trait Connector: Debug + Send + Sync {
    /// Makes this node known to the back end where that is needed, and tells what it is there.
    ///
    /// # Errors
    /// Says why this node cannot be one of the back end's servers.
    async fn join(&self) -> Result<Presence>;

    /// Whether what [`Connector::join`] tells has an identity in it, so that this node's id is not whole without it.
    fn tells_identity(&self) -> bool {
        true
    }

    /// Brings the attached volume up as a device and proves that it is the right one. Waits for a device that is late.
    ///
    /// # Errors
    /// `NotFound` for a missing volume, `FailedPrecondition` where it is not attached (any more) as told,
    /// `Unavailable` where the device did not appear in time.
    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device>;

    /// The device of a volume that is connected now.
    ///
    /// # Errors
    /// Only where this cannot be found out.
    async fn find(&self, volume: &NativeId) -> Result<Option<Device>>;

    /// Makes the device show the volume's present size; waits until it has at least `size`.
    ///
    /// # Errors
    /// `NotFound` where it is not connected, `Unavailable` where the size did not appear in time.
    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device>;

    /// Lets go of the device. Not connected is `Ok`. When it answers, nothing on this node writes any more.
    ///
    /// # Errors
    /// `Busy` while something has the device open.
    async fn disconnect(&self, volume: &NativeId) -> Result<()>;

    /// The mark that a file system made on the volume must bear, where the disk alone does not tell whose it is; `None`
    /// where it does.
    fn mark(&self, _volume: &NativeId) -> Option<Mark> {
        None
    }

    /// What the back end's record says of the volume's content now, and will still say after a loss of power. `None`
    /// where the cloud keeps no such record that a node can read.
    ///
    /// # Errors
    /// `NotFound` for a missing volume; where the record cannot be read.
    async fn content(&self, volume: &NativeId) -> Result<Option<Content>>;

    /// Records, durably, that the volume was proven blank and that mkfs is about to begin: [`Content::Formatting`].
    /// No-op where the cloud keeps no such record that a node may write.
    ///
    /// # Errors
    /// `FailedPrecondition` where the record says that it holds data, `NotFound` for a missing volume; where the record
    /// cannot be written.
    async fn mark_formatting(&self, volume: &NativeId) -> Result<()>;

    /// Records, durably, that the volume has been formatted, or may be written from now on, and must never be formatted
    /// again: [`Content::Data`]. No-op where the cloud keeps no such record that a node may write.
    ///
    /// # Errors
    /// `NotFound` for a missing volume; where the record cannot be written.
    async fn mark_formatted(&self, volume: &NativeId) -> Result<()>;

    /// The faults of a volume as this node sees them.
    ///
    /// # Errors
    /// `NotFound` for a volume that does not exist.
    async fn health(&self, volume: &NativeId) -> Result<Health>;
}
