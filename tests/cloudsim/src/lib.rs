//! Clouds with OpenStack's block storage, simulated: they answer as the real services do, and do as these do after the
//! answer, also what these do wrong.
//!
//! [`state`] knows what a cloud has and what goes on in it, [`wire`] how that is asked for over HTTP.

pub mod config;
pub mod disks;
mod end;
pub mod state;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use config::{Config, Dialect, NameFilter, PASSWORD, Version};
pub use disks::{Disks, LoopDisks};
pub use end::End;
pub use state::{Caller, Cloud, Fate, Leftover, Phase};
pub use tokio_rustls::TlsAcceptor;
pub use wire::{Count, Counts, Fault, Faults, Reply, Request, Rule, Service, serve, serve_tls};

/// A cloud that runs until it is dropped.
pub struct Sim {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
    ticks: Option<JoinHandle<()>>,
}

/// How late somebody may hear of a disk.
const TICK: Duration = Duration::from_millis(10);

/// What requests and tests share.
pub(crate) struct Shared {
    cloud: Mutex<Cloud>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    disks: Mutex<Shown>,
    start: Instant,
    /// The start in the cloud's time, since 1970.
    epoch: Duration,
}

/// Who is told of disks, and why that came to an end.
#[derive(Default)]
struct Shown {
    to: Option<Box<dyn Disks>>,
    broken: Option<String>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(ticks) = &self.ticks {
            ticks.abort();
        }
        // Connections may still be open, and their tasks hold what is shared.
        self.shared.disks.lock().unwrap_or_else(PoisonError::into_inner).to = None;
    }
}

impl Shared {
    /// The cloud as it is now.
    pub(crate) fn cloud(&self) -> MutexGuard<'_, Cloud> {
        let mut cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
        cloud.advance(self.epoch + self.start.elapsed());
        self.show(&mut cloud);
        cloud
    }

    /// Tells of the disks that came and went, before anybody sees the cloud that has them.
    fn show(&self, cloud: &mut Cloud) {
        let Some(changes) = &mut cloud.changes else { return };
        let mut shown = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes.drain(..) {
            let told = shown.to.as_mut().map_or(Ok(()), |disks| disks.change(&change));
            if let Err(error) = told {
                shown.broken.get_or_insert_with(|| format!("{change:?}: {error}"));
            }
        }
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counted(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sim {
    /// Starts a cloud on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start(config: Config) -> io::Result<Self> {
        Self::start_at(config, ([127, 0, 0, 1], 0).into()).await
    }

    /// Starts a cloud at an address.
    ///
    /// # Errors
    /// Where it cannot listen there.
    pub async fn start_at(config: Config, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let epoch = SystemTime::UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            cloud: Mutex::new(Cloud::new(config, epoch)),
            faults: Mutex::default(),
            counts: Mutex::default(),
            disks: Mutex::default(),
            start: Instant::now(),
            epoch,
        });
        let task = serve(listener, Arc::clone(&shared));
        Ok(Self { shared, address, task, ticks: None })
    }

    /// Takes orders from outside, at another address, as long as the task runs.
    ///
    /// # Errors
    /// Where it cannot listen there.
    pub async fn control(self: &Arc<Self>, address: SocketAddr) -> io::Result<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind(address).await?;
        Ok((listener.local_addr()?, wire::server::serve_control(listener, Arc::clone(self))))
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its identity service.
    #[must_use]
    pub fn auth_url(&self) -> String {
        let version = if self.cloud().config.dialect == Dialect::Openstack { "v3" } else { "v2.0" };
        format!("http://{}/identity/{version}", self.address)
    }

    /// A `clouds.yaml` with which each user logs in to the cloud of its own name.
    #[must_use]
    pub fn clouds_yaml(&self) -> String {
        let url = self.auth_url();
        let cloud = self.cloud();
        let mut text = "clouds:\n".to_owned();
        for user in &cloud.config.users {
            let region = &cloud.config.region;
            text += &match cloud.config.dialect {
                Dialect::Openstack => format!(
                    "  {}:\n    region_name: {region}\n    auth:\n      auth_url: {url}\n      username: {}\n      \
                     password: {}\n      project_name: {}\n      user_domain_id: default\n      \
                     project_domain_id: default\n",
                    user.name, user.name, user.password, user.project
                ),
                Dialect::Rackspace => format!(
                    "  {}:\n    region_name: {region}\n    auth_type: rackspace_apikey\n    auth:\n      \
                     auth_url: {url}\n      username: {}\n      api_key: {}\n",
                    user.name, user.name, user.password
                ),
                Dialect::Cyclades => format!(
                    "  {}:\n    auth_type: v2token\n    auth:\n      auth_url: {url}\n      token: {}\n",
                    user.name, user.password
                ),
            };
        }
        text
    }

    /// The cloud as it is now, to look at and to change. Requests wait as long as it is held.
    ///
    /// # Panics
    /// Where disks were to be shown and could not be.
    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        let cloud = self.shared.cloud();
        let shown = self.shared.disks.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(shown.broken.is_none(), "disks cannot be shown any more: {:?}", shown.broken);
        drop(shown);
        cloud
    }

    /// From now on, somebody is told of disks as they come and go, whether or not anybody asks the cloud meanwhile.
    pub fn show_disks(&mut self, disks: impl Disks + 'static) {
        self.shared.disks.lock().unwrap_or_else(PoisonError::into_inner).to = Some(Box::new(disks));
        self.shared.cloud().changes = Some(Vec::new());
        let shared = Arc::clone(&self.shared);
        self.ticks = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                drop(shared.cloud());
            }
        }));
    }

    /// Makes a server in a project, in the first zone, and tells its id.
    ///
    /// # Panics
    /// Where there is no project of this name.
    #[must_use]
    pub fn add_server(&self, project: &str, name: &str) -> String {
        let mut cloud = self.cloud();
        let project = cloud.config.project(project).map(|project| project.id.clone());
        let project = project.unwrap_or_default();
        assert!(!project.is_empty(), "there is no such project");
        let zone = cloud.config.zones.first().cloned().unwrap_or_default();
        cloud.add_server(&project, name, &zone)
    }

    /// From now on, something goes wrong with some requests. The first rule that fits a request decides.
    pub fn order(&self, rule: Rule) {
        self.shared.rules().add(rule);
    }

    /// Nothing goes wrong with requests any more.
    pub fn clear_orders(&self) {
        self.shared.rules().clear();
    }

    /// The rules of which something is left.
    #[must_use]
    pub fn orders(&self) -> Vec<Rule> {
        self.shared.rules().rules().to_vec()
    }

    /// No token that was given out is good any more.
    pub fn expire_tokens(&self) {
        let mut cloud = self.cloud();
        for token in cloud.tokens.iter_mut() {
            token.end = Duration::ZERO;
        }
    }

    /// The requests since the start or since they were last forgotten.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counted().clone()
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.counted().values().map(|count| count.requests).sum()
    }

    /// Forgets the requests that there were.
    pub fn forget_counts(&self) {
        self.shared.counted().clear();
    }
}
