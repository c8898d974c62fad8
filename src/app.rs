//! Builds the house and lives in it: the only module that names concrete back ends, connectors and the host.

mod alive;
mod house;
mod kubelet;
mod kubernetes;
mod operate;
mod ready;
mod reload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, Overrides};
use crate::error::{Error, Result};
use crate::host::memory;
use crate::log::{self, LogHandle};
use crate::metrics::Metrics;
use crate::server::http::{Pages, Readiness};
use crate::server::shutdown::{self, End, Shutdown};
use crate::server::{self, http, socket};

use self::house::House;
use self::reload::Watch;

pub use house::offered;
pub use operate::operate;

/// Threads that run tasks. Nearly all of a task's life is waiting, so two are enough for hundreds of calls, and each
/// further one costs stack and allocator memory on every node of a cluster.
const WORKERS: usize = 2;
/// Stack of each thread. The deepest chain (an RPC through the decorators into a back end) needs well under half; only
/// pages that were touched count as resident.
const STACK: usize = 1024 * 1024;
/// How long a blocking thread waits for more work. Shorter than the default, so that a burst leaves no threads behind.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Which services a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The controller's.
    Controller,
    /// The node's.
    Node,
    /// Both, on one socket.
    All,
}

impl Role {
    /// Whether the controller's services are among them.
    #[must_use]
    pub const fn controller(self) -> bool {
        matches!(self, Self::Controller | Self::All)
    }

    /// Whether the node's services are among them.
    #[must_use]
    pub const fn node(self) -> bool {
        matches!(self, Self::Node | Self::All)
    }
}

/// The settings of a process and where they came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file.
    pub file: PathBuf,
    /// Options that stand above the file.
    pub overrides: Overrides,
    /// What came of both.
    pub config: Config,
}

/// Serves until it is asked to end.
///
/// # Errors
/// Where it cannot begin, where a server fails, or where operations were left unfinished at the end.
pub fn run(role: Role, settings: Settings) -> Result<()> {
    memory::share_arenas();
    let log = log::start(&settings.config.log)?;
    let runtime = runtime()?;
    let result = runtime.block_on(live(role, settings, log));
    // A thread that hangs on dead storage must not keep the process: it holds nothing that a kill would not also end.
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_stack_size(STACK)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the threads", error))
}

async fn live(role: Role, settings: Settings, log: LogHandle) -> Result<()> {
    let shutdown = shutdown::on_signals()?;
    let config = settings.config.clone();
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    for doubt in config.doubts().iter().filter(|_| role.controller()) {
        tracing::warn!("{doubt}");
    }
    let kubelet = config.kubelet_dir.as_deref().filter(|_| role.node());
    if let Some(kubelet) = kubelet {
        kubelet::check(kubelet)?;
        kubelet::make_home(kubelet, &config.endpoint)?;
    }
    let (house, parts) = House::build(role, &config, &metrics, &readiness)?;
    let house = Arc::new(house);
    if let Some(address) = config.http {
        let listener = http::listen(address).await?;
        let address = listener.local_addr().map_err(|error| Error::io("tell the HTTP address", error))?;
        tracing::info!(%address, "serving metrics and health");
        let pages = pages(&house, &metrics, &readiness, config.endpoint.clone(), shutdown.clone());
        tokio::spawn(http::serve(pages, listener));
    }
    house.pass_warnings_on();
    tokio::spawn(watch_file(Watch::new(settings, log, Arc::clone(&metrics))));
    ready::watch(parts, &readiness).await;
    // Blocks for microseconds, or for two seconds while nothing else is to be done.
    let taken = match kubelet {
        Some(_) => kubelet::taken(&config.driver_name),
        None => "choose another \"endpoint\"".to_owned(),
    };
    let (listener, file) = socket::listen_at(&config.endpoint, &taken)?;
    tracing::info!(
        driver = config.driver_name,
        role = ?role,
        version = env!("CARGO_PKG_VERSION"),
        socket = %config.endpoint.display(),
        "serving CSI"
    );
    let registrar = match kubelet {
        Some(kubelet) => Some(kubelet::register(kubelet, &config, &readiness, &metrics, house.renewal())?),
        None => None,
    };
    tokio::spawn(tell_the_end(shutdown.clone(), readiness));
    let serving = server::serve(house.routes(), listener, shutdown.clone());
    let end = shutdown.drain(config.grace_period, serving, || house.flights().len()).await;
    if let Some(registrar) = registrar {
        registrar.end().await;
    }
    drop(file);
    conclude(end?, &house)
}

fn pages(
    house: &Arc<House>,
    metrics: &Arc<Metrics>,
    readiness: &Readiness,
    endpoint: PathBuf,
    shutdown: Shutdown,
) -> Pages {
    let (house, fresh) = (Arc::clone(house), Arc::clone(metrics));
    let refresh =
        Arc::new(move || fresh.flights(house.flights().into_iter().map(|flight| (flight.phase, flight.age))));
    let alive = Arc::new(move || {
        let (endpoint, shutdown) = (endpoint.clone(), shutdown.clone());
        Box::pin(async move {
            tokio::select! {
                biased;
                // A process that ends takes no new connections; the grace period bounds that.
                () = shutdown.ordered() => Ok(()),
                checked = alive::check(&endpoint) => checked,
            }
        }) as _
    });
    Pages { metrics: Arc::clone(metrics), refresh, alive, readiness: readiness.clone() }
}

async fn watch_file(watch: Watch) {
    if let Err(error) = watch.run().await {
        tracing::error!(error = error.chain(), "the configuration file is not watched");
    }
}

/// From the order to end on, nobody should send new work here.
async fn tell_the_end(shutdown: Shutdown, readiness: Readiness) {
    shutdown.ordered().await;
    readiness.set("process", Some("is ending".to_owned()));
}

/// What the end was, and what it left behind. Whatever is unfinished is what a kill at this moment would leave, from
/// which the next process goes on; mounts are never touched.
fn conclude(end: End, house: &House) -> Result<()> {
    let why = match end {
        End::Finished => {
            tracing::info!("ended; nothing was under way");
            return Ok(());
        }
        End::Expired => "the grace period is over",
        End::Forced => "a second signal came",
    };
    let left = house.flights();
    for flight in &left {
        let (key, phase, seconds) = (&flight.key, flight.phase, flight.age.as_secs());
        tracing::warn!(key, phase, seconds, "left unfinished: the next process goes on from what is there");
    }
    Err(Error::internal(format!("ended early because {why}: {} operations are unfinished", left.len())))
}
