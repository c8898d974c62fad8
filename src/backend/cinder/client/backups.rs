//! Backups.

use std::collections::BTreeMap;

use serde_json::json;

use crate::backend::cinder::dialect::Feature;
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{Backup, Begun, Restore};
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Filter, Need};

/// With what was noted about them.
const READ: Need = Need::UpTo(Microversion(3, 51));

/// What to back up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupOrder {
    /// Its name; not unique.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Which volume.
    pub volume: String,
    /// A snapshot of it to read from; `None`: the volume itself.
    pub snapshot: Option<String>,
    /// Where to put it; `None`: where the cloud puts all.
    pub container: Option<String>,
    /// Whether only what changed since the last one is kept.
    pub incremental: bool,
    /// Noted about it, where the cloud keeps notes on backups (from 3.43).
    pub metadata: BTreeMap<String, String>,
}

impl Client {
    /// Begins a backup, also while a server has the volume, and tells its id; it is there once it is `available`. Never
    /// sent twice by itself.
    ///
    /// # Errors
    /// `Unavailable` where the cloud has no backups; `FailedPrecondition` in a state that forbids it.
    pub async fn create_backup(&self, order: &BackupOrder) -> Result<String> {
        let notes = self.endpoint(Service::Volume).await?.has(Microversion(3, 43));
        let mut backup = json!({"name": order.name, "volume_id": order.volume, "force": true,
            "incremental": order.incremental});
        if notes && !order.metadata.is_empty() {
            backup["metadata"] = json!(order.metadata);
        }
        let texts = [
            ("description", &order.description),
            ("snapshot_id", &order.snapshot),
            ("container", &order.container),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                backup[key] = json!(text);
            }
        }
        let call = call(Method::POST, "create backup", &["backups"]).need(READ);
        let begun: Begun = self.read(&call.body(json!({"backup": backup})), "backup").await?;
        Ok(begun.id)
    }

    /// A backup.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn backup(&self, id: &str) -> Result<Backup> {
        self.read(&call(Method::GET, "get backup", &["backups", id]).need(READ), "backup").await
    }

    /// All backups of the project, filtered where the cloud knows how.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn backups(&self, filters: &[Filter]) -> Result<Vec<Backup>> {
        let list = call(Method::GET, "list backups", &["backups", "detail"]).need(READ);
        self.pages(list.filters(filters)).await
    }

    /// Begins to delete a backup; it is gone once it is not found.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while others build on it.
    pub async fn delete_backup(&self, id: &str) -> Result<()> {
        self.send(&call(Method::DELETE, "delete backup", &["backups", id])).await.map(drop)
    }

    /// Begins to restore a backup into a volume, which must be `available` and large enough.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` in a state that forbids it.
    pub async fn restore_backup(&self, id: &str, volume: &str) -> Result<Restore> {
        let call = call(Method::POST, "restore backup", &["backups", id, "restore"]);
        self.read(&call.body(json!({"restore": {"volume_id": volume}})), "restore").await
    }
}

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, method, operation, path).of(Feature::Backups)
}
