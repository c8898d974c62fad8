//! What a fact gets: a cloud of its own, nodes that exist in it, and short words for common calls.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use fairlead::backend::{AttachOrder, Backend, Connector, DetachOrder, SnapshotOrder, VolumeOrder};
use fairlead::error::{Error, Kind};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, Source, TopologyRequirement,
};

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

thread_local! {
    /// What the sizes of the fact count that runs on this thread.
    static UNIT: Cell<Option<Bytes>> = const { Cell::new(None) };
}

/// So many units of the fact that runs here.
pub fn units(count: u64) -> Bytes {
    Bytes::new(UNIT.get().expect("a fact runs in its runtime").get() * count)
}

/// Runs a fact from this thread. Its sizes count in `unit`: a mebibyte, or the step of a back end that has larger ones.
pub fn runtime(unit: Bytes) -> tokio::runtime::Runtime {
    UNIT.set(Some(unit));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().on_thread_start(move || UNIT.set(Some(unit))).build().unwrap()
}

pub fn order(name: &str, count: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(units(count)),
        source: None,
        access: vec![access(AccessMode::SingleNodeWriter)],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub fn from(name: &str, count: u64, source: Source) -> VolumeOrder {
    VolumeOrder { source: Some(source), ..order(name, count) }
}

/// A file system, or the raw device where several nodes have it and not all of them just read: the controller hands out
/// nothing else.
pub fn access(mode: AccessMode) -> Access {
    let kind = match mode.multi_node() && !mode.read_only() {
        true => AccessKind::Block,
        false => AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() },
    };
    Access { kind, mode }
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
