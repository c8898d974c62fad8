//! Events on a volume's PersistentVolumeClaim, for what nothing else tells its users.
//!
//! What a failed call answers, Kubernetes' own controllers write down already: on the claim where it was provisioning or
//! growing, on the pod where it was attaching or mounting. So a message such as "server worker-3 holds 14 of 14 volumes"
//! needs nothing from here. A failed detach reaches nobody: it stands in the status of a VolumeAttachment, while the pod
//! that waits for the volume elsewhere learns only that it is attached to another node. And a detach by force succeeds
//! without a word. These two are told here, on the claim; finding the pods would take the right to list all pods.
//!
//! The VolumeAttachment leads from the volume to its claim. It goes when the detach is answered, so the answer waits for
//! the event, a few milliseconds in two rare cases.
//!
//! What is wrong with a back end although calls are answered, such as changed credentials that do not work, concerns no
//! volume and no user. It is told on the controller's own pod: it is that process's state, it stands beside the Secret in
//! the release's namespace (an event on the CSIDriver object, which has none, would land in `default`), `kubectl describe
//! pod` and `kubectl get events` show it to those who run the driver, and it takes no right that is not there already.
//!
//! Events are core/v1 with a count, as kubectl and Kubernetes' own controllers have it. Each object and reason is
//! written once a minute at most; what comes between counts up.

mod ledger;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use self::ledger::{Entry, Key, Ledger, Written};
use super::api::ApiServer;
use super::attachment;
use crate::backend::{FencingProof, Warning};
use crate::config::Pod;
use crate::controller::Notice;
use crate::error::Result;
use crate::volume::{BackendName, NodeId, VolumeId};

/// How long one request may take: whoever detaches waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the API server accepts as a message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Writes down what happened to volumes, and what is wrong with back ends.
#[derive(Debug)]
pub(super) struct Recorder {
    api: ApiServer,
    driver: Arc<str>,
    /// The pod that this process is in, if it was told.
    pod: Option<Pod>,
    ledger: Mutex<Ledger>,
    failing: AtomicBool,
}

/// A notice with what it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) volume: &'a VolumeId,
    pub(super) node: &'a NodeId,
    pub(super) notice: &'a Notice,
}

impl Recorder {
    pub(super) fn new(api: &ApiServer, driver: Arc<str>, pod: Option<Pod>) -> Self {
        let (ledger, failing) = (Mutex::default(), AtomicBool::new(false));
        Self { api: api.within(PATIENCE), driver, pod, ledger, failing }
    }

    /// Writes the event, or counts it where it was written less than a minute ago. What cannot be written is logged.
    pub(super) async fn tell(&self, told: About<'_>) {
        let (reason, message) = words(told);
        let key = Key::Volume(told.volume.clone(), told.node.clone(), reason);
        self.record(&key, message, self.claim(told)).await;
    }

    /// Writes the event on this process's pod, where that is known, once a minute as long as it is told.
    pub(super) async fn warn(&self, backend: &BackendName, warning: &Warning) {
        let Some(pod) = &self.pod else { return };
        let key = Key::Backend(backend.clone(), warning.reason);
        // It is a state that is looked at, so looks are not counted.
        if !self.ledger().is_due(&key, Instant::now()) {
            return;
        }
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!("back end {backend}: {}", warning.text);
        self.record(&key, message, async { Ok(Some(object)) }).await;
    }

    /// `object` is what the event is on; looked for only where the event is written.
    async fn record(
        &self,
        key: &Key,
        message: String,
        object: impl Future<Output = Result<Option<ObjectReference>>>,
    ) {
        let Some(entry) = self.ledger().count(key, Instant::now()) else { return };
        match self.write(key.reason(), &fitting(message), &entry, object).await {
            Ok(written) => {
                self.failing.store(false, Ordering::Relaxed);
                self.ledger().written(key, written);
            }
            Err(error) => {
                let error = error.chain();
                if self.failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(event = %key, error, "an event cannot be written");
                } else {
                    tracing::warn!(event = %key, error, "an event cannot be written; more of this at debug");
                }
            }
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing that panics runs under this lock; a poisoned one still holds a whole ledger.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the event up, or makes it. `None` where there is nothing that it could be on.
    async fn write(
        &self,
        reason: &str,
        message: &str,
        entry: &Entry,
        object: impl Future<Output = Result<Option<ObjectReference>>>,
    ) -> Result<Option<Written>> {
        let now = Time(Timestamp::now());
        if let Some(Written { namespace, name }) = &entry.written {
            let change = json!({"count": entry.count, "lastTimestamp": now, "message": message});
            if self.api.patch::<Event>(namespace, name, change).await? {
                return Ok(entry.written.clone());
            }
        }
        let Some(object) = object.await? else { return Ok(None) };
        let (Some(namespace), Some(about)) = (object.namespace.clone(), object.name.clone()) else {
            return Ok(None);
        };
        let name = format!("{about}.{:x}", now.0.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: object,
            type_: Some("Warning".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            count: Some(entry.count),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            source: Some(EventSource { component: Some(self.driver.to_string()), host: None }),
            reporting_component: Some(self.driver.to_string()),
            ..Event::default()
        };
        self.api.create(&namespace, &event).await?;
        Ok(Some(Written { namespace, name }))
    }

    /// The claim of the volume that is, or was, attached.
    async fn claim(&self, told: About<'_>) -> Result<Option<ObjectReference>> {
        let record = attachment::find(&self.api, &self.driver, told.volume, told.node).await?;
        let Some(name) = record.and_then(|record| record.persistent_volume) else { return Ok(None) };
        let volume = self.api.get::<PersistentVolume>(&name).await?;
        let claim = volume.and_then(|volume| volume.spec?.claim_ref);
        Ok(claim.map(|claim| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            // An event is about the claim, not about the version that it had when it was bound.
            resource_version: None,
            ..claim
        }))
    }
}

/// A notice as its users read it: the reason, and one sentence.
fn words(told: About<'_>) -> (&'static str, String) {
    let node = told.node.name();
    match told.notice {
        Notice::Fenced(proof) => {
            let why = match proof {
                FencingProof::OutOfService => "its Node is tainted as out of service",
                FencingProof::NodeDeleted => "its Node was deleted",
                FencingProof::Operator => "an operator says that it is off",
            };
            let text = format!("the volume was taken from server {node} by force, because {why}");
            ("VolumeFenced", format!("{text}; what was not written to it yet is lost"))
        }
        Notice::Held(why) => {
            ("DetachBlocked", format!("the volume cannot be taken from server {node}: {why}"))
        }
    }
}

/// As much of a message as the API server accepts.
fn fitting(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_the_api() {
        let message = fitting(format!("x{}", "ü".repeat(MAX_MESSAGE)));
        assert!(message.len() <= MAX_MESSAGE && message.ends_with('ü'), "{message}");
    }
}
