//! Snapshots and group snapshots, which the API server knows by their CRDs only.

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Doing, Result};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

const SNAPSHOT: &str = "snapshot.storage.k8s.io";
const GROUP: &str = "groupsnapshot.storage.k8s.io";
/// The class of both kinds, as tests/cluster/values.yaml names it.
const CLASS: &str = "fairlead";

pub fn contents() -> ApiResource {
    resource(SNAPSHOT, "VolumeSnapshotContent")
}

pub fn groups() -> ApiResource {
    resource(GROUP, "VolumeGroupSnapshot")
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

impl Space {
    pub fn objects(&self, kind: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.name, kind)
    }

    /// Orders a snapshot of a claim.
    pub async fn snapshot(&self, name: &str, claim: &str) -> Result {
        let spec = json!({"volumeSnapshotClassName": CLASS, "source": {"persistentVolumeClaimName": claim}});
        self.make_object(&resource(SNAPSHOT, "VolumeSnapshot"), name, spec).await
    }

    /// Whether the driver is being asked for a snapshot, or was. The sidecar says so before it does.
    pub async fn is_being_cut(&self, name: &str) -> Result<bool> {
        const SAYS: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-created";
        let all = Api::<DynamicObject>::all_with(self.cluster.client.clone(), &contents());
        let all = all.list(&ListParams::default()).await.doing("list snapshot contents")?;
        let content = all.items.iter().find(|content| {
            let of = &content.data["spec"]["volumeSnapshotRef"];
            of["namespace"] == self.name.as_str() && of["name"] == name
        });
        Ok(content.is_some_and(|content| {
            content.annotations().contains_key(SAYS) || content.data["status"]["snapshotHandle"].is_string()
        }))
    }

    /// Waits until a snapshot can be used.
    pub async fn cut(&self, name: &str) -> Result {
        self.usable(&resource(SNAPSHOT, "VolumeSnapshot"), name).await
    }

    /// Orders a snapshot of all claims with the label `group` at this value, and waits for it.
    pub async fn group_snapshot(&self, name: &str, value: &str) -> Result {
        let source = json!({"selector": {"matchLabels": {"group": value}}});
        let spec = json!({"volumeGroupSnapshotClassName": CLASS, "source": source});
        self.make_object(&groups(), name, spec).await?;
        self.usable(&groups(), name).await
    }

    /// The names of the snapshots in the namespace.
    pub async fn snapshots(&self) -> Result<Vec<String>> {
        let all = self.objects(&resource(SNAPSHOT, "VolumeSnapshot")).list(&ListParams::default()).await;
        Ok(all.doing("list snapshots")?.items.iter().map(ResourceExt::name_any).collect())
    }

    async fn make_object(&self, kind: &ApiResource, name: &str, spec: Value) -> Result {
        let object = DynamicObject::new(name, kind).data(json!({"spec": spec}));
        self.objects(kind)
            .create(&PostParams::default(), &object)
            .await
            .map(|_| ())
            .doing(format!("make {} {name}", kind.kind))
    }

    async fn usable(&self, kind: &ApiResource, name: &str) -> Result {
        until(format!("{} {name} to be ready", kind.kind), PATIENCE, async || {
            let object = self.objects(kind).get(name).await?;
            Ok(match &object.data["status"]["readyToUse"] {
                Value::Bool(true) => Seen::Done(()),
                _ => Seen::NotYet(object.data["status"].to_string()),
            })
        })
        .await
    }
}
