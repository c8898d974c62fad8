//! A test's own namespace, and what happens in it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::harness::{Doing, Result};
use crate::manifest::{Claim, Draft};
use crate::pod::Running;
use crate::wait::{PATIENCE, Seen, until};

/// On everything outside the namespace that belongs to it.
const LABEL: &str = "fairlead.dev/e2e";

pub struct Space {
    pub cluster: Arc<Cluster>,
    pub name: String,
    /// When the test began, by the API server's clock.
    pub began: jiff::Timestamp,
}

/// A resource of a namespace, as far as the tests know it.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

impl Space {
    /// Makes the namespace. One that an earlier run left is removed first, with all that is in it.
    pub async fn make(cluster: Arc<Cluster>, test: &str) -> Result<Self> {
        let name = format!("e2e-{}", test.replace('_', "-"));
        let mut space = Self { cluster, name, began: jiff::Timestamp::UNIX_EPOCH };
        space.remove().await?;
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"name": space.name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
        }))?;
        let made = space.global::<Namespace>().create(&PostParams::default(), &namespace).await;
        let made = made.doing(format!("make namespace {}", space.name))?;
        space.began = made.creation_timestamp().ok_or("a namespace without a creation time")?.0;
        // A pod is refused before its namespace's service account is there.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = space.api();
        until("the service account", PATIENCE, async || match accounts.get_opt("default").await? {
            Some(_) => Ok(Seen::Done(())),
            None => Ok(Seen::NotYet("there is none".to_owned())),
        })
        .await?;
        Ok(space)
    }

    pub fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    pub fn global<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.cluster.client.clone())
    }

    /// Makes anything of a known type in the namespace.
    pub async fn create<K: Namespaced>(&self, manifest: Value) -> Result<K> {
        let kind = K::kind(&());
        let object: K = serde_json::from_value(manifest).doing(format!("the manifest of a {kind}"))?;
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .doing(format!("make {kind} {}", object.name_any()))
    }

    /// Makes an object outside the namespace. Its name gets the namespace's in front; it goes with the namespace.
    pub async fn create_global<K>(&self, name: &str, mut manifest: Value) -> Result<String>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let name = format!("{}-{name}", self.name);
        manifest["metadata"] = json!({"name": name, "labels": {LABEL: self.name}});
        let object: K = serde_json::from_value(manifest).doing(format!("the manifest of {name}"))?;
        self.global::<K>().create(&PostParams::default(), &object).await.doing(format!("make {name}"))?;
        Ok(name)
    }

    pub async fn patch<K: Namespaced>(&self, name: &str, patch: Value) -> Result<K> {
        let params = PatchParams::default();
        self.api::<K>().patch(name, &params, &Patch::Merge(patch)).await.doing(format!("change {name}"))
    }

    /// Deletes an object and waits until it is gone.
    pub async fn delete<K: Namespaced>(&self, name: &str) -> Result {
        let api = self.api::<K>();
        api.delete(name, &DeleteParams::default()).await.doing(format!("delete {name}"))?;
        until(format!("{} {name} to be gone", K::kind(&())), PATIENCE, async || {
            match api.get_opt(name).await? {
                None => Ok(Seen::Done(())),
                Some(there) => Ok(Seen::NotYet(format!("its finalizers are {:?}", there.finalizers()))),
            }
        })
        .await
    }

    pub async fn claim(&self, claim: Claim) -> Result<PersistentVolumeClaim> {
        self.create(claim.manifest()).await
    }

    pub async fn get_claim(&self, name: &str) -> Result<PersistentVolumeClaim> {
        self.api::<PersistentVolumeClaim>().get(name).await.doing(format!("get claim {name}"))
    }

    /// The volume of a claim that is bound.
    pub async fn volume_of(&self, claim: &str) -> Result<PersistentVolume> {
        let name = self.get_claim(claim).await?.spec.and_then(|spec| spec.volume_name);
        let name = name.ok_or_else(|| format!("claim {claim} has no volume"))?;
        self.global::<PersistentVolume>().get(&name).await.doing(format!("get volume {name}"))
    }

    /// Waits for an event with this reason, whose message has all these words in it.
    pub async fn told(&self, reason: &str, words: &[&str]) -> Result<String> {
        until(format!("an event {reason} with {words:?}"), PATIENCE, async || {
            let events = self.api::<Event>().list(&ListParams::default()).await?;
            let of_reason = |event: &&Event| event.reason.as_deref() == Some(reason);
            let messages: Vec<_> =
                events.items.iter().filter(of_reason).filter_map(|one| one.message.clone()).collect();
            let found = messages.iter().find(|message| words.iter().all(|word| message.contains(word)));
            Ok(found.map_or_else(|| Seen::NotYet(messages.join("; ")), |message| Seen::Done(message.clone())))
        })
        .await
    }

    /// Starts a pod and waits until it runs.
    pub async fn start(&self, draft: Draft) -> Result<Running<'_>> {
        let running = self.begin(draft).await?;
        running.wait().await?;
        Ok(running)
    }

    /// Starts a pod and does not wait.
    pub async fn begin(&self, draft: Draft) -> Result<Running<'_>> {
        let name = draft.name().to_owned();
        self.create::<Pod>(draft.manifest(&self.cluster.image)).await?;
        Ok(Running { space: self, name })
    }

    /// Ends a pod and waits until it is gone, with its mounts.
    pub async fn stop(&self, name: &str) -> Result {
        self.delete::<Pod>(name).await
    }

    /// Deletes the namespace and waits until all that belonged to it is gone, volumes too.
    pub async fn remove(&self) -> Result {
        let namespaces = self.global::<Namespace>();
        if namespaces.get_opt(&self.name).await.doing("look for the namespace")?.is_some() {
            let now = DeleteParams::default();
            namespaces.delete(&self.name, &now).await.doing(format!("delete namespace {}", self.name))?;
        }
        until(format!("namespace {} to be gone", self.name), REMOVAL, async || {
            let Some(left) = namespaces.get_opt(&self.name).await? else { return Ok(Seen::Done(())) };
            let conditions = left.status.and_then(|status| status.conditions).unwrap_or_default();
            let told =
                conditions.into_iter().filter(|one| one.status == "True").filter_map(|one| one.message);
            Ok(Seen::NotYet(told.collect::<Vec<_>>().join("; ")))
        })
        .await?;
        self.no_volumes(REMOVAL).await?;
        let mine = ListParams::default().labels(&format!("{LABEL}={}", self.name));
        let now = DeleteParams::default();
        self.global::<StorageClass>().delete_collection(&now, &mine).await.doing("delete classes")?;
        self.global::<VolumeAttributesClass>()
            .delete_collection(&now, &mine)
            .await
            .doing("delete classes")?;
        Ok(())
    }

    pub async fn no_volumes(&self, patience: Duration) -> Result {
        until(format!("the volumes of {} to be gone", self.name), patience, async || {
            let left = self.volumes().await?;
            if left.is_empty() { Ok(Seen::Done(())) } else { Ok(Seen::NotYet(left.join(", "))) }
        })
        .await
    }

    /// The PersistentVolumes of the namespace, each with its phase.
    async fn volumes(&self) -> Result<Vec<String>> {
        let all =
            self.global::<PersistentVolume>().list(&ListParams::default()).await.doing("list volumes")?;
        let of_ours = |volume: &PersistentVolume| {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_ref()) == Some(&self.name)
        };
        let named = |volume: &PersistentVolume| {
            let phase = volume.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            format!("{} ({phase})", volume.name_any())
        };
        Ok(all.items.iter().filter(|volume| of_ours(volume)).map(named).collect())
    }
}

/// Longer than a pod of a dead node and its volumes may take.
const REMOVAL: Duration = Duration::from_secs(300);
