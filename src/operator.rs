//! What an operator does by hand: looks at volumes and servers, makes and removes volumes, and compares what the clouds
//! hold with what Kubernetes knows.
//!
//! It calls the controller's own use cases, in a process of its own beside the one that serves. Both may work on the same
//! volume: every back end keeps its promises whoever else calls the cloud.

mod claims;
mod facts;
mod progress;
mod reconcile;
mod records;
mod report;
mod server;
#[cfg(test)]
mod tests;
mod volume;

use std::sync::Arc;

pub use progress::Progress;
pub use records::{Claim, Hold, InUse, Records};
pub use report::Report;

use crate::backend::Page;
use crate::controller::{Controller, Found};
use crate::error::Result;
use crate::volume::{BackendName, Parameters, SizeRange, Topology, Volume};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Tell of all volumes, of one back end or of all.
    ListVolumes(Option<BackendName>),
    /// Tell what the back end knows of a volume.
    VolumeInfo(String),
    /// Tell all that anybody knows of a volume.
    InspectVolume(String),
    /// Make a volume.
    CreateVolume(NewVolume),
    /// Delete a volume for good.
    RemoveVolume(String),
    /// Tell which volumes a server has.
    InspectServer(String),
    /// Compare, and mend what can be mended without any doubt where `fix` is set.
    Reconcile {
        /// Of one back end or of all.
        backend: Option<BackendName>,
        /// Whether to mend.
        fix: bool,
    },
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// The name by which it is ordered: ordered twice, it is made once.
    pub name: String,
    /// How large.
    pub size: SizeRange,
    /// As a StorageClass would have them, with the back end.
    pub parameters: Parameters,
    /// From where it must be reachable.
    pub place: Option<Topology>,
    /// The id of a volume that it is to be a copy of.
    pub from_volume: Option<String>,
    /// The id of a snapshot that it is to be made from.
    pub from_snapshot: Option<String>,
}

/// Carries orders out.
#[derive(Debug)]
pub struct Operator {
    controller: Arc<Controller>,
    records: Option<Arc<dyn Records>>,
    alone: bool,
    progress: Progress,
}

impl Operator {
    /// Works through this controller, and asks these records where there are any. Does no I/O.
    #[must_use]
    pub fn new(controller: Arc<Controller>, records: Option<Arc<dyn Records>>, progress: Progress) -> Self {
        Self { controller, records, alone: false, progress }
    }

    /// The same, where it has been said that no cluster has a use for these volumes. Without records and without this, what
    /// a cluster may have a use for is not deleted.
    #[must_use]
    pub fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Carries an order out.
    ///
    /// # Errors
    /// What the back end or the API server says. A volume that Kubernetes has a use for is not removed:
    /// `FailedPrecondition`.
    pub async fn run(&self, order: Order) -> Result<Report> {
        match order {
            Order::ListVolumes(backend) => self.list_volumes(backend.as_ref()).await,
            Order::VolumeInfo(id) => self.volume_info(&id).await,
            Order::InspectVolume(id) => self.inspect_volume(&id).await,
            Order::CreateVolume(volume) => self.create_volume(volume).await,
            Order::RemoveVolume(id) => self.remove_volume(&id).await,
            Order::InspectServer(node) => self.inspect_server(&node).await,
            Order::Reconcile { backend, fix } => self.reconcile(backend.as_ref(), fix).await,
        }
    }

    /// All volumes, of one back end or of all.
    async fn volumes(&self, backend: Option<&BackendName>) -> Result<Vec<Found<Volume>>> {
        let all = Page::default();
        let mut found = self.progress.during("list volumes", self.controller.list(&all)).await?.items;
        found.retain(|volume| backend.is_none_or(|wanted| *wanted == volume.backend));
        Ok(found)
    }
}
