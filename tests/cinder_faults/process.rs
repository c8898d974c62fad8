//! The driver's process, as far as a kill is concerned: a runtime of its own with all its tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::RwLock;

use fairlead::backend::Backends;
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::{CinderConfig, Rate, Rates};
use fairlead::backend::cinder::credentials::Source;
use fairlead::controller::Controller;
use fairlead::volume::BackendName;

use crate::kind::Kind;

/// The segments of the topology that tell of a place in a cloud, and of a server.
pub const PLACE: &str = "csi.fairlead.dev/cloud";
pub const SERVER: &str = "csi.fairlead.dev/cloud.server";

/// The name of its one back end.
pub fn backend() -> BackendName {
    "cloud".parse().unwrap()
}

#[derive(Debug)]
struct Process {
    /// `None` when it has ended.
    runtime: Option<Runtime>,
    handle: Handle,
    controller: Arc<Controller>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where a process runs, one after the other.
#[derive(Debug)]
pub struct Seat {
    kind: &'static Kind,
    clouds: PathBuf,
    now: RwLock<Option<Process>>,
    starts: AtomicUsize,
}

impl Seat {
    /// With a process that reads this `clouds.yaml`.
    pub async fn new(kind: &'static Kind, clouds: &Path) -> Self {
        let seat =
            Self { kind, clouds: clouds.to_owned(), now: RwLock::new(None), starts: AtomicUsize::new(0) };
        *seat.now.write().await = Some(seat.start().await);
        seat
    }

    /// As Kubernetes does it: again, until it gets through.
    async fn start(&self) -> Process {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // By its ways to log in, in turn.
        let logins = self.kind.logins;
        let cloud = logins[self.starts.fetch_add(1, Ordering::Relaxed) % logins.len()];
        loop {
            let source = Source::Clouds { file: self.clouds.clone(), cloud: Some(cloud.to_owned()) };
            let rate = Rate { per_second: 1000.0, burst: 1000 };
            let mut config = CinderConfig::of(self.kind.dialect, source);
            if self.kind.bound.is_some() {
                (config.zone_key, config.server_key) = (Some(PLACE.to_owned()), Some(SERVER.to_owned()));
            }
            config.rates = Rates { read: rate, write: rate };
            let opened = runtime.spawn(async { CinderBackend::open("cloud", config, Arc::default()).await });
            match opened.await.unwrap() {
                Ok(opened) => {
                    let backends = Backends::builder().add(backend(), Arc::new(opened)).build();
                    let controller = Arc::new(Controller::new(Arc::new(backends)));
                    return Process { handle: runtime.handle().clone(), runtime: Some(runtime), controller };
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Ends the process wherever it is, and starts another one.
    pub async fn kill(&self) {
        let mut now = self.now.write().await;
        if let Some(runtime) = now.take().and_then(|mut process| process.runtime.take()) {
            let ended =
                tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)));
            ended.await.unwrap();
        }
        *now = Some(self.start().await);
    }

    /// Calls the process. `None`: it was killed meanwhile.
    pub async fn call<T, F>(&self, work: impl FnOnce(Arc<Controller>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let now = self.now.read().await;
        let process = now.as_ref()?;
        let called = process.handle.spawn(work(Arc::clone(&process.controller)));
        drop(now);
        match called.await {
            Ok(answer) => Some(answer),
            Err(ended) if ended.is_cancelled() => None,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// What is under way.
    pub async fn flights(&self) -> String {
        let now = self.now.read().await;
        now.as_ref().map_or_else(String::new, |process| format!("{:?}", process.controller.flights()))
    }
}
