//! A simulated cloud with a back end, and short words for common orders.

use std::time::{Duration, Instant};

use cloudsim::{Config, Sim};
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::backend::{AttachOrder, Backend, DetachOrder, SnapshotOrder, VolumeOrder};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, TopologyRequirement,
};
use tempfile::TempDir;

pub struct Scene {
    pub sim: Sim,
    pub backend: CinderBackend,
    _directory: TempDir,
}

impl Scene {
    pub async fn new(dialect: &'static Dialect, config: Config) -> Self {
        Self::with(dialect, config, |_| {}).await
    }

    pub async fn with(
        dialect: &'static Dialect,
        config: Config,
        configure: impl FnOnce(&mut CinderConfig),
    ) -> Self {
        let sim = Sim::start(config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("clouds.yaml");
        std::fs::write(&file, sim.clouds_yaml()).unwrap();
        let mut config = CinderConfig::of(dialect, Source::Clouds { file, cloud: Some("csi".to_owned()) });
        configure(&mut config);
        let backend = CinderBackend::open("sim", config, std::sync::Arc::default()).await.unwrap();
        Self { sim, backend, _directory: directory }
    }

    /// Makes a volume of a type, and tells its id.
    pub async fn make(&self, name: &str, gib: u64, kind: &str) -> NativeId {
        self.backend.create(&order(name, gib, &[("type", kind)])).await.unwrap().id
    }

    /// A node whose server exists.
    pub fn node(&self, name: &str) -> NodeId {
        format!("{name};nova={}", self.sim.add_server("csi", name)).parse().unwrap()
    }

    /// How many requests of this kind there were, such as `POST /volume/v1/{id}/volumes`.
    pub fn count(&self, line: &str) -> u64 {
        let counts = self.sim.counts();
        let known = counts.get(line).map(|count| count.requests);
        known.unwrap_or(0)
    }

    /// What is noted about a volume in the cloud, and its description.
    pub fn described(&self, id: &NativeId) -> String {
        let cloud = self.sim.cloud();
        cloud.volumes.get(id.as_str()).unwrap().description.clone().unwrap_or_default()
    }
}

pub fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    Parameters(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

pub fn order(name: &str, gib: u64, class: &[(&str, &str)]) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        source: None,
        access: vec![mounted()],
        parameters: parameters(class),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub fn mounted() -> Access {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    Access { kind, mode: AccessMode::SingleNodeWriter }
}

pub fn raw() -> Access {
    Access { kind: AccessKind::Block, mode: AccessMode::SingleNodeWriter }
}

pub fn attach(volume: &NativeId, node: &NodeId) -> AttachOrder {
    AttachOrder { volume: volume.clone(), node: node.clone(), access: mounted(), readonly: false }
}

pub fn detach(volume: &NativeId, node: &NodeId) -> DetachOrder {
    DetachOrder { volume: volume.clone(), node: Some(node.clone()), fence: None }
}

pub fn cut(name: &str, volume: &NativeId, class: &[(&str, &str)]) -> SnapshotOrder {
    SnapshotOrder { name: name.to_owned(), volume: volume.clone(), parameters: parameters(class) }
}

/// The text of an error that must be final, of this kind.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Refused), "{error:?}");
    error.to_string()
}

pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
