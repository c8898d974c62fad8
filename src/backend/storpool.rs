//! StorPool: volumes that the hosts of a cluster have as block devices of their own.
//!
//! Nothing is kept here that must last: names and tags in StorPool say which volume is whose (see `names`), and what is
//! attached is what the cluster lists. Names are unique there, so to make something twice makes it once.

mod aside;
mod attach;
pub mod client;
mod conf;
pub mod config;
mod connector;
mod create;
mod health;
pub mod model;
mod names;
mod nodes;
mod parameters;
mod quota;
mod snapshots;
#[cfg(test)]
mod tests;
mod volumes;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::StorpoolConfig;
pub use connector::StorpoolConnector;
pub use nodes::{IDENTITY, Seat};

use crate::backend::turns::Turns;
use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, GroupOrder, Limits, Listing, Page,
    SnapshotFilter, SnapshotOrder, VolumeOrder,
};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::volume::{
    Attachment, GroupSnapshot, Health, NativeId, Parameters, SizeRange, Snapshot, Topology, Volume,
};
use attach::{Attacher, Way};
use client::Client;
use config::SIZES;
use nodes::Nodes;
use parameters::Class;

/// A client has at most so many volumes.
const PER_SERVER: u32 = 1024;

/// One cluster, and what is known of it.
#[derive(Debug)]
struct Cloud {
    client: Arc<Client>,
    config: StorpoolConfig,
    attacher: Attacher,
    nodes: Nodes,
    /// One piece of work at a time for each volume, snapshot and group: a delete that began before a create ends before it.
    turns: Turns,
    /// Held while a volume is made that counts against the operator's limits.
    making: tokio::sync::Mutex<()>,
}

impl Cloud {
    fn per_server(&self) -> u32 {
        self.config.per_server.unwrap_or(PER_SERVER).min(PER_SERVER)
    }
}

/// The controller's side of a cluster.
#[derive(Debug)]
pub struct StorpoolBackend {
    cloud: Cloud,
}

impl StorpoolBackend {
    /// What every cluster can do.
    pub const CAPABILITIES: Capabilities = Capabilities::ALL;

    /// Reads the token and asks whether the cluster can be used.
    ///
    /// # Errors
    /// What is wrong with the settings, or why the cluster cannot be used now.
    pub async fn open(name: &str, config: StorpoolConfig, metrics: Arc<Metrics>) -> Result<Self> {
        let client = Arc::new(Client::open(name, &config, metrics)?);
        let nodes = Nodes::new(client.is_everywhere(), client.cluster());
        let attacher = Attacher::new(&client, &config, &nodes);
        let (turns, making) = (Turns::default(), tokio::sync::Mutex::default());
        let cloud = Cloud { attacher, client, config, nodes, turns, making };
        let backend = Self { cloud };
        backend.ready().await?;
        Ok(backend)
    }
}

#[async_trait]
impl Backend for StorpoolBackend {
    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn limits(&self) -> Limits {
        let config = &self.cloud.config;
        Limits {
            sizes: SIZES,
            per_server: Some(self.cloud.per_server()),
            volumes: config.max_volumes,
            bytes: config.max_bytes,
        }
    }

    /// One request. A token that was replaced is taken over before it.
    async fn ready(&self) -> Result<()> {
        self.cloud.client.refresh()?;
        let services = self.cloud.client.services(None).await?;
        match services.is_running() {
            true => Ok(()),
            false => {
                let status = &services.cluster_status;
                let text = format!(
                    "the cluster is {status}: wait for the end of the maintenance, or see \"storpool service list\""
                );
                Err(Error::unknown(Kind::Unavailable, text))
            }
        }
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.cloud.create(order).await
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        self.cloud.delete(id.as_str()).await
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        self.cloud.get(id.as_str()).await
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        self.cloud.ids(id).await
    }

    async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        self.cloud.list(page).await
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        match self.cloud.way(&order.node).map_err(|error| error.with("volume", &order.volume))? {
            Way::Block => self.cloud.attach(order).await,
            Way::Iscsi(settings, initiator) => self.cloud.export(order, settings, initiator).await,
        }
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        self.cloud.detach(order).await
    }

    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        self.cloud.expand(id.as_str(), size).await
    }

    async fn modify(&self, id: &NativeId, parameters: &Parameters) -> Result<()> {
        self.cloud.modify(id.as_str(), parameters).await
    }

    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        self.cloud.create_snapshot(order).await
    }

    async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        self.cloud.delete_snapshot(id.as_str()).await
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.cloud.get_snapshot(id.as_str()).await
    }

    async fn list_snapshots(&self, filter: &SnapshotFilter, page: &Page) -> Result<Listing<Snapshot>> {
        self.cloud.list_snapshots(filter, page).await
    }

    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        self.cloud.create_group(order).await
    }

    async fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()> {
        self.cloud.delete_group(id.as_str(), members).await
    }

    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        self.cloud.get_group(id.as_str()).await
    }

    async fn capacity(&self, parameters: &Parameters, place: Option<&Topology>) -> Result<Capacity> {
        self.cloud.capacity(parameters, place).await
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        self.cloud.health(id.as_str()).await
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        Class::read(parameters, &Parameters::default()).map(drop)
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        Class::read_change(parameters).map(drop)
    }
}
