//! Claims with their pods, made and deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::marks::{Book, Marks};

const NAMESPACE: &str = "fairlead-bench";
const PAUSE: Duration = Duration::from_millis(100);
/// Only for giving up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the lives are led.
pub struct Site {
    client: Client,
    pub class: String,
    pub image: String,
    run: AtomicUsize,
    /// Requests of the bench itself.
    own: Arc<AtomicUsize>,
}

impl Site {
    pub async fn make(client: Client, class: String, image: String) -> Self {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a namespace that is not there yet");
        let this = Self { client, class, image, run: AtomicUsize::new(0), own: Arc::default() };
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(this.client.clone(), NAMESPACE);
        this.until("the namespace's service account", async || {
            accounts.get_opt("default").await.unwrap().is_some()
        })
        .await;
        this
    }

    pub async fn remove(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(NAMESPACE, &DeleteParams::default()).await.unwrap();
    }

    /// Leads `count` lives, `at_once` of them side by side: claim and pod, until it runs; then both deleted, until the
    /// volume is gone. Tells the marks of each, and how many requests the bench itself has sent.
    pub async fn live(&self, at_once: usize, count: usize) -> (Vec<Marks>, usize) {
        self.own.store(0, Ordering::Relaxed);
        let book = Book::default();
        let watches = book.watch(&self.client, NAMESPACE);
        let run = self.run.fetch_add(1, Ordering::Relaxed);
        let names: Vec<_> = (0..count).map(|number| format!("life-{run}-{number}")).collect();
        stream::iter(&names).for_each_concurrent(at_once, |name| self.one(name, &book)).await;
        watches.iter().for_each(tokio::task::JoinHandle::abort);
        (names.iter().map(|name| book.get(name)).collect(), self.own.load(Ordering::Relaxed))
    }

    async fn one(&self, name: &str, book: &Book) {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        book.mark(name, |marks| marks.began = Some(SystemTime::now()));
        self.count(2);
        claims.create(&PostParams::default(), &self.claim(name)).await.unwrap();
        pods.create(&PostParams::default(), &self.pod(name)).await.unwrap();
        // The watches tell, so waiting costs no requests.
        let running = async || {
            let marks = book.get(name);
            marks.running.is_some() && marks.attached.is_some() && marks.volume.is_some()
        };
        self.until(name, running).await;
        self.count(2);
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
        claims.delete(name, &DeleteParams::default()).await.unwrap();
        let volume = book.get(name).volume.unwrap();
        self.until(&volume, async || {
            self.count(1);
            volumes.get_metadata_opt(&volume).await.unwrap().is_none()
        })
        .await;
    }

    fn count(&self, requests: usize) {
        self.own.fetch_add(requests, Ordering::Relaxed);
    }

    async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let began = SystemTime::now();
        while !done().await {
            assert!(began.elapsed().unwrap() < PATIENCE, "{what}: not within {PATIENCE:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn claim(&self, name: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.class,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }))
        .unwrap()
    }

    fn pod(&self, name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [{
                    "name": "main",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "sleep 1000000"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
            },
        }))
        .unwrap()
    }
}
