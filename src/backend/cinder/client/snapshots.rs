//! Snapshots.

use std::collections::BTreeMap;

use serde_json::json;

use crate::backend::cinder::dialect::{Feature, Keeping};
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{Snapshot, described};
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Filter, Need};

/// The highest microversion whose snapshots are understood: with the group snapshot (3.14).
const READ: Need = Need::UpTo(Microversion(3, 41));

/// What to cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOrder {
    /// Its name; not unique.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// From which volume.
    pub volume: String,
    /// Noted about it.
    pub metadata: BTreeMap<String, String>,
}

impl Client {
    /// Begins to cut a snapshot, also while a server has the volume; it is there once it is `available`. Never sent twice
    /// by itself.
    ///
    /// # Errors
    /// `NotFound` for the volume; `FailedPrecondition` in a state that forbids it; `ResourceExhausted` for a quota.
    pub async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        let words = self.dialect().words;
        let mut snapshot = json!({words.name: order.name, "volume_id": order.volume, "force": true});
        if let Some(text) = &order.description {
            snapshot[words.description] = json!(text);
        }
        match self.dialect().notes.snapshot {
            Keeping::Metadata if !order.metadata.is_empty() => snapshot["metadata"] = json!(order.metadata),
            Keeping::Description => snapshot[words.description] = json!(described::write(&order.metadata)?),
            Keeping::Metadata | Keeping::Nowhere => {}
        }
        let call = call(Method::POST, "create snapshot", &["snapshots"]).body(json!({"snapshot": snapshot}));
        self.get(&call, "snapshot").await
    }

    /// A snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot> {
        self.get(&call(Method::GET, "get snapshot", &["snapshots", id]).need(READ), "snapshot").await
    }

    /// All snapshots of the project, filtered where the cloud knows how.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn snapshots(&self, filters: &[Filter]) -> Result<Vec<Snapshot>> {
        self.pages(list(filters)).await
    }

    /// Begins to delete a snapshot; it is gone once it is not found.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it is in use or a member of a group snapshot.
    pub async fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.send(&call(Method::DELETE, "delete snapshot", &["snapshots", id])).await.map(drop)
    }
}

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, method, operation, path).of(Feature::Snapshots)
}

fn list(filters: &[Filter]) -> Call<'static> {
    call(Method::GET, "list snapshots", &["snapshots", "detail"]).need(READ).filters(filters)
}
