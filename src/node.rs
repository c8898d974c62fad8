//! The node's use cases: stage, publish, expand, stats, health and their reverses.
//!
//! Everything can be asked twice, from the live kernel state alone: the mount table says what is mounted, the connector
//! says which device is the volume's. What changes something runs as one flight per volume, so that a cancelled call is
//! finished all the same and two calls never work on one volume at once.

mod core;
mod expand;
#[cfg(test)]
mod fake;
mod format;
mod health;
mod info;
mod join;
#[cfg(test)]
pub(crate) mod model;
mod mounted;
mod options;
mod publish;
mod stage;
mod stats;
#[cfg(test)]
mod tests;
mod unpublish;
mod unstage;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::backend::Connector;
use crate::error::{Error, Result};
use crate::flight::{FlightStatus, Flights};
use crate::host::{Host, Usage};
use crate::metrics::Metrics;
use crate::volume::{
    Access, AccessKind, Attachment, BackendName, Bytes, Health, NodeId, SizeRange, Topology, VolumeId,
};

use self::core::Core;

/// Every failpoint of the node, in the order of a volume's life: the crash test ends the process at each of them.
pub const STEPS: &[&str] = &[
    "stage.connected",
    "stage.checked",
    "stage.proved",
    "stage.intent-begun",
    "stage.intent",
    "stage.formatting-marked",
    "stage.formatted",
    "stage.marked",
    "stage.intent-removed",
    "stage.grown",
    "stage.mounted",
    "publish.made-target",
    "publish.readonly",
    "publish.bound",
    "expand.refreshed",
    "expand.grown",
    "unpublish.unmounted",
    "unpublish.removed",
    "unstage.unmounted",
    "unstage.intent-removed",
    "unstage.disconnected",
];

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

/// What a flight ends with.
#[derive(Clone, Copy, Debug)]
enum Landed {
    /// It is done.
    Done,
    /// The size of the volume now.
    Size(Bytes),
}

/// The node's use cases.
#[derive(Debug)]
pub struct Node {
    core: Arc<Core>,
    flights: Flights<Landed>,
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
        Self { core: Arc::new(Core::new(config, host, connectors, metrics)), flights: Flights::default() }
    }

    /// This node's id, cap and place.
    ///
    /// # Errors
    /// Where a back end that matters cannot be joined (see [`Node::renewal`]).
    pub async fn info(&self) -> Result<NodeInfo> {
        self.core.info().await
    }

    /// Makes this node known to a back end, however long that takes.
    ///
    /// # Errors
    /// Where it cannot be joined.
    pub async fn join(&self, backend: &BackendName) -> Result<()> {
        self.core.join(backend).await.map(drop)
    }

    /// Notified each time that [`Node::info`] would tell of a back end that it left out before. Whoever asks for this
    /// promises to see to it that the cluster asks again; where nobody does, no back end is left out.
    #[must_use]
    pub fn renewal(&self) -> Arc<Notify> {
        self.core.joins.renewal()
    }

    /// Connects, proves, formats and mounts (or only connects, for a raw device).
    ///
    /// # Errors
    /// `InvalidArgument` for a flag that reaches beyond this mount; `NotFound` for the volume; `AlreadyExists` where it
    /// or something else is staged there otherwise; `FailedPrecondition` where it is not attached, is not what was
    /// ordered or may hold data; `Busy` while something has the device. After a refusal nothing is left behind.
    pub async fn stage(&self, order: &Stage) -> Result<()> {
        let (core, own) = (Arc::clone(&self.core), order.clone());
        let arguments = format!("stage {order:?} {}", fingerprint(&order.access));
        self.fly(&order.volume, arguments, async move { core.stage(&own).await }).await
    }

    /// The reverse of [`Node::stage`]. Not staged is `Ok`, whatever became of the volume.
    ///
    /// # Errors
    /// `FailedPrecondition` while it is published (the targets are named); `Busy` while it is in use.
    pub async fn unstage(&self, volume: &VolumeId, path: &Path) -> Result<()> {
        let (core, id, at) = (Arc::clone(&self.core), volume.clone(), path.to_owned());
        self.fly(volume, format!("unstage {path:?}"), async move { core.unstage(&id, &at).await }).await
    }

    /// Makes a staged volume appear at a target.
    ///
    /// # Errors
    /// `FailedPrecondition` where it is not staged or the access mode allows no further target, `AlreadyExists` where
    /// something is published there otherwise. After a refusal nothing is left behind.
    pub async fn publish(&self, order: &Publish) -> Result<()> {
        let (core, own) = (Arc::clone(&self.core), order.clone());
        let arguments = format!("publish {order:?} {}", fingerprint(&order.access));
        self.fly(&order.volume, arguments, async move { core.publish(&own).await }).await
    }

    /// The reverse of [`Node::publish`]; the target is gone afterwards. Not published is `Ok`.
    ///
    /// # Errors
    /// `Busy` while it is in use.
    pub async fn unpublish(&self, volume: &VolumeId, target: &Path) -> Result<()> {
        let (core, at) = (Arc::clone(&self.core), target.to_owned());
        self.fly(volume, format!("unpublish {target:?}"), async move { core.unpublish(&at).await }).await
    }

    /// Grows device and file system to what the back end gave, and tells the size of the device.
    ///
    /// # Errors
    /// `NotFound` where the volume is not at that path; `FailedPrecondition` where it is mounted read-only everywhere.
    pub async fn expand(&self, order: &Expand) -> Result<Bytes> {
        let (core, own) = (Arc::clone(&self.core), order.clone());
        let work = async move { core.expand(&own).await.map(Landed::Size) };
        match self.flights.run(order.volume.to_string(), format!("{order:?}"), work).await? {
            Landed::Size(size) => Ok(size),
            Landed::Done => Err(Error::internal("an expansion ended without a size")),
        }
    }

    /// Use of a published or staged volume.
    ///
    /// # Errors
    /// `NotFound` where the volume is not at that path; `Timeout` on dead storage.
    pub async fn stats(&self, volume: &VolumeId, path: &Path) -> Result<Stats> {
        self.core.stats(volume, path).await
    }

    /// The faults of a volume as this node sees them, also of one that was never staged.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn health(&self, volume: &VolumeId) -> Result<Health> {
        self.core.health(volume).await
    }

    /// A volume's id from what the caller sent.
    ///
    /// # Errors
    /// `NotFound` for what cannot be an id of ours.
    pub fn volume_id(&self, text: &str) -> Result<VolumeId> {
        VolumeId::adopt(text, self.core.config.foreign.as_ref())
    }

    /// What is under way on this node.
    #[must_use]
    pub fn flights(&self) -> Vec<FlightStatus> {
        self.flights.status()
    }

    async fn fly(
        &self,
        volume: &VolumeId,
        arguments: String,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let work = async move { work.await.map(|()| Landed::Done) };
        self.flights.run(volume.to_string(), arguments, work).await.map(drop)
    }
}

/// Tells mount flags apart, which `Debug` rightly does not.
fn fingerprint(access: &Access) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let AccessKind::Mount { flags, .. } = &access.kind {
        flags.iter().for_each(|flag| flag.hash(&mut hasher));
    }
    hasher.finish()
}
