//! Clouds with OpenStack's block storage: Cinder for the volumes, Nova for the servers that get them.
//!
//! Nothing is kept here that must last: names and notes in the cloud say which volume is whose (see `notes`), and every
//! call begins with what the cloud says now. A name has one volume although Cinder's names are not unique (see
//! `twins`).

pub mod attach;
pub mod client;
pub mod config;
pub mod connector;
mod create;
pub mod credentials;
mod delete;
pub mod dialect;
mod explain;
mod groups;
mod grow;
mod health;
pub mod identity;
mod kinds;
mod listing;
pub mod model;
mod modify;
mod moment;
mod newcomers;
mod nodes;
mod notes;
mod parameters;
mod quota;
mod snapshots;
mod suspects;
#[cfg(test)]
mod tests;
mod translate;
mod twins;
mod wait;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

pub use config::CinderConfig;
pub use nodes::{IDENTITY, Nodes};
pub use translate::content;

use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, Expansion, GroupOrder, Limits,
    Listing, Page, SnapshotFilter, SnapshotOrder, VolumeOrder, Warning, turns,
};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::volume::{
    Attachment, GroupSnapshot, Health, NativeId, Parameters, SizeRange, Snapshot, Topology, Volume,
};
use attach::Attacher;
use client::Client;
use credentials::Heritage;
use dialect::Dialect;
use identity::{Microversion, Service, Session};
use model::{AbsoluteLimits, Zone};
use watch::Watcher;

/// What the cloud's version of the API can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Features {
    /// Grow volumes that servers have.
    grow_in_use: bool,
    /// Tell which service holds a volume.
    services: bool,
}

/// One cloud, and what is known of it.
#[derive(Debug)]
struct Cloud {
    client: Client,
    config: CinderConfig,
    session: Arc<Session>,
    watcher: Watcher,
    attacher: Attacher,
    features: Features,
    nodes: Nodes,
    turns: turns::Turns,
    newcomers: newcomers::Newcomers,
    suspects: suspects::Suspects,
    types: Arc<explain::Types>,
    /// Group types that promise consistent snapshots.
    group_types: Vec<model::GroupType>,
    zones: Vec<Zone>,
    limits: Lately<AbsoluteLimits>,
    quotas: Lately<BTreeMap<String, i64>>,
}

/// What was told, and when.
type Lately<T> = tokio::sync::Mutex<Option<(Instant, T)>>;

impl Cloud {
    const fn dialect(&self) -> &'static Dialect {
        self.config.dialect
    }

    fn heritage(&self) -> Heritage {
        self.session.access().credentials().heritage
    }
}

/// The controller's side of a cloud.
#[derive(Debug)]
pub struct CinderBackend {
    cloud: Arc<Cloud>,
}

impl CinderBackend {
    /// Logs in and asks what the cloud has; its credentials are watched from then on.
    ///
    /// # Errors
    /// What is wrong with the credentials, or why the cloud cannot be used now.
    pub async fn open(name: &str, config: CinderConfig, metrics: Arc<Metrics>) -> Result<Self> {
        let session = Arc::new(Session::open(name, config.clone(), metrics)?);
        let client = Client::new(Arc::clone(&session));
        let endpoint = client.endpoint(Service::Volume).await?;
        if endpoint.major < 2 && config.dialect == Dialect::OPENSTACK {
            let text = "the cloud's block storage speaks version 1 of its API, which is not OpenStack's any more: say in \
                        \"dialect\" what kind of cloud it is";
            return Err(Error::unknown(Kind::FailedPrecondition, text).with("backend", name));
        }
        let features = Features {
            grow_in_use: endpoint.has(Microversion(3, 42)),
            services: endpoint.has(Microversion(3, 48)),
        };
        let types = Arc::new(explain::Types::default());
        types.set(client.volume_types().await?);
        let zones = client.volume_zones().await?;
        let group_types = groups::consistent_types(&client, &config.consistent_group_types).await?;
        tokio::spawn(Session::watch(Arc::downgrade(&session)));
        let heritage = session.access().credentials().heritage;
        let config = CinderConfig { per_server: config.per_server.or(heritage.per_server), ..config };
        let watcher = Watcher::new(&client);
        let cloud = Cloud {
            attacher: Attacher::new(&client, &watcher, config.clone()).with_types(Arc::clone(&types)),
            watcher,
            client,
            config,
            session,
            features,
            nodes: Nodes::default(),
            turns: turns::Turns::default(),
            newcomers: newcomers::Newcomers::default(),
            suspects: suspects::Suspects::default(),
            types,
            group_types,
            zones: zones.into_iter().filter(|zone| zone.state.available).collect(),
            limits: Lately::default(),
            quotas: Lately::default(),
        };
        Ok(Self { cloud: Arc::new(cloud) })
    }
}

#[async_trait]
impl Backend for CinderBackend {
    fn capabilities(&self) -> Capabilities {
        let kind = self.cloud.dialect().capabilities();
        let grows = if self.cloud.features.grow_in_use { Expansion::Online } else { Expansion::Offline };
        Capabilities {
            group_snapshots: kind.group_snapshots && !self.cloud.group_types.is_empty(),
            expansion: kind.expansion.min(grows),
            multi_attach: kind.multi_attach && self.cloud.types.any_shared(),
            ..kind
        }
    }

    fn limits(&self) -> Limits {
        let config = &self.cloud.config;
        Limits {
            sizes: self.cloud.sizes(None),
            per_server: config.per_server.or(config.dialect.per_server),
            volumes: config.max_volumes,
            bytes: config.max_bytes,
        }
    }

    /// One request, which also tells of new types.
    async fn ready(&self) -> Result<()> {
        self.cloud.types.set(self.cloud.client.volume_types().await?);
        Ok(())
    }

    fn warning(&self) -> Option<Warning> {
        self.cloud.session.warning()
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.cloud.create(order).await
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        self.cloud.remove(id.as_str()).await
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        self.cloud.volume(&self.cloud.client.volume(id.as_str()).await?)
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        Ok(vec![id.clone()])
    }

    async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        self.cloud.list(page).await
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        self.cloud.nodes.learn(&order.node);
        self.cloud.attacher.attach(order).await.map_err(|error| self.cloud.nodes.name_in(error))
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        self.cloud.attacher.detach(order).await.map_err(|error| self.cloud.nodes.name_in(error))
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
        self.cloud.delete_snapshot(id).await
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.cloud.get_snapshot(id).await
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
        let class = parameters::Class::read(self.cloud.dialect(), parameters, &Parameters::default())?;
        self.cloud.capacity(class.volume_type.as_deref(), place).await
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        self.cloud.health(id.as_str()).await
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        parameters::Class::read(self.cloud.dialect(), parameters, &Parameters::default()).map(drop)
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        parameters::Change::read(parameters).map(drop)
    }
}
