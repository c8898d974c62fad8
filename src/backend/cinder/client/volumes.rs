//! Volumes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::backend::cinder::dialect::{Dialect, Feature, Keeping};
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{Begun, Volume, described};
use crate::backend::cinder::moment;
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Filter, Need, Page};

/// The highest microversion whose volumes are understood: with the group (3.13) and the service (3.48). From 3.53 on
/// the API refuses what it does not know instead of passing over it.
const READ: Need = Need::UpTo(Microversion(3, 63));
/// For volumes from backups (3.47).
const FROM_BACKUP: Need = Need::Exactly(Microversion(3, 47));
/// Volumes can be listed by when they were made or changed from 3.60 on.
const BY_TIME: Microversion = Microversion(3, 60);
/// From the oldest to the newest.
const ORDER: (&str, &str) = ("sort", "created_at:asc,id:asc");
/// For growing while a server has it.
const GROW_IN_USE: Need = Need::Exactly(Microversion(3, 42));

/// What a volume is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A snapshot.
    Snapshot(String),
    /// A volume.
    Volume(String),
    /// An image.
    Image(String),
    /// A backup.
    Backup(String),
}

/// What to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeOrder {
    /// Its name; not unique.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// GiB.
    pub size: u64,
    /// What it is made from.
    pub source: Option<Source>,
    /// The type's name or id; `None`: the cloud's default.
    pub volume_type: Option<String>,
    /// Where; `None`: anywhere.
    pub availability_zone: Option<String>,
    /// The server that it is made on and stays with; `None`: no server.
    pub server: Option<String>,
    /// Noted about it. Keys have 1 to 255 of `a-zA-Z0-9-_:. /`, values at most 255 characters.
    pub metadata: BTreeMap<String, String>,
    /// Hints for the scheduler, such as `different_host` with a list of volumes.
    pub hints: BTreeMap<String, Value>,
}

impl VolumeOrder {
    fn body(&self, dialect: &Dialect) -> Result<Value> {
        let mut volume = Map::new();
        let mut set = |key: &str, value: Value| volume.insert(key.to_owned(), value);
        set(dialect.words.name, json!(self.name));
        set("size", json!(self.size));
        if let Some(text) = &self.description {
            set(dialect.words.description, json!(text));
        }
        if let Some(kind) = &self.volume_type {
            set("volume_type", dialect.id(kind));
        }
        if let Some(zone) = &self.availability_zone {
            set("availability_zone", json!(zone));
        }
        if let Some(server) = &self.server {
            set("server_id", dialect.id(server));
        }
        match dialect.notes.ordered {
            Keeping::Metadata if self.metadata.is_empty() => None,
            Keeping::Metadata => set("metadata", json!(self.metadata)),
            Keeping::Description => {
                set(dialect.words.description, json!(described::write(&self.described(dialect))?))
            }
            Keeping::Nowhere => None,
        };
        match &self.source {
            None => None,
            Some(Source::Snapshot(id)) => set("snapshot_id", json!(id)),
            Some(Source::Volume(id)) => set("source_volid", json!(id)),
            Some(Source::Image(id)) => set("imageRef", json!(id)),
            Some(Source::Backup(id)) => set("backup_id", json!(id)),
        };
        let mut body = json!({"volume": volume});
        if !self.hints.is_empty() {
            body["OS-SCH-HNT:scheduler_hints"] = json!(self.hints);
        }
        Ok(body)
    }

    /// The notes that a description is to hold: of those that can follow elsewhere, the driver's own alone.
    fn described(&self, dialect: &Dialect) -> BTreeMap<String, String> {
        let mut notes = self.metadata.clone();
        notes.retain(|key, _| dialect.notes.later == Keeping::Description || described::is_own(key));
        notes
    }

    /// What the kind of cloud must be able to do for it.
    const fn needs(&self) -> Option<Feature> {
        match self.source {
            None => None,
            Some(Source::Snapshot(_)) => Some(Feature::Snapshots),
            Some(Source::Volume(_)) => Some(Feature::Clones),
            Some(Source::Image(_)) => Some(Feature::Images),
            Some(Source::Backup(_)) => Some(Feature::Backups),
        }
    }
}

impl Client {
    /// Begins to make a volume; it is there once it is `available`. Never sent twice by itself: after a lost answer,
    /// look for what it may have made.
    ///
    /// # Errors
    /// `InvalidArgument` for a zone, type, image or size that is none; `ResourceExhausted` for a quota; `NotFound` for a
    /// source.
    pub async fn create_volume(&self, order: &VolumeOrder) -> Result<Begun> {
        let need = if matches!(order.source, Some(Source::Backup(_))) { FROM_BACKUP } else { Need::Oldest };
        let mut call = call(Method::POST, "create volume", &["volumes"]).need(need);
        call.feature = order.needs();
        self.read(&call.body(order.body(self.dialect())?), "volume").await
    }

    /// A volume.
    ///
    /// # Errors
    /// `NotFound`, also for one of another project.
    pub async fn volume(&self, id: &str) -> Result<Volume> {
        self.get(&call(Method::GET, "get volume", &["volumes", id]).need(READ), "volume").await
    }

    /// All volumes of the project, filtered where the cloud knows how.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn volumes(&self, filters: &[Filter]) -> Result<Vec<Volume>> {
        self.pages(list(filters)).await
    }

    /// A page of the volumes of the project, the oldest first, after the one of this id.
    ///
    /// # Errors
    /// `NotFound` where the volume after which the page begins is gone.
    pub async fn volume_page(
        &self,
        filters: &[Filter],
        limit: Option<usize>,
        after: Option<&str>,
    ) -> Result<Page<Volume>> {
        self.page(list(filters).query(ORDER.0, ORDER.1), limit, after).await
    }

    /// At most `limit` of the volumes whose records were changed at this time or later, the last one first; `None` where the cloud does not
    /// know such a list. One that passes over the filter nonetheless is known by older volumes in its answer. A volume
    /// that was never changed since it was made is on no such list.
    ///
    /// # Errors
    /// Where the list cannot be had; `InvalidArgument` where the operator took the filter away.
    pub async fn volumes_changed_since(
        &self,
        time: SystemTime,
        limit: usize,
    ) -> Result<Option<Page<Volume>>> {
        self.volumes_since("updated_at", time, limit).await
    }

    /// At most `limit` of the volumes that were made at this time or later; `None` where the cloud does not know such a
    /// list. One that passes over the filter nonetheless is known by older volumes in its answer.
    ///
    /// # Errors
    /// Where the list cannot be had; `InvalidArgument` where the operator took the filter away.
    pub async fn volumes_made_since(&self, time: SystemTime, limit: usize) -> Result<Option<Page<Volume>>> {
        self.volumes_since("created_at", time, limit).await
    }

    async fn volumes_since(
        &self,
        key: &'static str,
        time: SystemTime,
        limit: usize,
    ) -> Result<Option<Page<Volume>>> {
        if !self.endpoint(Service::Volume).await?.has(BY_TIME) {
            return Ok(None);
        }
        // Nobody wants the whole list instead, so it is no filter that may be left out.
        let list = list(&[]).query(key, format!("gte:{}", moment::show(time)));
        self.page(list, Some(limit), None).await.map(Some)
    }

    /// Begins to delete a volume; it is gone once it is not found.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while a server has it, a snapshot depends on it or something is under way.
    pub async fn delete_volume(&self, id: &str) -> Result<()> {
        self.send(&call(Method::DELETE, "delete volume", &["volumes", id])).await.map(drop)
    }

    /// Begins to grow a volume to so many GiB. `in_use`: while a server has it.
    ///
    /// # Errors
    /// `InvalidArgument` for a size that is not larger; `ResourceExhausted` for a quota; `Unsupported` where this cloud
    /// grows no volumes in use.
    pub async fn extend_volume(&self, id: &str, size: u64, in_use: bool) -> Result<()> {
        let need = if in_use { GROW_IN_USE } else { Need::Oldest };
        self.act("extend volume", id, json!({"os-extend": {"new_size": size}}), need, Feature::Growing).await
    }

    /// Begins to give a volume another type. `migrate`: also where its data must then move.
    ///
    /// # Errors
    /// `InvalidArgument` for a type that is none or is the same.
    pub async fn retype_volume(&self, id: &str, volume_type: &str, migrate: bool) -> Result<()> {
        let policy = if migrate { "on-demand" } else { "never" };
        let body = json!({"os-retype": {"new_type": volume_type, "migration_policy": policy}});
        self.act("retype volume", id, body, Need::Oldest, Feature::Retyping).await
    }

    /// Notes these about a volume; what was noted under other keys stays.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` for a key or value that is none; `Unsupported` where nothing can be noted.
    pub async fn note_on_volume(&self, id: &str, metadata: &BTreeMap<String, String>) -> Result<()> {
        const OPERATION: &str = "note on volume";
        let call = match self.dialect().notes.later {
            Keeping::Metadata => call(Method::POST, OPERATION, &["volumes", id, "metadata"])
                .body(json!({"metadata": metadata})),
            Keeping::Description => {
                let found = self.volume(id).await?;
                let notes = described::more(found.description.as_deref(), metadata)?;
                let volume = json!({self.dialect().words.description: notes});
                call(Method::PUT, OPERATION, &["volumes", id]).body(json!({"volume": volume}))
            }
            Keeping::Nowhere => return self.dialect().need(Feature::Notes),
        };
        self.send(&call).await.map(drop)
    }

    /// Notes these about a volume and forgets all else that its metadata says.
    ///
    /// # Errors
    /// As a note.
    pub async fn replace_notes(&self, id: &str, metadata: &BTreeMap<String, String>) -> Result<()> {
        let call = call(Method::PUT, "replace notes on volume", &["volumes", id, "metadata"]);
        self.send(&call.body(json!({"metadata": metadata}))).await.map(drop)
    }

    async fn act(
        &self,
        operation: &'static str,
        id: &str,
        body: Value,
        need: Need,
        feature: Feature,
    ) -> Result<()> {
        let call = call(Method::POST, operation, &["volumes", id, "action"]).body(body).need(need);
        self.send(&call.of(feature)).await.map(drop)
    }
}

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, method, operation, path)
}

fn list(filters: &[Filter]) -> Call<'static> {
    call(Method::GET, "list volumes", &["volumes", "detail"]).need(READ).filters(filters)
}
