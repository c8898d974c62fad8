//! A decorator that counts and times every call to a back end, and names the back end in its errors.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, GroupOrder, Limits, Listing, Page,
    SnapshotFilter, SnapshotOrder, VolumeOrder, Warning,
};
use crate::error::{Kind, Result};
use crate::metrics::Metrics;
use crate::volume::{
    Attachment, BackendName, GroupSnapshot, Health, NativeId, Parameters, SizeRange, Snapshot, Topology,
    Volume,
};

/// A back end that is watched.
#[derive(Debug)]
pub struct Metered {
    name: BackendName,
    inner: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Watches `inner`, which is configured as `name`.
    #[must_use]
    pub fn new(name: BackendName, inner: Arc<dyn Backend>, metrics: Arc<Metrics>) -> Self {
        Self { name, inner, metrics }
    }

    async fn watch<T>(&self, call: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let result = work.await;
        let outcome = result.as_ref().err().map_or("ok", |error| label(error.kind()));
        self.metrics.backend_call(self.name.as_str(), call, outcome, started.elapsed());
        result.map_err(|error| error.with("backend", &self.name))
    }
}

/// A kind as a label of the metrics.
const fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidArgument => "invalid_argument",
        Kind::NotFound => "not_found",
        Kind::AlreadyExists => "already_exists",
        Kind::FailedPrecondition => "failed_precondition",
        Kind::ResourceExhausted => "resource_exhausted",
        Kind::OutOfRange => "out_of_range",
        Kind::Unsupported => "unsupported",
        Kind::PermissionDenied => "permission_denied",
        Kind::Unauthenticated => "unauthenticated",
        Kind::Busy => "busy",
        Kind::BadToken => "bad_token",
        Kind::Timeout => "timeout",
        Kind::Unavailable => "unavailable",
        Kind::Internal => "internal",
    }
}

#[async_trait]
impl Backend for Metered {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn ready(&self) -> Result<()> {
        let ready = self.watch("ready", self.inner.ready()).await;
        self.metrics.backend_ready(self.name.as_str(), ready.is_ok());
        ready
    }

    fn warning(&self) -> Option<Warning> {
        self.inner.warning()
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.watch("create", self.inner.create(order)).await
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        self.watch("delete", self.inner.delete(id)).await
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        self.watch("get", self.inner.get(id)).await
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        self.watch("ids", self.inner.ids(id)).await
    }

    async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        self.watch("list", self.inner.list(page)).await
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        self.watch("attach", self.inner.attach(order)).await
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        self.watch("detach", self.inner.detach(order)).await
    }

    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        self.watch("expand", self.inner.expand(id, size)).await
    }

    async fn modify(&self, id: &NativeId, parameters: &Parameters) -> Result<()> {
        self.watch("modify", self.inner.modify(id, parameters)).await
    }

    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        self.watch("create_snapshot", self.inner.create_snapshot(order)).await
    }

    async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        self.watch("delete_snapshot", self.inner.delete_snapshot(id)).await
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.watch("get_snapshot", self.inner.get_snapshot(id)).await
    }

    async fn list_snapshots(&self, filter: &SnapshotFilter, page: &Page) -> Result<Listing<Snapshot>> {
        self.watch("list_snapshots", self.inner.list_snapshots(filter, page)).await
    }

    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        self.watch("create_group", self.inner.create_group(order)).await
    }

    async fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()> {
        self.watch("delete_group", self.inner.delete_group(id, members)).await
    }

    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        self.watch("get_group", self.inner.get_group(id)).await
    }

    async fn capacity(&self, parameters: &Parameters, place: Option<&Topology>) -> Result<Capacity> {
        self.watch("capacity", self.inner.capacity(parameters, place)).await
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        self.watch("health", self.inner.health(id)).await
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        self.inner.check_parameters(parameters).map_err(|error| error.with("backend", &self.name))
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        self.inner.check_mutable(parameters).map_err(|error| error.with("backend", &self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fake::Fake;

    #[tokio::test]
    async fn calls_are_counted_by_result_and_errors_name_the_back_end() {
        let metrics = Arc::new(Metrics::default());
        let watched = Metered::new("here".parse().unwrap(), Arc::new(Fake::default()), Arc::clone(&metrics));
        watched.ready().await.unwrap();
        let error = watched.get(&"gone".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("backend=here"), "{error}");
        let page = metrics.encode();
        for line in [
            r#"fairlead_backend_seconds_count{backend="here",call="ready",result="ok"} 1"#,
            r#"fairlead_backend_seconds_count{backend="here",call="get",result="not_found"} 1"#,
            r#"fairlead_backend_ready{backend="here"} 1"#,
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
