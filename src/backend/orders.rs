//! What a back end is asked for.

use crate::error::{Error, Kind, Result};
use crate::volume::{
    Access, NativeId, NodeId, Owner, Parameters, SizeRange, Source, TopologyRequirement, Volume,
};

/// An order for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeOrder {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The sizes that are acceptable.
    pub size: SizeRange,
    /// What it is to be made from.
    pub source: Option<Source>,
    /// How it will be used.
    pub access: Vec<Access>,
    /// From the StorageClass, less what the controller itself reads.
    pub parameters: Parameters,
    /// From the VolumeAttributesClass; these win over `parameters`.
    pub mutable: Parameters,
    /// From where it must be reachable.
    pub topology: TopologyRequirement,
    /// Whose it will be.
    pub owner: Owner,
}

impl VolumeOrder {
    /// Whether a volume that already has this name is the one that is ordered.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] saying what differs (CSI spec, CreateVolume).
    pub fn check(&self, volume: &Volume) -> Result<()> {
        let differs =
            |what: String| Err(Error::refused(Kind::AlreadyExists, what).with("volume", &volume.id));
        if !self.size.accepts(volume.size) {
            return differs(format!(
                "a volume named {:?} exists with another size, {}",
                self.name, volume.size
            ));
        }
        if self.source != volume.source {
            return differs(format!(
                "a volume named {:?} exists with another source, {:?}",
                self.name, volume.source
            ));
        }
        if !self.topology.met_by(&volume.reach) {
            return differs(format!(
                "a volume named {:?} exists that cannot be reached from there",
                self.name
            ));
        }
        Ok(())
    }
}

/// An order to attach a volume to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOrder {
    /// Which volume.
    pub volume: NativeId,
    /// To which node.
    pub node: NodeId,
    /// How it will be used there. Several nodes get it only if the mode of each allows that.
    pub access: Access,
    /// Whether the node must not write.
    pub readonly: bool,
}

/// Why it is certain that a node no longer writes, although it did not let go of the volume by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FencingProof {
    /// The cluster's administrator tainted the node as out of service (it is switched off).
    OutOfService,
    /// The node's object is gone from the cluster.
    NodeDeleted,
    /// An operator said so, by command.
    Operator,
}

/// An order to take a volume from one node or from all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachOrder {
    /// Which volume.
    pub volume: NativeId,
    /// From which node; `None`: from every node.
    pub node: Option<NodeId>,
    /// Without a proof, a node that still holds the volume open keeps it.
    pub fence: Option<FencingProof>,
}

/// An order for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The volume to cut it from.
    pub volume: NativeId,
    /// From the VolumeSnapshotClass.
    pub parameters: Parameters,
}

/// An order for snapshots of several volumes at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOrder {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The volumes, without repetition, in any order.
    pub volumes: Vec<NativeId>,
    /// From the VolumeGroupSnapshotClass.
    pub parameters: Parameters,
}

/// Which snapshots to list; all where both are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Only this one.
    pub snapshot: Option<NativeId>,
    /// Only those of this volume.
    pub volume: Option<NativeId>,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many items; `None`: all.
    pub max: Option<usize>,
    /// Where the page before ended, from [`Listing::next`].
    pub token: Option<String>,
}

/// A page of items, in a stable order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end. Stays good when an item is deleted.
    pub next: Option<String>,
}
