//! What a fact gets: a cloud of its own, nodes that exist in it, and short words for common calls.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fairlead::backend::file::{FileBackend, FileConfig, FileConnector};
use fairlead::backend::{AttachOrder, Backend, Connector, DetachOrder, SnapshotOrder, VolumeOrder};
use fairlead::error::{Error, Kind};
use fairlead::host::loopdev;
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, Source, TopologyRequirement,
};

use crate::storage::Storage;

/// What a fact needs beside the controller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Backend,
    /// Block devices on this machine.
    Devices,
}

pub type Run = for<'a> fn(&'a dyn Fixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Something that is true of every back end.
#[derive(Clone, Copy)]
pub struct Fact {
    pub name: &'static str,
    pub needs: Needs,
    pub run: Run,
}

/// The list of a file's facts.
#[macro_export]
macro_rules! facts {
    ($($needs:ident: $name:ident),* $(,)?) => {
        pub const FACTS: &[$crate::fixture::Fact] = &[$($crate::fixture::Fact {
            name: stringify!($name),
            needs: $crate::fixture::Needs::$needs,
            run: |fixture| Box::pin($name(fixture)),
        }),*];
    };
}

/// Quotas to open a back end with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    pub volumes: Option<u64>,
    pub bytes: Option<Bytes>,
    pub per_server: Option<u32>,
}

/// One cloud, of its own for each fact.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Makes the nodes known.
    async fn start(&self);
    /// A new handle on the same cloud, as another controller, or this one after a restart, would have.
    async fn backend(&self) -> Arc<dyn Backend>;
    /// The same with quotas.
    async fn limited(&self, quotas: Quotas) -> Arc<dyn Backend>;
    /// Three nodes that exist.
    fn nodes(&self) -> Vec<NodeId>;
    /// The node's side, on this machine.
    fn connector(&self, node: &NodeId) -> Arc<dyn Connector>;
    /// The bytes that a volume takes on the storage, where that can be told.
    fn allocated(&self, volume: &NativeId) -> Option<u64>;
}

#[derive(Debug)]
pub struct FileFixture {
    pub config: FileConfig,
    _storage: Arc<Storage>,
}

impl FileFixture {
    pub fn new(storage: &Arc<Storage>) -> Self {
        let mut config = FileConfig::new(storage.directory());
        std::fs::create_dir_all(&config.directory).unwrap();
        // The default size is a gibibyte, and many facts share one small file system.
        config.thin_factor = 100.0;
        Self { config, _storage: Arc::clone(storage) }
    }

    pub fn image(&self, volume: &NativeId) -> PathBuf {
        self.config.directory.join(format!("volumes/{volume}.img"))
    }
}

#[async_trait]
impl Fixture for FileFixture {
    async fn start(&self) {
        for node in self.nodes() {
            self.connector(&node).join().await.unwrap();
        }
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(FileBackend::open(self.config.clone()).await.unwrap())
    }

    async fn limited(&self, quotas: Quotas) -> Arc<dyn Backend> {
        let mut config = self.config.clone();
        (config.max_volumes, config.max_bytes, config.per_server) =
            (quotas.volumes, quotas.bytes, quotas.per_server);
        Arc::new(FileBackend::open(config).await.unwrap())
    }

    fn nodes(&self) -> Vec<NodeId> {
        ["alpha;nova=1", "beta", "gamma"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn connector(&self, node: &NodeId) -> Arc<dyn Connector> {
        Arc::new(FileConnector::new(self.config.clone(), "here".parse().unwrap(), node.name().to_owned()))
    }

    fn allocated(&self, volume: &NativeId) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata(self.image(volume)).unwrap().blocks() * 512)
    }
}

impl Drop for FileFixture {
    /// Unbinds the devices that a failed fact left.
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.config.directory.join("volumes")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(identity) = loopdev::identity(&entry.path()) else { continue };
            if !name.ends_with(".img") {
                continue;
            }
            for device in loopdev::find(&name, |tag| tag.starts_with("fairlead:")).unwrap_or_default() {
                if Some(device.backing) == identity
                    && let Err(error) = loopdev::detach(&device, Duration::from_secs(10))
                {
                    eprintln!("LEFT BEHIND: {}: {error:?}", device.path.display());
                }
            }
        }
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn order(name: &str, mib: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::mib(mib)),
        source: None,
        access: vec![access(AccessMode::SingleNodeWriter)],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub fn from(name: &str, mib: u64, source: Source) -> VolumeOrder {
    VolumeOrder { source: Some(source), ..order(name, mib) }
}

pub fn access(mode: AccessMode) -> Access {
    Access { kind: AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() }, mode }
}

pub fn attach(volume: &NativeId, node: &NodeId, mode: AccessMode, readonly: bool) -> AttachOrder {
    AttachOrder { volume: volume.clone(), node: node.clone(), access: access(mode), readonly }
}

pub fn writer(volume: &NativeId, node: &NodeId) -> AttachOrder {
    attach(volume, node, AccessMode::SingleNodeWriter, false)
}

pub fn detach(volume: &NativeId, node: Option<&NodeId>) -> DetachOrder {
    DetachOrder { volume: volume.clone(), node: node.cloned(), fence: None }
}

pub fn cut(name: &str, volume: &NativeId) -> SnapshotOrder {
    SnapshotOrder { name: name.to_owned(), volume: volume.clone(), parameters: Parameters::default() }
}

pub fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

pub fn parameters(key: &str, value: &str) -> Parameters {
    Parameters([(key.to_owned(), value.to_owned())].into())
}

/// The error of a call that must be refused for good, of this kind.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> Error {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, fairlead::error::Outcome::Refused), "{error:?}");
    error
}

/// The names of all volumes, sorted.
pub async fn volumes(backend: &dyn Backend) -> Vec<String> {
    let list = backend.list(&fairlead::backend::Page::default()).await.unwrap();
    assert_eq!(list.next, None);
    let mut names: Vec<_> = list.items.into_iter().map(|volume| volume.name).collect();
    names.sort();
    names
}

/// The ids of all snapshots.
pub async fn snapshots(backend: &dyn Backend) -> Vec<NativeId> {
    let list = backend.list_snapshots(&Default::default(), &Default::default()).await.unwrap();
    list.items.into_iter().map(|snapshot| snapshot.id).collect()
}
