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
//! Events are core/v1 with a count, as kubectl and Kubernetes' own controllers have it. Each object and reason is
//! written once a minute at most; what comes between counts up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::api::ApiServer;
use super::attachment;
use crate::backend::FencingProof;
use crate::controller::Notice;
use crate::error::Result;
use crate::volume::{NodeId, VolumeId};

/// How long one request may take: whoever detaches waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an event may be written.
const PAUSE: Duration = Duration::from_secs(60);
/// How many events are remembered; the one that was written longest ago is forgotten first.
const REMEMBERED: usize = 256;
/// What the API server accepts as a message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Writes notices down, each for one volume and server at a time.
#[derive(Debug)]
pub(super) struct Recorder {
    api: ApiServer,
    driver: Arc<str>,
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
    pub(super) fn new(api: &ApiServer, driver: Arc<str>) -> Self {
        Self { api: api.within(PATIENCE), driver, ledger: Mutex::default(), failing: AtomicBool::new(false) }
    }

    /// Writes the event, or counts it where it was written less than a minute ago. What cannot be written is logged.
    pub(super) async fn tell(&self, told: About<'_>) {
        let (reason, message) = words(told);
        let (volume, node) = (told.volume, told.node);
        let key = (volume.clone(), node.clone(), reason);
        let Some(entry) = self.ledger().count(&key, Instant::now()) else { return };
        match self.write(told, reason, &message, &entry).await {
            Ok(written) => {
                self.failing.store(false, Ordering::Relaxed);
                self.ledger().written(&key, written);
            }
            Err(error) => {
                let error = error.chain();
                if self.failing.swap(true, Ordering::Relaxed) {
                    tracing::debug!(%volume, %node, error, "an event cannot be written");
                } else {
                    tracing::warn!(%volume, %node, error, "an event cannot be written; more of this at debug");
                }
            }
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing that panics runs under this lock; a poisoned one still holds a whole ledger.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the event up, or makes it. `None` where the volume has no claim.
    async fn write(
        &self,
        told: About<'_>,
        reason: &str,
        message: &str,
        entry: &Entry,
    ) -> Result<Option<Written>> {
        let now = Time(Timestamp::now());
        if let Some(Written { namespace, name }) = &entry.written {
            let change = json!({"count": entry.count, "lastTimestamp": now, "message": message});
            if self.api.patch::<Event>(namespace, name, change).await? {
                return Ok(entry.written.clone());
            }
        }
        let Some(claim) = self.claim(told).await? else { return Ok(None) };
        let (Some(namespace), Some(claimed)) = (claim.namespace.clone(), claim.name.clone()) else {
            return Ok(None);
        };
        let name = format!("{claimed}.{:x}", now.0.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: claim,
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
    let (reason, mut message) = match told.notice {
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
    };
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    (reason, message)
}

/// What an event is about.
type Key = (VolumeId, NodeId, &'static str);

/// Where an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    count: i32,
    tried: Instant,
    written: Option<Written>,
}

/// How often each event happened, and when it was written.
#[derive(Debug, Default)]
struct Ledger {
    entries: HashMap<Key, Entry>,
}

impl Ledger {
    /// Counts one more; tells what is to be written, if anything is.
    fn count(&mut self, key: &Key, now: Instant) -> Option<Entry> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.count = entry.count.saturating_add(1);
            if now.duration_since(entry.tried) < PAUSE {
                return None;
            }
            entry.tried = now;
            return Some(entry.clone());
        }
        if self.entries.len() >= REMEMBERED {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.tried).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        let entry = Entry { count: 1, tried: now, written: None };
        self.entries.insert(key.clone(), entry.clone());
        Some(entry)
    }

    fn written(&mut self, key: &Key, written: Option<Written>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.written = written;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        (format!("here/v-{number}").parse().unwrap(), "w".parse().unwrap(), "DetachBlocked")
    }

    #[tokio::test(start_paused = true)]
    async fn the_ledger_forgets_what_was_written_longest_ago() {
        let mut ledger = Ledger::default();
        for number in 0..REMEMBERED {
            assert_eq!(ledger.count(&key(number), Instant::now()).unwrap().count, 1);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(ledger.count(&key(0), Instant::now()).unwrap().count, 2);
        assert_eq!(ledger.count(&key(REMEMBERED), Instant::now()).unwrap().count, 1);
        assert_eq!(ledger.entries.len(), REMEMBERED);
        assert_eq!(ledger.count(&key(0), Instant::now()), None, "it was written just now");
        assert_eq!(ledger.count(&key(1), Instant::now()).unwrap().count, 1, "it was forgotten");
    }

    #[test]
    fn a_message_fits_the_api() {
        let (volume, node) = ("here/v".parse().unwrap(), "w".parse().unwrap());
        let notice = Notice::Held("ü".repeat(MAX_MESSAGE));
        let (_, message) = words(About { volume: &volume, node: &node, notice: &notice });
        assert!(message.len() <= MAX_MESSAGE && message.ends_with('ü'), "{message}");
    }
}
