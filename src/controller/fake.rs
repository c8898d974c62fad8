//! A back end in memory, for the tests of the rooms above.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::backend::{
    AttachOrder, Backend, Capabilities, Capacity, DetachOrder, Expanded, Expansion, FencingProof, GroupOrder,
    Limits, Listing, Page, SnapshotFilter, SnapshotOrder, VolumeOrder, Warning,
};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{
    Attachment, Bytes, Connection, Content, GroupSnapshot, Health, HealthFault, HealthStatus, NativeId,
    Owner, Parameters, SizeRange, SizeRules, Snapshot, Source, Topology, Volume, native_name,
};

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<NativeId, Volume>,
    /// Other ids of volumes.
    others: BTreeMap<NativeId, NativeId>,
    snapshots: BTreeMap<NativeId, Snapshot>,
    groups: BTreeMap<NativeId, GroupSnapshot>,
    owner: Owner,
    fence: Option<FencingProof>,
    held: bool,
    broken: Option<(Kind, Outcome)>,
    warning: Option<Warning>,
}

/// Volumes in a map. `gate` has one permit for each change that may go through.
#[derive(Debug)]
pub struct Fake {
    pub capabilities: Capabilities,
    pub gate: Semaphore,
    pub creates: AtomicUsize,
    state: Mutex<State>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new(Capabilities {
            snapshots: true,
            group_snapshots: true,
            clones: true,
            expansion: Expansion::Online,
            modify: true,
            readonly_attach: true,
            multi_attach: true,
            raw: true,
        })
    }
}

impl Fake {
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            gate: Semaphore::new(1000),
            creates: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Every change fails like this from now on.
    pub fn fail(&self, kind: Kind, outcome: Outcome) {
        self.state().broken = Some((kind, outcome));
    }

    /// Every node holds what is attached to it, and lets go only by force.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Something is wrong with it from now on, or nothing.
    pub fn warn(&self, text: Option<&str>) {
        self.state().warning = text.map(|text| Warning { reason: "Old", text: text.to_owned() });
    }

    pub fn owner(&self) -> Owner {
        self.state().owner.clone()
    }

    pub fn fence(&self) -> Option<FencingProof> {
        self.state().fence.clone()
    }

    async fn pass(&self) -> Result<()> {
        self.gate.acquire().await.unwrap().forget();
        match self.state().broken {
            Some((kind, outcome)) => Err(Error::unknown(kind, "broken").with_outcome(outcome)),
            None => Ok(()),
        }
    }

    /// From now on a volume has another id, too.
    pub fn call_also(&self, id: &NativeId, other: &str) {
        self.state().others.insert(id.clone(), other.parse().unwrap());
    }
}

fn missing(id: &NativeId) -> Error {
    Error::not_found(format!("nothing is called {id}"))
}

fn page<T: Clone>(all: &BTreeMap<NativeId, T>, page: &Page) -> Listing<T> {
    let after = page.token.clone().unwrap_or_default();
    let mut rest = all.iter().filter(|(id, _)| id.as_str() > after.as_str());
    let taken: Vec<_> = rest.by_ref().take(page.max.unwrap_or(usize::MAX)).collect();
    let more = rest.next().is_some();
    let next = taken.last().filter(|_| more).map(|(id, _)| id.to_string());
    Listing { items: taken.into_iter().map(|(_, item)| item.clone()).collect(), next }
}

#[async_trait]
impl Backend for Fake {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn limits(&self) -> Limits {
        let sizes = SizeRules {
            min: Bytes::mib(1),
            max: Bytes::gib(64),
            step: Bytes::new(4096),
            default: Bytes::gib(1),
        };
        Limits { sizes, per_server: None, volumes: None, bytes: None }
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn warning(&self) -> Option<Warning> {
        self.state().warning.clone()
    }

    async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        self.creates.fetch_add(1, Ordering::SeqCst);
        self.pass().await?;
        let mut state = self.state();
        let id = native_name(&order.name)?;
        if let Some(volume) = state.volumes.get(&id) {
            return order.check(volume).map(|()| volume.clone());
        }
        let floor = match &order.source {
            Some(Source::Volume(id)) => Some(state.volumes.get(id).ok_or_else(|| missing(id))?.size),
            Some(Source::Snapshot(id)) => Some(state.snapshots.get(id).ok_or_else(|| missing(id))?.size),
            None => None,
        };
        let volume = Volume {
            id: id.clone(),
            name: order.name.clone(),
            size: order.size.choose(self.limits().sizes, floor)?,
            source: order.source.clone(),
            content: Content::New,
            reach: order.topology.requisite.first().cloned().unwrap_or_default(),
            attached: Vec::new(),
        };
        state.owner = order.owner.clone();
        state.volumes.insert(id, volume.clone());
        Ok(volume)
    }

    async fn delete(&self, id: &NativeId) -> Result<()> {
        self.pass().await?;
        self.state().volumes.remove(id);
        Ok(())
    }

    async fn get(&self, id: &NativeId) -> Result<Volume> {
        self.state().volumes.get(id).cloned().ok_or_else(|| missing(id))
    }

    async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        Ok(self.state().others.get(id).into_iter().chain([id]).cloned().collect())
    }

    async fn list(&self, wanted: &Page) -> Result<Listing<Volume>> {
        Ok(page(&self.state().volumes, wanted))
    }

    async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        self.pass().await?;
        let mut state = self.state();
        let volume = state.volumes.get_mut(&order.volume).ok_or_else(|| missing(&order.volume))?;
        if !volume.attached.contains(&order.node) {
            volume.attached.push(order.node.clone());
        }
        Ok(Attachment {
            nonce: "1".into(),
            size: volume.size,
            content: volume.content,
            readonly: order.readonly,
            connection: Connection::Loop { image: "x.img".into() },
        })
    }

    async fn detach(&self, order: &DetachOrder) -> Result<()> {
        self.pass().await?;
        let mut state = self.state();
        if state.held && order.fence.is_none() {
            return Err(Error::busy("it is held open"));
        }
        state.fence = order.fence.clone();
        if let Some(volume) = state.volumes.get_mut(&order.volume) {
            volume.attached.retain(|node| order.node.as_ref().is_some_and(|gone| gone != node));
        }
        Ok(())
    }

    async fn expand(&self, id: &NativeId, size: SizeRange) -> Result<Expanded> {
        self.pass().await?;
        let mut state = self.state();
        let volume = state.volumes.get_mut(id).ok_or_else(|| missing(id))?;
        volume.size = volume.size.max(size.required());
        Ok(Expanded { size: volume.size, node_expansion: true })
    }

    async fn modify(&self, _id: &NativeId, _parameters: &Parameters) -> Result<()> {
        self.pass().await
    }

    async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        self.pass().await?;
        let mut state = self.state();
        let size = state.volumes.get(&order.volume).ok_or_else(|| missing(&order.volume))?.size;
        let id = native_name(&order.name)?;
        let snapshot = Snapshot {
            id: id.clone(),
            name: order.name.clone(),
            volume: order.volume.clone(),
            size,
            created: UNIX_EPOCH + Duration::new(1_700_000_000, 5),
            ready: true,
            group: None,
        };
        let kept = state.snapshots.entry(id).or_insert(snapshot);
        if kept.volume == order.volume {
            Ok(kept.clone())
        } else {
            Err(Error::refused(Kind::AlreadyExists, "of another volume"))
        }
    }

    async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        self.pass().await?;
        self.state().snapshots.remove(id);
        Ok(())
    }

    async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.state().snapshots.get(id).cloned().ok_or_else(|| missing(id))
    }

    async fn list_snapshots(&self, filter: &SnapshotFilter, wanted: &Page) -> Result<Listing<Snapshot>> {
        let passes = |snapshot: &Snapshot| {
            filter.snapshot.as_ref().is_none_or(|id| *id == snapshot.id)
                && filter.volume.as_ref().is_none_or(|id| *id == snapshot.volume)
        };
        let mut all = self.state().snapshots.clone();
        all.retain(|_, snapshot| passes(snapshot));
        Ok(page(&all, wanted))
    }

    async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        self.pass().await?;
        let group = native_name(&order.name)?;
        let mut members = Vec::new();
        for (index, volume) in order.volumes.iter().enumerate() {
            let name = format!("{}-{index}", order.name);
            let cut = SnapshotOrder { name, volume: volume.clone(), parameters: Parameters::default() };
            members
                .push(Snapshot { group: Some(group.clone()), ..Backend::create_snapshot(self, &cut).await? });
        }
        let made =
            GroupSnapshot { id: group.clone(), name: order.name.clone(), created: UNIX_EPOCH, members };
        self.state().groups.insert(group, made.clone());
        Ok(made)
    }

    async fn delete_group(&self, id: &NativeId, _members: &[NativeId]) -> Result<()> {
        self.state().groups.remove(id);
        Ok(())
    }

    async fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        self.state().groups.get(id).cloned().ok_or_else(|| missing(id))
    }

    async fn capacity(&self, parameters: &Parameters, _place: Option<&Topology>) -> Result<Capacity> {
        self.check_parameters(parameters)?;
        Ok(Capacity { available: Bytes::gib(10), largest: Bytes::gib(4), smallest: Bytes::mib(1) })
    }

    async fn health(&self, id: &NativeId) -> Result<Health> {
        self.get(id).await?;
        let fault = HealthFault { status: HealthStatus::Degraded, reason: "OneCopy", message: "one".into() };
        Ok(if id.as_str().starts_with("sick") { vec![fault] } else { Vec::new() })
    }

    fn check_parameters(&self, parameters: &Parameters) -> Result<()> {
        let mut reader = parameters.reader();
        reader.text("tier");
        reader.finish()
    }

    fn check_mutable(&self, parameters: &Parameters) -> Result<()> {
        let mut reader = parameters.reader();
        reader.text("iops");
        reader.finish()
    }
}
