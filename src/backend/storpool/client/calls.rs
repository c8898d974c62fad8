//! The calls, one method for each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Call, Client, Failure, nothing};
use crate::backend::storpool::model::{
    Attachment, ClientConfig, Reassigned, Rights, Services, Snapshot, Status, Tags, Template, TemplateStatus,
    Volume,
};
use crate::backend::storpool::names::{is_name, reference};
use crate::error::{Error, Result};

/// How much longer a call may take than the clients that it waits for.
const MARGIN: Duration = Duration::from_secs(10);

/// What the question for the cluster's state is called.
pub(super) const LIST_SERVICES: &str = "list_services";

/// The calls that can be made for a whole location, as far as they are made here. The vendor's client marks them so, but for
/// `SnapshotUpdate`, which its OpenNebula driver makes in that way.
const EVERYWHERE: [&str; 14] = [
    "AttachmentsList",
    "Snapshot",
    "SnapshotDelete",
    "SnapshotUpdate",
    "SnapshotsList",
    "Volume",
    "VolumeCreate",
    "VolumeDelete",
    "VolumeSnapshot",
    "VolumeUpdate",
    "VolumesGetStatusQuick",
    "VolumesGroupSnapshot",
    "VolumesList",
    "VolumesReassignWait",
];

/// Whether a call can be made for a whole location.
pub(super) fn is_everywhere(call: Option<&str>) -> bool {
    call.is_some_and(|call| EVERYWHERE.contains(&call))
}

/// A volume that is asked for.
#[derive(Clone, Debug, Default)]
pub struct VolumeOrder {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The snapshot that it is made from.
    pub parent: Option<String>,
    /// The volume that it is made from.
    pub base: Option<String>,
    /// The cluster that it is made in; `None`: the one that is asked.
    pub cluster: Option<String>,
    /// All else: template, limits, placement.
    pub policy: Map<String, Value>,
    /// Its notes.
    pub tags: Tags,
}

/// A snapshot that is asked for.
#[derive(Clone, Debug)]
pub struct SnapshotOrder {
    /// The volume's id.
    pub volume: String,
    /// The snapshot's name.
    pub name: String,
    /// Its notes.
    pub tags: Tags,
    /// After which time it goes by itself; `None`: never.
    pub delete_after: Option<Duration>,
}

/// Whether a client gets a volume or loses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It gets it with these rights.
    Give(Rights),
    /// It loses it.
    Away {
        /// Also where it is open.
        force: bool,
    },
}

/// What is to become of a volume at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The volume's id.
    pub volume: String,
    /// Who.
    pub client: u16,
    /// What.
    pub take: Take,
}

impl Entry {
    /// As the call has it. In a location, a volume that is in another cluster than the client moves over by itself. Where it
    /// is attached there it would be exported (vendor's client, "VolumeReassignDesc"), so that two clusters have it: that
    /// is forbidden.
    fn to_json(&self, everywhere: bool) -> Value {
        let mut entry = self.plain();
        if everywhere && matches!(self.take, Take::Give(_)) {
            entry["onRemoteAttached"] = json!("fail");
        }
        entry
    }

    fn plain(&self) -> Value {
        let volume = reference(&self.volume);
        match self.take {
            Take::Give(Rights::Rw) => json!({"volume": volume, "rw": [self.client], "force": false}),
            Take::Give(Rights::Ro) => json!({"volume": volume, "ro": [self.client], "force": false}),
            Take::Away { force } => json!({"volume": volume, "detach": [self.client], "force": force}),
        }
    }
}

/// An id as a part of a URL; one that no object can have is of none.
fn named(id: &str) -> Result<String> {
    match is_name(id) {
        true => Ok(reference(id)),
        false => Err(Error::not_found(format!("{id:?} cannot be a name in StorPool"))),
    }
}

/// The only one of a list. In a location, clusters might each have one of that name.
fn only<T>(mut list: Vec<T>) -> Result<T> {
    match (list.pop(), list.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(Error::internal("the answer is an empty list")),
        (Some(_), more) => Err(Error::internal(format!(
            "the answer is a list of {}, so it is not known which is meant: see that clusters do not share names",
            more + 1
        ))),
    }
}

impl Client {
    /// All volumes.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn volumes(&self) -> Result<Vec<Volume>> {
        self.read(Call::get("list_volumes", &["VolumesList"])).await
    }

    /// One volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn volume(&self, id: &str) -> Result<Volume> {
        let found = match named(id) {
            Ok(name) => self.read(Call::get("get_volume", &["Volume", &name])).await,
            Err(error) => Err(error),
        };
        found.and_then(only).map_err(|error| error.with("volume", id))
    }

    /// Orders a volume.
    ///
    /// # Errors
    /// Why it is not made, or that this is not known.
    pub async fn create_volume(&self, order: &VolumeOrder) -> Result<(), Failure> {
        let _change = self.changes.of([order.name.as_str()]);
        let mut body = order.policy.clone();
        body.insert("name".to_owned(), json!(order.name));
        body.insert("size".to_owned(), json!(order.size));
        body.insert("tags".to_owned(), json!(order.tags));
        for (key, id) in [("parent", &order.parent), ("baseOn", &order.base)] {
            if let Some(id) = id {
                body.insert(key.to_owned(), json!(reference(id)));
            }
        }
        let call = Call::post("create_volume", &["VolumeCreate"], Value::Object(body));
        self.done(call.at(order.cluster.as_deref())).await
    }

    /// Changes a volume.
    ///
    /// # Errors
    /// Why it is not changed, or that this is not known.
    pub async fn update_volume(&self, id: &str, body: Value) -> Result<(), Failure> {
        let _change = self.changes.of([id]);
        self.done(Call::post("update_volume", &["VolumeUpdate", &named(id)?], body)).await
    }

    /// Deletes a volume that no client has.
    ///
    /// # Errors
    /// Why it is still there, or that this is not known.
    pub async fn delete_volume(&self, id: &str) -> Result<(), Failure> {
        let _change = self.changes.of([id]);
        self.done(Call::post("delete_volume", &["VolumeDelete", &named(id)?], nothing())).await
    }

    /// All snapshots that are there for good.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let all: Vec<Snapshot> = self.read(Call::get("list_snapshots", &["SnapshotsList"])).await?;
        Ok(all.into_iter().filter(Snapshot::stays).collect())
    }

    /// One snapshot.
    ///
    /// # Errors
    /// `NotFound`, also for one that is being deleted.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot> {
        let found = match named(id) {
            Ok(name) => self.read(Call::get("get_snapshot", &["Snapshot", &name])).await,
            Err(error) => Err(error),
        };
        let found = found.and_then(only).and_then(|snapshot: Snapshot| match snapshot.stays() {
            true => Ok(snapshot),
            false => Err(Error::not_found("the snapshot is being deleted")),
        });
        found.map_err(|error| error.with("snapshot", id))
    }

    /// Cuts a snapshot.
    ///
    /// # Errors
    /// Why it is not cut, or that this is not known.
    pub async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<(), Failure> {
        let mut body = json!({"name": order.name, "tags": order.tags});
        if let Some(after) = order.delete_after {
            body["deleteAfter"] = json!(after.as_secs());
        }
        self.done(Call::post("create_snapshot", &["VolumeSnapshot", &named(&order.volume)?], body)).await
    }

    /// Cuts snapshots of several volumes at one moment: all or none.
    ///
    /// # Errors
    /// Why they are not cut, or that this is not known.
    pub async fn create_group(&self, orders: &[SnapshotOrder]) -> Result<(), Failure> {
        let volumes: Vec<_> = orders
            .iter()
            .map(|order| json!({"volume": reference(&order.volume), "name": order.name, "tags": order.tags}))
            .collect();
        self.done(Call::post("create_group", &["VolumesGroupSnapshot"], json!({ "volumes": volumes }))).await
    }

    /// Changes a snapshot.
    ///
    /// # Errors
    /// Why it is not changed, or that this is not known.
    pub async fn update_snapshot(&self, id: &str, body: Value) -> Result<(), Failure> {
        self.done(Call::post("update_snapshot", &["SnapshotUpdate", &named(id)?], body)).await
    }

    /// Begins to delete a snapshot. From then on it has another name.
    ///
    /// # Errors
    /// Why it is still there, or that this is not known.
    pub async fn delete_snapshot(&self, id: &str) -> Result<(), Failure> {
        self.done(Call::post("delete_snapshot", &["SnapshotDelete", &named(id)?], nothing())).await
    }

    /// All that is attached, in a location with the clusters of the clients.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn attachments(&self) -> Result<Vec<Attachment>> {
        let mut all: Vec<Attachment> = self.read(Call::get("list_attachments", &["AttachmentsList"])).await?;
        match (self.is_everywhere(), all.iter().find(|one| one.cluster_id.is_none())) {
            (false, _) => all.iter_mut().for_each(|one| one.cluster_id = None),
            (true, None) => {}
            // Clients of several clusters have the same numbers.
            (true, Some(one)) => {
                return Err(Error::internal(format!(
                    "the list of attachments does not tell the cluster of client {}: set \"multiCluster\" only where \
                     StorPool's clusters form a location",
                    one.client
                ))
                .with("volume", &one.volume));
            }
        }
        Ok(all)
    }

    /// Gives clients of a cluster volumes and takes them away, all of it or nothing, and waits so long for the clients to
    /// confirm it. The clients' cluster is the one that carries it out. Tells which configuration that makes; 0: the cluster
    /// does not say.
    ///
    /// # Errors
    /// Why nothing was done, or that this is not known.
    pub async fn reassign(
        &self,
        cluster: Option<&str>,
        entries: &[Entry],
        timeout: Duration,
    ) -> Result<u64, Failure> {
        let _change = self.changes.of(entries.iter().map(|entry| entry.volume.as_str()));
        let reassign: Vec<_> = entries.iter().map(|entry| entry.to_json(self.is_everywhere())).collect();
        let body = json!({"reassign": reassign, "attachTimeout": timeout.as_secs().max(1)});
        let call = Call::post("reassign", &["VolumesReassignWait"], body);
        let done = self.send::<Reassigned>(call.at(cluster).within(timeout + MARGIN));
        done.await.map(|done| done.generation)
    }

    /// Which configuration each client of a cluster has taken over.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn clients(&self, cluster: Option<&str>) -> Result<Vec<ClientConfig>> {
        self.read(Call::get("list_client_configs", &["ClientsConfigDump"]).at(cluster)).await
    }

    /// All templates of a cluster.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn templates(&self, cluster: Option<&str>) -> Result<Vec<Template>> {
        self.read(Call::get("list_templates", &["VolumeTemplatesList"]).at(cluster)).await
    }

    /// The room of each template.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn templates_status(&self) -> Result<Vec<TemplateStatus>> {
        self.read(Call::get("templates_status", &["VolumeTemplatesStatus"])).await
    }

    /// How each volume and snapshot is.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn statuses(&self) -> Result<BTreeMap<String, Status>> {
        self.read(Call::get("volumes_status", &["VolumesGetStatusQuick"])).await
    }

    /// What runs in a cluster.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn services(&self, cluster: Option<&str>) -> Result<Services> {
        self.read(Call::get(LIST_SERVICES, &["ServicesList"]).at(cluster)).await
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        self.send(call).await.map_err(Failure::into_error)
    }

    pub(super) async fn done(&self, call: Call<'_>) -> Result<(), Failure> {
        self.send::<Value>(call).await.map(drop)
    }
}
