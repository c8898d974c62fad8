//! Puts the rooms together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tonic::service::Routes;

use crate::backend::cinder::connector::{CinderConnector, NamelessConnector};
use crate::backend::cinder::dialect::Telling;
use crate::backend::cinder::{CinderBackend, CinderConfig};
use crate::backend::file::{FileBackend, FileConfig, FileConnector};
use crate::backend::storpool::{StorpoolBackend, StorpoolConfig, StorpoolConnector};
use crate::backend::{Backend, Backends, Capabilities, Connector, Late, Metered, Opener};
use crate::config::{BackendConfig, Config};
use crate::controller::Controller;
use crate::csi::Edge;
use crate::error::{Error, Kind, Result};
use crate::flight::FlightStatus;
use crate::host::{Host, Linux};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::server::http::Readiness;
use crate::volume::{BackendName, Topology};

use super::ready::Part;
use super::{Role, kubernetes};

/// How often a back end that is ready is looked at again.
const LOOK: Duration = Duration::from_secs(30);

/// The rooms of one process.
pub struct House {
    controller: Option<Arc<Controller>>,
    node: Option<Arc<Node>>,
    edge: Edge,
}

impl House {
    /// Builds the rooms that the role needs, without I/O on any storage, and tells which parts are to be watched.
    ///
    /// # Errors
    /// Where this machine lacks what the configured file systems need; where the Kubernetes API must be used and cannot.
    pub fn build(
        role: Role,
        config: &Config,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
    ) -> Result<(Self, Vec<Part>)> {
        let mut parts = Vec::new();
        let controller = role.controller().then(|| controller(config, metrics, &mut parts));
        let node = match role.node() {
            true => Some(node(config, role, metrics, &mut parts)?),
            false => None,
        };
        let names = parts.iter().map(|part| part.name.clone()).collect();
        // Not among these parts: no call is answered through the Kubernetes API.
        let controller = match controller {
            Some(controller) => Some(Arc::new(in_cluster(controller, config, metrics, &mut parts)?)),
            None => None,
        };
        let edge = Edge::new(
            config.driver_name.clone(),
            offered(config),
            controller.clone(),
            node.clone(),
            Arc::clone(metrics),
            usable(readiness, names),
        );
        Ok((Self { controller, node, edge }, parts))
    }

    /// The CSI services.
    pub fn routes(&self) -> Routes {
        self.edge.routes()
    }

    /// From now on the cluster is told what is wrong with back ends, for as long as the house stands.
    pub fn pass_warnings_on(&self) {
        if let Some(controller) = &self.controller {
            tokio::spawn(kubernetes::pass_warnings_on(Arc::downgrade(controller)));
        }
    }

    /// Notified when the kubelet should ask again what this node is.
    pub fn renewal(&self) -> Arc<Notify> {
        self.node.as_ref().map_or_else(Arc::default, |node| node.renewal())
    }

    /// What is under way.
    pub fn flights(&self) -> Vec<FlightStatus> {
        let controller = self.controller.iter().flat_map(|controller| controller.flights());
        controller.chain(self.node.iter().flat_map(|node| node.flights())).collect()
    }
}

/// What Probe asks. One back end that cannot be used is no reason to call the whole driver unready: sidecars would not
/// start, and a liveness probe would end a process that serves the others well.
fn usable(readiness: &Readiness, parts: Vec<String>) -> Arc<dyn Fn() -> Result<()> + Send + Sync> {
    let readiness = readiness.clone();
    Arc::new(move || match parts.iter().any(|part| readiness.has(part)) {
        true => Ok(()),
        false => Err(Error::unknown(
            Kind::Unavailable,
            format!("no part can be used: {}", readiness.text().trim_end()),
        )),
    })
}

/// The controller, in no cluster, and its back ends as parts to be opened.
pub fn controller(config: &Config, metrics: &Arc<Metrics>, parts: &mut Vec<Part>) -> Controller {
    let mut backends = Backends::builder().foreign(config.node.foreign.clone());
    for (name, settings) in &config.backends {
        let late = Arc::new(Late::new(name.clone(), able(settings), opener(config, name, settings, metrics)));
        parts.push(backend_part(name, Arc::clone(&late), metrics));
        let metered = Metered::new(name.clone(), late, Arc::clone(metrics));
        backends = backends.add(name.clone(), Arc::new(metered));
    }
    Controller::new(Arc::new(backends.build()))
}

fn in_cluster(
    controller: Controller,
    config: &Config,
    metrics: &Arc<Metrics>,
    parts: &mut Vec<Part>,
) -> Result<Controller> {
    Ok(match kubernetes::open(config, metrics, parts)? {
        Some(kubernetes) => controller.with_cluster(kubernetes),
        None => controller,
    })
}

/// What the driver can do with one of its back ends or another, as far as the configuration tells.
pub fn offered(config: &Config) -> Capabilities {
    let able = config.backends.iter().map(|(_, settings)| able(settings));
    able.fold(Capabilities::NONE, Capabilities::or)
}

/// What a back end with these settings can do at best. A cloud that is asked may lack some of it.
fn able(settings: &BackendConfig) -> Capabilities {
    match settings {
        BackendConfig::Cinder(settings) => settings.dialect.capabilities(),
        BackendConfig::File(_) => FileBackend::CAPABILITIES,
        BackendConfig::Storpool(_) => StorpoolBackend::CAPABILITIES,
    }
}

/// The segment by which the nodes that have a back end configured are known.
fn segment(config: &Config, name: &BackendName) -> String {
    format!("{}/{name}", config.driver_name)
}

/// The settings with what the rest of the configuration tells: a key for the zones of servers and volumes, a back end's own where the configuration names none: two
/// clouds may have zones of the same name, and Kubernetes' own zones may be others.
fn zoned(config: &Config, name: &BackendName, settings: &CinderConfig) -> CinderConfig {
    let mut settings = settings.clone();
    settings.zone_key.get_or_insert_with(|| segment(config, name));
    if settings.dialect.servers.binding {
        settings.server_key = Some(format!("{}.server", segment(config, name)));
    }
    if settings.dialect.disks == Telling::Nothing {
        // Beside the socket is where a node's process may write what its next one is to find.
        settings.node.state = config.endpoint.parent().map(Path::to_owned);
    }
    settings
}

/// A place in the topology: where the configuration names none, a segment of the back end's own, so that the scheduler
/// chooses only nodes that have it configured.
fn place(config: &Config, name: &BackendName, named: &Topology) -> Topology {
    let own = || Topology([(segment(config, name), "reachable".to_owned())].into());
    if named.0.is_empty() { own() } else { named.clone() }
}

fn placed(config: &Config, name: &BackendName, settings: &FileConfig) -> FileConfig {
    FileConfig { reach: place(config, name, &settings.reach), ..settings.clone() }
}

fn placed_storpool(config: &Config, name: &BackendName, settings: &StorpoolConfig) -> StorpoolConfig {
    let reach = place(config, name, &settings.reach);
    StorpoolConfig { reach, host: Some(config.node.name.clone()), ..settings.clone() }
}

fn opener(config: &Config, name: &BackendName, settings: &BackendConfig, metrics: &Arc<Metrics>) -> Opener {
    match settings {
        BackendConfig::Cinder(settings) => {
            let (name, settings, metrics) =
                (name.clone(), zoned(config, name, settings), Arc::clone(metrics));
            Box::new(move || {
                let (name, settings, metrics) = (name.clone(), settings.clone(), Arc::clone(&metrics));
                Box::pin(async move {
                    let backend = CinderBackend::open(name.as_str(), settings, metrics).await?;
                    Ok(Arc::new(backend) as Arc<dyn Backend>)
                })
            })
        }
        BackendConfig::File(settings) => {
            let settings = placed(config, name, settings);
            Box::new(move || {
                let settings = settings.clone();
                Box::pin(async move {
                    let backend = FileBackend::open(settings).await?;
                    Ok(Arc::new(backend) as Arc<dyn Backend>)
                })
            })
        }
        BackendConfig::Storpool(settings) => {
            let settings = placed_storpool(config, name, settings);
            let (name, metrics) = (name.clone(), Arc::clone(metrics));
            Box::new(move || {
                let (name, settings, metrics) = (name.clone(), settings.clone(), Arc::clone(&metrics));
                Box::pin(async move {
                    let backend = StorpoolBackend::open(name.as_str(), settings, metrics).await?;
                    Ok(Arc::new(backend) as Arc<dyn Backend>)
                })
            })
        }
    }
}

fn backend_part(name: &BackendName, late: Arc<Late>, metrics: &Arc<Metrics>) -> Part {
    let probe = move || {
        let late = Arc::clone(&late);
        Box::pin(async move {
            late.open().await?;
            late.ready().await
        }) as _
    };
    let part = format!("back end {name}");
    Part { name: part, probe: Box::new(probe), again: Some(LOOK), tell: tell(name, metrics) }
}

fn tell(name: &BackendName, metrics: &Arc<Metrics>) -> Box<dyn Fn(bool) + Send + Sync> {
    let (name, metrics) = (name.clone(), Arc::clone(metrics));
    Box::new(move |ready| metrics.backend_ready(name.as_str(), ready))
}

fn node(config: &Config, role: Role, metrics: &Arc<Metrics>, parts: &mut Vec<Part>) -> Result<Arc<Node>> {
    let host = Arc::new(Linux::new());
    require(&host.missing_tools(&config.file_systems))?;
    let mut connectors: BTreeMap<BackendName, Arc<dyn Connector>> = BTreeMap::new();
    for (name, settings) in &config.backends {
        connectors.insert(name.clone(), connector(config, name, settings, metrics));
    }
    let node = Arc::new(Node::new(config.node.clone(), host, connectors, Arc::clone(metrics)));
    parts.extend(config.backends.iter().map(|(name, _)| node_part(name, &node, role, metrics)));
    Ok(node)
}

/// Refuses to start a node that would fail at its first pod.
fn require(missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::precondition(format!(
        "this node lacks tools that \"node.fileSystems\" needs: {}: install the packages, or leave file systems out",
        missing.join(", ")
    )))
}

fn connector(
    config: &Config,
    name: &BackendName,
    settings: &BackendConfig,
    metrics: &Arc<Metrics>,
) -> Arc<dyn Connector> {
    match settings {
        BackendConfig::File(settings) => {
            let settings = placed(config, name, settings);
            Arc::new(FileConnector::new(settings, name.clone(), config.node.name.clone()))
        }
        BackendConfig::Cinder(settings) if settings.dialect.disks != Telling::Nothing => {
            Arc::new(CinderConnector::new(zoned(config, name, settings), Arc::clone(metrics)))
        }
        BackendConfig::Cinder(settings) => {
            Arc::new(NamelessConnector::new(zoned(config, name, settings), config.node.name.clone()))
        }
        BackendConfig::Storpool(settings) => {
            let settings = placed_storpool(config, name, settings);
            Arc::new(StorpoolConnector::new(settings, config.node.name.clone()))
        }
    }
}

/// A node joins each back end once at start; after that, each NodeGetInfo joins again.
fn node_part(name: &BackendName, node: &Arc<Node>, role: Role, metrics: &Arc<Metrics>) -> Part {
    let (node, joined) = (Arc::clone(node), name.clone());
    let probe = move || {
        let (node, name) = (Arc::clone(&node), joined.clone());
        Box::pin(async move { node.join(&name).await }) as _
    };
    // Where both are in one process, the metric is the controller's, which knows more.
    let tell = if role == Role::Node { tell(name, metrics) } else { Box::new(|_| {}) };
    Part { name: format!("node at back end {name}"), probe: Box::new(probe), again: None, tell }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let environment = &crate::config::ProcessEnvironment;
        let text = format!("endpoint: unix:///run/x/csi.sock\nbackends: {text}\n");
        crate::config::parse("f.yaml", text.as_bytes(), &Default::default(), environment).unwrap()
    }

    #[test]
    fn what_one_back_end_or_another_can_do_is_advertised() {
        for (backends, words) in [
            ("{sky: {kind: cinder, dialect: cyclades}}", &["other attributes"][..]),
            ("{dfw: {kind: cinder, dialect: rackspace}}", &["snapshots", "clones"]),
            (
                "{dfw: {kind: cinder, dialect: rackspace, cloud: d}, sky: {kind: cinder, dialect: cyclades}}",
                &["snapshots", "clones", "other attributes"],
            ),
            (
                "{here: {kind: file, directory: /d}}",
                &["snapshots", "group snapshots", "clones", "growth in use"],
            ),
            (
                "{here: {kind: file, directory: /d}, sky: {kind: cinder, dialect: cyclades}}",
                &Capabilities::ALL.words(),
            ),
            ("{east: {kind: cinder}}", &Capabilities::ALL.words()),
        ] {
            assert_eq!(offered(&config(backends)).words(), words, "{backends}");
        }
    }

    #[test]
    fn a_cloud_whose_disks_say_nothing_gets_what_its_nodes_need() {
        let config = config("{sky: {kind: cinder, dialect: cyclades, cloud: s}, east: {kind: cinder}}");
        let settings = |at: usize| {
            let (name, BackendConfig::Cinder(settings)) = &config.backends[at] else { panic!() };
            zoned(&config, name, settings)
        };
        let sky = settings(0);
        assert_eq!(sky.server_key.as_deref(), Some("csi.fairlead.dev/sky.server"));
        assert_eq!(sky.node.state.as_deref(), Some(Path::new("/run/x")));
        let east = settings(1);
        assert_eq!((east.server_key, east.node.state), (None, None));
    }

    #[test]
    fn all_missing_tools_are_named_at_once() {
        assert!(require(&[]).is_ok());
        let missing =
            ["mkfs.xfs (Debian package xfsprogs)", "btrfs (Debian package btrfs-progs)"].map(str::to_owned);
        let text = require(&missing).unwrap_err().to_string();
        assert!(
            text.contains("mkfs.xfs (Debian package xfsprogs), btrfs (Debian package btrfs-progs)"),
            "{text}"
        );
    }
}
