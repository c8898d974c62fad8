//! When the API server told of each step of a life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt as _};
use tokio::task::JoinHandle;

/// The steps of one life, by the bench's clock.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    pub began: Option<SystemTime>,
    pub chosen: Option<SystemTime>,
    pub bound: Option<SystemTime>,
    pub scheduled: Option<SystemTime>,
    pub attached: Option<SystemTime>,
    pub running: Option<SystemTime>,
    /// The PersistentVolume's name, which is the volume's CSI name.
    pub volume: Option<String>,
}

impl Marks {
    /// From the order to the running pod.
    pub fn whole(&self) -> Option<Duration> {
        self.running?.duration_since(self.began?).ok()
    }
}

/// All lives by the name of their claim and pod.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<Mutex<HashMap<String, Marks>>>);

impl Book {
    pub fn mark(&self, life: &str, mark: impl FnOnce(&mut Marks)) {
        mark(self.0.lock().unwrap().entry(life.to_owned()).or_default());
    }

    pub fn get(&self, life: &str) -> Marks {
        self.0.lock().unwrap().get(life).cloned().unwrap_or_default()
    }

    fn of_volume(&self, volume: &str) -> Option<String> {
        let book = self.0.lock().unwrap();
        let mut lives = book.iter().filter(|(_, marks)| marks.volume.as_deref() == Some(volume));
        lives.next().map(|(life, _)| life.clone())
    }

    /// Watches claims and pods of a namespace, and all attachments, until the tasks are aborted.
    pub fn watch(&self, client: &Client, namespace: &str) -> Vec<JoinHandle<()>> {
        let (claims, pods, attachments) = (self.clone(), self.clone(), self.clone());
        vec![
            follow(Api::namespaced(client.clone(), namespace), move |claim| claims.claim(claim)),
            follow(Api::namespaced(client.clone(), namespace), move |pod| pods.pod(pod)),
            follow(Api::all(client.clone()), move |attachment| attachments.attachment(attachment)),
        ]
    }

    fn claim(&self, claim: &PersistentVolumeClaim) {
        let chosen = claim.annotations().contains_key("volume.kubernetes.io/selected-node");
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        self.mark(&claim.name_any(), |marks| {
            now_if(&mut marks.chosen, chosen);
            now_if(&mut marks.bound, phase == Some("Bound"));
            marks.volume = volume.or_else(|| marks.volume.take());
        });
    }

    fn pod(&self, pod: &Pod) {
        let scheduled = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        self.mark(&pod.name_any(), |marks| {
            now_if(&mut marks.scheduled, scheduled);
            now_if(&mut marks.running, running);
        });
    }

    fn attachment(&self, attachment: &VolumeAttachment) {
        let attached = attachment.status.as_ref().is_some_and(|status| status.attached);
        let volume = attachment.spec.source.persistent_volume_name.as_deref();
        if let Some(life) = volume.filter(|_| attached).and_then(|volume| self.of_volume(volume)) {
            self.mark(&life, |marks| now_if(&mut marks.attached, true));
        }
    }
}

fn now_if(mark: &mut Option<SystemTime>, seen: bool) {
    if seen && mark.is_none() {
        *mark = Some(SystemTime::now());
    }
}

/// Tells of every change from now on. A watch that the server ends goes on where it ended.
fn follow<K>(api: Api<K>, tell: impl Fn(&K) + Send + 'static) -> JoinHandle<()>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    tokio::spawn(async move {
        let mut version = "0".to_owned();
        loop {
            let mut events = api.watch(&WatchParams::default().timeout(290), &version).await.unwrap().boxed();
            while let Some(event) = events.try_next().await.unwrap() {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        version = object.resource_version().unwrap_or(version);
                        tell(&object);
                    }
                    // The version is too old: all that is there comes again, and marks stay as they are.
                    WatchEvent::Error(error) if error.code == 410 => version = "0".to_owned(),
                    WatchEvent::Error(error) => panic!("a watch broke: {error:?}"),
                    WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                }
            }
        }
    })
}
