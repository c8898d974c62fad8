//! A cluster, a back end on it, and short words for common calls.

use std::collections::BTreeMap;
use std::time::Duration;

use storpoolsim::state::{Change, Detach, Entry, Kind, Order};
use storpoolsim::{Config, Fault, Rule, Sim};

use crate::backend::storpool::{StorpoolBackend, StorpoolConfig};
use crate::backend::{AttachOrder, Backend, DetachOrder, FencingProof, VolumeOrder};
use crate::error::{Error, Outcome, Result};
use crate::volume::{
    Access, AccessKind, AccessMode, Attachment, Bytes, FsType, MountFlags, NativeId, NodeId, Owner,
    Parameters, SizeRange, TopologyRequirement, Volume,
};

pub(super) struct World {
    pub(super) sim: Sim,
    pub(super) config: StorpoolConfig,
    pub(super) backend: StorpoolBackend,
    _directory: tempfile::TempDir,
}

pub(super) async fn world() -> World {
    World::new(|_| {}).await
}

impl World {
    /// With clients 1 to 4, and other settings.
    pub(super) async fn new(change: impl FnOnce(&mut StorpoolConfig)) -> Self {
        Self::on(Sim::start(Config::default()).await.unwrap(), change).await
    }

    /// The same on a cluster that was started already.
    pub(super) async fn on(sim: Sim, change: impl FnOnce(&mut StorpoolConfig)) -> Self {
        for client in 1..=4 {
            sim.cluster().add_client(client);
        }
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, &sim.cluster().config.token).unwrap();
        let mut config = StorpoolConfig::new(&sim.url(), &token);
        config.template = Some("nvme".to_owned());
        config.attach_timeout = Duration::from_secs(1);
        change(&mut config);
        let backend = StorpoolBackend::open("fast", config.clone(), Default::default()).await.unwrap();
        Self { sim, config, backend, _directory: directory }
    }

    pub(super) async fn create(&self, name: &str) -> Result<Volume> {
        self.backend.create(&order(name)).await
    }

    pub(super) async fn attach(&self, volume: &NativeId, client: u16) -> Result<Attachment> {
        self.backend.attach(&attach(volume, client)).await
    }

    pub(super) async fn detach(&self, volume: &NativeId, client: u16) -> Result<()> {
        let order = DetachOrder { volume: volume.clone(), node: Some(node(client)), fence: None };
        self.backend.detach(&order).await
    }

    pub(super) async fn fence(&self, volume: &NativeId, client: u16) -> Result<()> {
        let fence = Some(FencingProof::OutOfService);
        self.backend.detach(&DetachOrder { volume: volume.clone(), node: Some(node(client)), fence }).await
    }

    /// Something goes wrong with the next such call, so often.
    pub(super) fn wrong(&self, call: &str, times: u64, fault: Fault) {
        self.sim.order(Rule::once("", call, fault).times(times));
    }

    /// A volume that another one made.
    pub(super) fn foreign(&self, name: Option<&str>) -> String {
        let change = Change { template: Some("nvme".to_owned()), ..Change::default() };
        let order = Order { name: name.map(str::to_owned), size: Some(1 << 30), change, ..Order::default() };
        let mut cluster = self.sim.cluster();
        let (id, _) = cluster.create(order).unwrap();
        cluster.object(id).unwrap().global_id.clone()
    }

    /// Something outside this driver gives clients a volume and takes it from others.
    pub(super) fn outside(&self, volume: &NativeId, rw: &[u16], detach: &[u16]) {
        let entry = Entry {
            name: volume.to_string(),
            kind: Kind::Volume,
            rw: rw.to_vec(),
            ro: vec![],
            detach: Detach::Clients(detach.to_vec()),
            force: false,
        };
        self.sim.cluster().reassign(&[entry]).unwrap();
    }

    /// The clients that have each volume.
    pub(super) fn holders(&self) -> BTreeMap<String, Vec<u16>> {
        let mut holders: BTreeMap<String, Vec<u16>> = BTreeMap::new();
        for (volume, client, _) in self.sim.cluster().attachments() {
            holders.entry(volume.called()).or_default().push(client);
        }
        holders
    }

    pub(super) fn volumes(&self) -> Vec<String> {
        let cluster = self.sim.cluster();
        cluster.objects().filter(|one| one.kind == Kind::Volume).map(|one| one.called()).collect()
    }

    /// How often a call was made.
    pub(super) fn count(&self, call: &str) -> u64 {
        let counts = self.sim.counts();
        counts.iter().filter(|(key, _)| key.ends_with(call)).map(|(_, count)| count.requests).sum()
    }
}

pub(super) fn order(name: &str) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(1)),
        source: None,
        access: vec![],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub(super) fn node(client: u16) -> NodeId {
    format!("node-{client};storpool=d.n.{client}").parse().unwrap()
}

pub(super) fn attach(volume: &NativeId, client: u16) -> AttachOrder {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    let access = Access { kind, mode: AccessMode::SingleNodeWriter };
    AttachOrder { volume: volume.clone(), node: node(client), access, readonly: false }
}

pub(super) fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

pub(super) fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    Parameters(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

/// What is told about an error to whoever has to decide.
#[track_caller]
pub(super) fn told<T: std::fmt::Debug>(result: Result<T>) -> (crate::error::Kind, Outcome, String) {
    let error: Error = result.unwrap_err();
    (error.kind(), error.outcome(), error.to_string())
}
