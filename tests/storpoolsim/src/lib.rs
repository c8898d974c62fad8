//! A StorPool cluster, simulated: its management API over HTTP, and what goes on in it.
//!
//! [`state`] knows what a cluster has, `wire` how that is asked for. What no source tells about real clusters can be set in
//! [`Config`].

pub mod config;
mod disks;
mod journal;
mod location;
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

pub use cloudsim::{Count, Counts, Fault, Faults, Rule, TlsAcceptor};
pub use config::{Config, Late, Status, Template, Timings};
pub use disks::Devices;
pub use journal::Told;
pub use state::Cluster;
use state::Refusal;

/// A cluster that runs until it is dropped.
pub struct Sim {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    /// What listens at each address.
    listeners: Mutex<Vec<JoinHandle<()>>>,
    tasks: Vec<JoinHandle<()>>,
    scheme: &'static str,
}

/// How late a client may see what changed.
const TICK: Duration = Duration::from_millis(10);

/// What requests and tests share.
struct Shared {
    /// The one whose management API it is.
    cluster: Mutex<Cluster>,
    /// The others of its location. Locked after it, in their order.
    others: Vec<Mutex<Cluster>>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    devices: Mutex<Showing>,
    /// `None` where nobody wants to know.
    journal: Mutex<Option<Vec<Told>>>,
    start: Instant,
    /// The start in the cluster's time, since 1970.
    epoch: Duration,
    /// What was added to the time since.
    leap: Mutex<Duration>,
}

/// Who shows devices, and why that came to an end.
#[derive(Default)]
struct Showing {
    to: Option<Devices>,
    broken: Option<String>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let listeners = locked(&self.listeners);
        self.tasks.iter().chain(listeners.iter()).for_each(JoinHandle::abort);
        // Connections may still be open, and their tasks hold what is shared.
        locked(&self.shared.devices).to = None;
    }
}

/// What panics under these locks is a test, which then fails by itself.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The cluster as it is now.
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        let mut cluster = locked(&self.cluster);
        self.advance(&mut cluster);
        self.show(&mut cluster);
        cluster
    }

    fn advance(&self, cluster: &mut Cluster) {
        let leap = *locked(&self.leap);
        cluster.advance(self.epoch + self.start.elapsed() + leap);
    }

    /// All clusters of the location as they are now; the one whose API it is comes first.
    fn location(&self) -> Vec<MutexGuard<'_, Cluster>> {
        let mut all = vec![self.cluster()];
        for other in &self.others {
            let mut other = locked(other);
            self.advance(&mut other);
            all.push(other);
        }
        all
    }

    /// Shows what changed before anybody is told of it.
    fn show(&self, cluster: &mut Cluster) {
        let Some(changes) = &mut cluster.changes else { return };
        let mut showing = locked(&self.devices);
        for change in changes.drain(..) {
            let shown = showing.to.as_mut().map_or(Ok(()), |devices| devices.change(&change));
            if let Err(error) = shown {
                showing.broken.get_or_insert_with(|| format!("{change:?}: {error}"));
            }
        }
    }

    /// Lets the cluster know which devices are in use.
    fn look_at_devices(&self, cluster: &mut Cluster) {
        if let Some(devices) = &locked(&self.devices).to {
            let open = devices.open();
            cluster.set_opens(|client, id| open.contains(&(client, id)));
        }
    }

    /// Notes a request with its answer, where somebody wants to know.
    fn note(&self, told: Told, refusal: Option<&Refusal>) {
        if let Some(journal) = &mut *locked(&self.journal) {
            journal.push(told.answered(refusal));
        }
    }

    fn rules(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    fn counted(&self) -> MutexGuard<'_, Counts> {
        locked(&self.counts)
    }
}

impl Sim {
    /// Starts a cluster on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start(config: Config) -> io::Result<Self> {
        Self::start_at(config, &[([127, 0, 0, 1], 0).into()]).await
    }

    /// Starts a cluster that can be reached at each of these addresses.
    ///
    /// # Errors
    /// Where it cannot listen there.
    pub async fn start_at(config: Config, at: &[SocketAddr]) -> io::Result<Self> {
        let mut sim = Self::new(vec![config])?;
        for address in at {
            let listener = TcpListener::bind(address).await?;
            sim.addresses.push(listener.local_addr()?);
            locked(&sim.listeners).push(cloudsim::serve(listener, Arc::clone(&sim.shared)));
        }
        Ok(sim)
    }

    /// Starts the clusters of a location. The management API, on a free port of 127.0.0.1, is the first one's.
    ///
    /// # Errors
    /// Where it cannot listen, or there is no cluster.
    pub async fn start_location(configs: Vec<Config>) -> io::Result<Self> {
        let mut sim = Self::new(configs)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        sim.addresses.push(listener.local_addr()?);
        locked(&sim.listeners).push(cloudsim::serve(listener, Arc::clone(&sim.shared)));
        Ok(sim)
    }

    /// Starts a cluster on a free port of 127.0.0.1 that is reached over TLS alone.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub async fn start_tls(config: Config, tls: TlsAcceptor) -> io::Result<Self> {
        let mut sim = Self::new(vec![config])?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        sim.addresses.push(listener.local_addr()?);
        sim.tasks.push(cloudsim::serve_tls(listener, tls, Arc::clone(&sim.shared)));
        sim.scheme = "https";
        Ok(sim)
    }

    fn new(configs: Vec<Config>) -> io::Result<Self> {
        let epoch = SystemTime::UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
        let mut clusters = configs.into_iter().map(|config| Mutex::new(Cluster::new(config, epoch)));
        let first = clusters.next().ok_or_else(|| io::Error::other("a location has a cluster"))?;
        let shared = Arc::new(Shared {
            cluster: first,
            others: clusters.collect(),
            faults: Mutex::default(),
            counts: Mutex::default(),
            devices: Mutex::default(),
            journal: Mutex::default(),
            start: Instant::now(),
            epoch,
            leap: Mutex::default(),
        });
        Ok(Self {
            shared,
            addresses: Vec::new(),
            listeners: Mutex::default(),
            tasks: Vec::new(),
            scheme: "http",
        })
    }

    /// Lets it be reached, or not, at one of its addresses. Requests that are there already are answered.
    ///
    /// # Errors
    /// Where it cannot listen there any more, or has no such address.
    pub async fn reach(&self, at: usize, open: bool) -> io::Result<()> {
        let address = *self.addresses.get(at).ok_or_else(|| io::Error::other("there is no such address"))?;
        let shut = locked(&self.listeners).get(at).is_none_or(JoinHandle::is_finished);
        match (open, shut) {
            (true, true) => {
                let listener = TcpListener::bind(address).await?;
                let serving = cloudsim::serve(listener, Arc::clone(&self.shared));
                if let Some(old) = locked(&self.listeners).get_mut(at) {
                    *old = serving;
                }
            }
            (false, false) => {
                let old = locked(&self.listeners).get(at).map(JoinHandle::abort_handle);
                if let Some(old) = old {
                    old.abort();
                    while !old.is_finished() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The URL of its first management address.
    #[must_use]
    pub fn url(&self) -> String {
        let first = self.addresses.first();
        first.map(|address| format!("{}://{address}", self.scheme)).unwrap_or_default()
    }

    /// Another cluster of the location, to look at and to change. Never while another of them is held.
    ///
    /// # Panics
    /// Where there is none of this id.
    pub fn neighbour(&self, cluster_id: &str) -> MutexGuard<'_, Cluster> {
        let found = self.shared.others.iter().find(|one| locked(one).config.cluster_id == cluster_id);
        #[allow(clippy::expect_used, reason = "a test that asks for it has not made it")]
        let mut found = locked(found.expect("no such cluster in the location"));
        self.shared.advance(&mut found);
        found
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The cluster as it is now, to look at and to change. Requests wait as long as it is held.
    ///
    /// # Panics
    /// Where devices were to be shown and could not be.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        let cluster = self.shared.cluster();
        let broken = locked(&self.shared.devices).broken.clone();
        assert!(broken.is_none(), "devices cannot be shown any more: {broken:?}");
        cluster
    }

    /// Lets so much time pass at once.
    pub fn leap(&self, time: Duration) {
        *locked(&self.shared.leap) += time;
        drop(self.cluster());
    }

    /// From now on, clients see devices, whether or not anybody asks the cluster meanwhile.
    ///
    /// # Panics
    /// Where the location has several clusters: what moves would lose its content.
    pub fn show(&mut self, devices: Devices) {
        assert!(self.shared.others.is_empty(), "only the devices of a single cluster are shown");
        locked(&self.shared.devices).to = Some(devices);
        self.shared.cluster().changes = Some(Vec::new());
        let shared = Arc::clone(&self.shared);
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                drop(shared.cluster());
            }
        }));
    }

    /// From now on, something goes wrong with some requests. The first rule that fits a request decides. A rule's path
    /// ends in the call, such as `/VolumeCreate` or `/Volume/{id}`, whatever stands before that.
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

    /// The requests since the start or since they were last forgotten, by method and call.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counted().clone()
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.counted().values().map(|count| count.requests).sum()
    }

    /// From now on, requests are noted.
    pub fn keep_journal(&self) {
        locked(&self.shared.journal).get_or_insert_default();
    }

    /// The requests that were noted.
    #[must_use]
    pub fn journal(&self) -> Vec<Told> {
        locked(&self.shared.journal).clone().unwrap_or_default()
    }

    /// Forgets the requests that there were.
    pub fn forget_counts(&self) {
        self.shared.counted().clear();
    }
}

/// A fault: nothing is done, and this error is answered.
#[must_use]
pub fn refuse(status: u16, name: &str, text: &str, transient: bool) -> Fault {
    let error = serde_json::json!({"name": name, "descr": text, "transient": transient});
    Fault::Refuse(status, error.to_string())
}
