//! The embedded back end: volumes are sparse image files in a directory that every server sees.
//!
//! A listing that meets a damaged record fails and names the file: whoever reads a list takes what is missing in it for
//! deleted. Every other object can still be used by its id, and [`Backend::health`] tells of the damaged one.

mod client;
mod config;
mod connector;
mod model;

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;

pub use config::FileConfig;
pub use connector::FileConnector;

use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, GroupOrder, Limits, Listing, Page,
    SnapshotFilter, SnapshotOrder, VolumeOrder,
};
use crate::error::{Error, Result};
use crate::flight;
use crate::volume::{
    Attachment, Bytes, GroupSnapshot, Health, NativeId, Parameters, SizeRange, Snapshot, Topology, Volume,
};
use client::{Client, SIZES};

/// The controller's side of a directory of images.
#[derive(Debug)]
pub struct FileBackend {
    client: Arc<Client>,
}

impl FileBackend {
    /// What every directory can do. An image file has no knob that a running loop device would obey.
    pub const CAPABILITIES: Capabilities = Capabilities { modify: false, ..Capabilities::ALL };

    /// Opens the directory: makes its layout where it is empty, and removes what an earlier process left half-made.
    ///
    /// # Errors
    /// `FailedPrecondition` where the directory is not empty and not ours, or of another version; `InvalidArgument` for
    /// a thin factor below 1.
    pub async fn open(config: FileConfig) -> Result<Self> {
        if config.thin_factor.is_nan() || config.thin_factor < 1.0 {
            return Err(Error::invalid(format!(
                "the thin factor is {}: allowed is 1.0 or more",
                config.thin_factor
            )));
        }
        let open = || {
            let client = Client::open(config)?;
            client.sweep()?;
            Ok(Self { client: Arc::new(client) })
        };
        run("open", open).await
    }

    async fn with<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Client) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let client = Arc::clone(&self.client);
        flight::phase(operation);
        run(operation, move || work(&client)).await
    }
}

/// Runs `work` on a blocking thread, in this span. Goes on to its end also where the caller stops waiting.
async fn run<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    let entered = span.clone();
    tokio::task::spawn_blocking(move || entered.in_scope(work))
        .instrument(span)
        .await
        .map_err(|error| Error::internal("the work on the directory broke off").caused_by(error))
        .flatten()
        .map_err(|error| error.during(operation))
}

#[async_trait]
impl Backend for FileBackend {
    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    fn limits(&self) -> Limits {
        let config = &self.client.config;
        Limits {
            sizes: SIZES,
            per_server: config.per_server,
            volumes: config.max_volumes,
            bytes: config.max_bytes,
        }
    }

    async fn ready(&self) -> Result<()> {
        self.with("ready", Client::ready).await
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.check_parameters(&order.parameters)?;
        self.check_mutable(&order.mutable)?;
        let order = order.clone();
        self.with("create volume", move |client| client.create(&order)).await
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        let id = id.clone();
        self.with("delete volume", move |client| client.delete(&id)).await
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        let id = id.clone();
        self.with("get volume", move |client| client.get(&id)).await
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        Ok(vec![id.clone()])
    }

    async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        let page = page.clone();
        self.with("list volumes", move |client| client.list(&page)).await
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        let order = order.clone();
        self.with("attach", move |client| client.attach(&order)).await
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        let order = order.clone();
        self.with("detach", move |client| client.detach(&order)).await
    }

    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        let id = id.clone();
        self.with("expand", move |client| client.expand(&id, size)).await
    }

    async fn modify(&self, id: &NativeId, parameters: &Parameters) -> Result<()> {
        self.get(id).await?;
        self.check_mutable(parameters)
    }

    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        order.parameters.reader().finish()?;
        let order = order.clone();
        self.with("cut snapshot", move |client| client.create_snapshot(&order)).await
    }

    async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        let id = id.clone();
        self.with("delete snapshot", move |client| client.delete_snapshot(&id)).await
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        let id = id.clone();
        self.with("get snapshot", move |client| client.get_snapshot(&id)).await
    }

    async fn list_snapshots(&self, filter: &SnapshotFilter, page: &Page) -> Result<Listing<Snapshot>> {
        let (filter, page) = (filter.clone(), page.clone());
        self.with("list snapshots", move |client| client.list_snapshots(&filter, &page)).await
    }

    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        order.parameters.reader().finish()?;
        let order = order.clone();
        self.with("cut group snapshot", move |client| client.create_group(&order)).await
    }

    async fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()> {
        let (id, members) = (id.clone(), members.to_vec());
        self.with("delete group snapshot", move |client| client.delete_group(&id, &members)).await
    }

    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        let id = id.clone();
        self.with("get group snapshot", move |client| client.get_group(&id)).await
    }

    async fn capacity(&self, parameters: &Parameters, place: Option<&Topology>) -> Result<Capacity> {
        self.check_parameters(parameters)?;
        let reached = place.is_none_or(|place| self.client.config.reach.contains(place));
        let available =
            if reached { self.with("capacity", |client| client.left()).await? } else { Bytes::ZERO };
        let step = SIZES.step.get();
        let largest = Bytes::new(available.min(SIZES.max).get() / step * step);
        let largest = if largest < SIZES.min { Bytes::ZERO } else { largest };
        Ok(Capacity { available, largest, smallest: SIZES.min })
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        let id = id.clone();
        self.with("health", move |client| client.health(&id)).await
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        parameters.reader().finish()
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        parameters.reader().finish()
    }
}
