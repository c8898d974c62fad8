//! A simulated Cyclades with servers, and a back end of its project.

use std::path::PathBuf;
use std::sync::Arc;

use cloudsim::{Config, Sim};
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::backend::{AttachOrder, Backend, DetachOrder, VolumeOrder};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, Topology, TopologyRequirement,
};
use tempfile::TempDir;

pub const SERVER_KEY: &str = "csi.fairlead.dev/sky.server";

pub struct Sky {
    pub sim: Sim,
    pub directory: TempDir,
    pub backend: CinderBackend,
    pub nodes: Vec<NodeId>,
}

impl Sky {
    /// A cloud with servers, and a back end of its project csi.
    pub async fn new(servers: usize) -> Self {
        let sim = Sim::start(Config::cyclades()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("clouds.yaml"), sim.clouds_yaml()).unwrap();
        let nodes = (0..servers).map(|n| {
            let server = sim.add_server("csi", &format!("worker-{n}"));
            format!("worker-{n};nova={server}").parse().unwrap()
        });
        let nodes = nodes.collect();
        let backend = open(&directory).await;
        Self { sim, directory, backend, nodes }
    }

    /// Another controller, or this one after a restart.
    pub async fn restart(&self) -> CinderBackend {
        open(&self.directory).await
    }

    pub fn server(&self, node: usize) -> String {
        self.nodes[node].identity("nova").unwrap().to_owned()
    }

    pub fn count(&self, method: &str, path: &str) -> u64 {
        let counts = self.sim.counts();
        let of = counts.iter().filter(|(key, _)| key.starts_with(method) && key.ends_with(path));
        of.map(|(_, count)| count.requests).sum()
    }

    /// What must never happen has not, and there is nothing but these volumes and what shows with them.
    pub fn check(&self, volumes: &[&NativeId]) {
        let cloud = self.sim.cloud();
        assert_eq!(cloud.ledger.violations(), []);
        let ids: Vec<_> = volumes.iter().map(|id| id.as_str()).collect();
        let left = cloud.volumes.iter().filter(|one| !one.deleted && !ids.contains(&one.id.as_str())).count();
        assert_eq!(left, 0);
    }

    pub async fn make(&self, name: &str) -> NativeId {
        self.backend.create(&order(name, 1)).await.unwrap().id
    }

    /// The topology of some nodes, as a provisioner tells it.
    pub fn places(&self, nodes: &[usize]) -> TopologyRequirement {
        let place = |node: &usize| {
            Topology([(SERVER_KEY.to_owned(), self.server(*node))].into_iter().chain(anywhere().0).collect())
        };
        let places: Vec<_> = nodes.iter().map(place).collect();
        TopologyRequirement { requisite: places.clone(), preferred: places }
    }
}

pub async fn open(directory: &TempDir) -> CinderBackend {
    try_open(directory.path().to_owned()).await.unwrap()
}

pub async fn try_open(directory: PathBuf) -> Result<CinderBackend, Error> {
    let source = Source::Clouds { file: directory.join("clouds.yaml"), cloud: Some("csi".to_owned()) };
    let mut config = CinderConfig::of(Dialect::CYCLADES, source);
    config.name_prefix = "k8s-".to_owned();
    config.zone_key = Some("csi.fairlead.dev/sky".to_owned());
    config.server_key = Some(SERVER_KEY.to_owned());
    CinderBackend::open("sky", config, Arc::default()).await
}

pub fn anywhere() -> Topology {
    Topology([("csi.fairlead.dev/sky".to_owned(), "reachable".to_owned())].into())
}

pub fn order(name: &str, gib: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        source: None,
        access: vec![access()],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner {
            claim: Some("data".to_owned()),
            namespace: Some("shop".to_owned()),
            volume: Some(name.to_owned()),
        },
    }
}

pub fn of_type(name: &str, kind: &str, topology: TopologyRequirement) -> VolumeOrder {
    VolumeOrder { parameters: parameters("type", kind), topology, ..order(name, 1) }
}

pub fn access() -> Access {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    Access { kind, mode: AccessMode::SingleNodeWriter }
}

pub fn parameters(key: &str, value: &str) -> Parameters {
    Parameters([(key.to_owned(), value.to_owned())].into())
}

pub fn writer(volume: &NativeId, node: &NodeId) -> AttachOrder {
    AttachOrder { volume: volume.clone(), node: node.clone(), access: access(), readonly: false }
}

pub fn off(volume: &NativeId, node: Option<&NodeId>) -> DetachOrder {
    DetachOrder { volume: volume.clone(), node: node.cloned(), fence: None }
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> String {
    told(result, kind, Outcome::Refused)
}

#[track_caller]
pub fn told<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind, outcome: Outcome) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error:?}");
    error.to_string()
}
