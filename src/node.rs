//! The node's use cases: stage, publish, expand, stats, health and their reverses.
//!
//! Everything can be asked twice, from the live kernel state alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::Connector;
use crate::error::{Error, Kind, Result};
use crate::flight::FlightStatus;
use crate::host::{Host, Usage};
use crate::metrics::Metrics;
use crate::volume::{Access, Attachment, BackendName, Bytes, Health, NodeId, SizeRange, Topology, VolumeId};

/// The node's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node's name in the cluster.
    pub name: String,
    /// Segments beside those that the back ends tell, such as zone and region.
    pub topology: Topology,
    /// Caps what is reported as the number of volumes this node can have.
    pub max_volumes: Option<u32>,
    /// The back end that takes over bare native ids, made by another driver.
    pub foreign: Option<BackendName>,
}

/// What NodeGetInfo tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// This node's id.
    pub id: NodeId,
    /// How many volumes it can have; `None`: no limit is known.
    pub max_volumes: Option<u32>,
    /// Where it is.
    pub topology: Topology,
}

/// NodeStageVolume, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which volume.
    pub volume: VolumeId,
    /// What the controller told of its attachment.
    pub attachment: Attachment,
    /// The staging directory, absolute, made by the caller.
    pub path: PathBuf,
    /// How it will be used.
    pub access: Access,
}

/// NodePublishVolume, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Which volume.
    pub volume: VolumeId,
    /// Where it is staged, absolute.
    pub staging: PathBuf,
    /// Where it is to appear, absolute; its parent exists.
    pub target: PathBuf,
    /// How it will be used.
    pub access: Access,
    /// Whether the workload must not write.
    pub readonly: bool,
}

/// NodeExpandVolume, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// Which volume.
    pub volume: VolumeId,
    /// Where it is published or staged (any text: what is not there is `NotFound`).
    pub path: PathBuf,
    /// The size that it has been given.
    pub size: SizeRange,
}

/// What NodeGetVolumeStats tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// Of a file system.
    FileSystem(Usage),
    /// Of a raw device: its size.
    Block(Bytes),
}

/// The node's use cases.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    host: Arc<dyn Host>,
    connectors: BTreeMap<BackendName, Arc<dyn Connector>>,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Puts the node together. Does no I/O.
    #[must_use]
    pub fn new(
        config: NodeConfig,
        host: Arc<dyn Host>,
        connectors: BTreeMap<BackendName, Arc<dyn Connector>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { config, host, connectors, metrics }
    }

    /// This node's id, cap and place.
    ///
    /// # Errors
    /// Where a back end cannot be joined.
    pub async fn info(&self) -> Result<NodeInfo> {
        Err(self.not_yet())
    }

    /// Connects, proves, formats and mounts (or only connects, for a raw device).
    ///
    /// # Errors
    /// See the module's parts.
    pub async fn stage(&self, _order: &Stage) -> Result<()> {
        Err(self.not_yet())
    }

    /// The reverse of [`Node::stage`].
    ///
    /// # Errors
    /// `Busy` while it is in use.
    pub async fn unstage(&self, _volume: &VolumeId, _path: &Path) -> Result<()> {
        Err(self.not_yet())
    }

    /// Makes a staged volume appear at a target.
    ///
    /// # Errors
    /// `FailedPrecondition` where it is not staged, `AlreadyExists` where it is published there otherwise.
    pub async fn publish(&self, _order: &Publish) -> Result<()> {
        Err(self.not_yet())
    }

    /// The reverse of [`Node::publish`]; the target is gone afterwards.
    ///
    /// # Errors
    /// `Busy` while it is in use.
    pub async fn unpublish(&self, _volume: &VolumeId, _target: &Path) -> Result<()> {
        Err(self.not_yet())
    }

    /// Grows device and file system to what the back end gave.
    ///
    /// # Errors
    /// `NotFound` where the volume is not at that path.
    pub async fn expand(&self, _order: &Expand) -> Result<Bytes> {
        Err(self.not_yet())
    }

    /// Use of a published or staged volume.
    ///
    /// # Errors
    /// `NotFound` where the volume is not at that path; `Timeout` on dead storage.
    pub async fn stats(&self, _volume: &VolumeId, _path: &Path) -> Result<Stats> {
        Err(self.not_yet())
    }

    /// The faults of a volume as this node sees them, also of one that was never staged.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn health(&self, _volume: &VolumeId) -> Result<Health> {
        Err(self.not_yet())
    }

    /// A volume's id from what the caller sent.
    ///
    /// # Errors
    /// `NotFound` for what cannot be an id of ours.
    pub fn volume_id(&self, text: &str) -> Result<VolumeId> {
        match &self.config.foreign {
            Some(backend) if !text.contains('/') => {
                text.parse().map(|native| VolumeId::new(backend.clone(), native))
            }
            _ => text.parse(),
        }
    }

    /// What is under way on this node.
    #[must_use]
    pub fn flights(&self) -> Vec<FlightStatus> {
        Vec::new()
    }

    fn not_yet(&self) -> Error {
        Error::refused(
            Kind::Unsupported,
            format!("{} {:?} {:?}", self.connectors.len(), self.host, self.metrics),
        )
    }
}
