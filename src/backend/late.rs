//! A back end that may not be there when the process starts: it is opened in the background, and until then every
//! call is answered as one that will do later.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, GroupOrder, Limits, Listing, Page,
    SnapshotFilter, SnapshotOrder, VolumeOrder, Warning,
};
use crate::error::{Error, Kind, Result};
use crate::volume::{
    Attachment, BackendName, Bytes, GroupSnapshot, Health, NativeId, Parameters, SizeRange, SizeRules,
    Snapshot, Topology, Volume,
};

/// Opens a back end; asked again where it fails.
pub type Opener = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Backend>>> + Send + Sync>;

/// A back end that is opened later.
pub struct Late {
    name: BackendName,
    at_best: Capabilities,
    opener: Opener,
    inner: OnceLock<Arc<dyn Backend>>,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late")
            .field("name", &self.name)
            .field("inner", &self.inner.get())
            .finish_non_exhaustive()
    }
}

impl Late {
    /// A back end of this name that is not open yet, and can do so much at best.
    #[must_use]
    pub const fn new(name: BackendName, at_best: Capabilities, opener: Opener) -> Self {
        Self { name, at_best, opener, inner: OnceLock::new() }
    }

    /// Tries once to open it. Open already is `Ok`. Not to be called by two at once.
    ///
    /// # Errors
    /// Why it cannot be opened now.
    pub async fn open(&self) -> Result<()> {
        if self.inner.get().is_none() {
            let opened = (self.opener)().await?;
            self.inner.get_or_init(|| opened);
        }
        Ok(())
    }

    fn inner(&self) -> Result<&Arc<dyn Backend>> {
        // What earlier calls left behind is not known, so this is never a refusal.
        self.inner.get().ok_or_else(|| {
            Error::unknown(
                Kind::Unavailable,
                "the back end could not be opened yet (see /readyz and the log)",
            )
            .with("backend", &self.name)
        })
    }
}

#[async_trait]
impl Backend for Late {
    /// While it is not open: all that one of its kind can, so that no call is refused for good before the back end itself
    /// can say so.
    fn capabilities(&self) -> Capabilities {
        self.inner.get().map_or(self.at_best, |inner| inner.capabilities())
    }

    /// While it is not open: none, for the same reason.
    fn limits(&self) -> Limits {
        let sizes =
            SizeRules { min: Bytes::new(1), max: Bytes::MAX, step: Bytes::new(1), default: Bytes::gib(1) };
        self.inner
            .get()
            .map_or(Limits { sizes, per_server: None, volumes: None, bytes: None }, |inner| inner.limits())
    }

    async fn ready(&self) -> Result<()> {
        self.inner()?.ready().await
    }

    /// While it is not open: none; that it is not is told by its readiness.
    fn warning(&self) -> Option<Warning> {
        self.inner.get()?.warning()
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.inner()?.create(order).await
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        self.inner()?.delete(id).await
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        self.inner()?.get(id).await
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        self.inner()?.ids(id).await
    }

    async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        self.inner()?.list(page).await
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        self.inner()?.attach(order).await
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        self.inner()?.detach(order).await
    }

    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        self.inner()?.expand(id, size).await
    }

    async fn modify(&self, id: &NativeId, parameters: &Parameters) -> Result<()> {
        self.inner()?.modify(id, parameters).await
    }

    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        self.inner()?.create_snapshot(order).await
    }

    async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        self.inner()?.delete_snapshot(id).await
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.inner()?.get_snapshot(id).await
    }

    async fn list_snapshots(&self, filter: &SnapshotFilter, page: &Page) -> Result<Listing<Snapshot>> {
        self.inner()?.list_snapshots(filter, page).await
    }

    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        self.inner()?.create_group(order).await
    }

    async fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()> {
        self.inner()?.delete_group(id, members).await
    }

    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        self.inner()?.get_group(id).await
    }

    async fn capacity(&self, parameters: &Parameters, place: Option<&Topology>) -> Result<Capacity> {
        self.inner()?.capacity(parameters, place).await
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        self.inner()?.health(id).await
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        self.inner()?.check_parameters(parameters)
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        self.inner()?.check_mutable(parameters)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Outcome;

    #[tokio::test]
    async fn until_it_is_open_every_call_may_do_later() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let at_best = Capabilities { clones: false, ..Capabilities::ALL };
        let late = Late::new(
            "here".parse().unwrap(),
            at_best,
            Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Box::pin(async { Err(Error::precondition("no directory")) })
            }),
        );
        assert_eq!(late.open().await.unwrap_err().to_string(), "no directory");
        assert_eq!(late.open().await.unwrap_err().kind(), Kind::FailedPrecondition);
        assert_eq!(tries.load(Ordering::Relaxed), 2);
        let error = late.get(&"pvc-1".parse().unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown));
        assert!(late.check_parameters(&Parameters::default()).is_err());
        assert_eq!(late.capabilities(), at_best);
    }
}
