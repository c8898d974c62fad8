//! Random calls, as many provisioners and attachers make them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fairlead::backend::cinder::dialect::Feature;
use fairlead::controller::{Attach, Cut, Origin, Provision};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, Parameters, SizeRange, SnapshotId,
    Topology, TopologyRequirement, Volume, VolumeId,
};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::process::{PLACE, SERVER, Seat, backend};
use crate::world::{World, is_shown};

/// How many names there are of volumes, of copies, and of snapshots of each volume.
pub const NAMES: u64 = 24;
pub const COPIES: u64 = 6;
pub const SNAPSHOTS: u64 = 2;

type Answer<T> = Option<Result<T, Error>>;

/// Someone who calls.
#[derive(Debug)]
pub struct Worker {
    pub seat: Arc<Seat>,
    pub world: World,
    pub dice: Dice,
    pub calm: Arc<AtomicBool>,
    pub done: Arc<AtomicU64>,
}

pub fn volume_id(id: &NativeId) -> VolumeId {
    VolumeId::new(backend(), id.clone())
}

fn access() -> Access {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    Access { kind, mode: AccessMode::SingleNodeWriter }
}

/// Whether a repetition may end otherwise soon.
fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::Busy | Kind::Timeout | Kind::Unavailable | Kind::Unauthenticated | Kind::Internal)
}

/// How a call went.
#[derive(Clone, Copy, Debug)]
enum Done {
    Well,
    Badly,
    /// Another one is under way.
    NotBegun,
}

impl Done {
    fn by<T>(answer: &Answer<T>) -> Self {
        match answer {
            Some(Ok(_)) => Self::Well,
            Some(Err(error)) if error.kind() == Kind::Busy && error.to_string().contains("is under way") => {
                Self::NotBegun
            }
            _ => Self::Badly,
        }
    }
}

pub async fn create(seat: &Seat, world: &World, name: &str, from: Option<NativeId>) -> Answer<Volume> {
    if let Some(from) = &from {
        world.with(|book| book.sources.entry(name.to_owned()).or_default().insert(from.clone()));
    }
    let (mut parameters, mut topology) = (Parameters::default(), TopologyRequirement::default());
    if let (Some(server), Some(bound)) = (world.home(name), world.kind.bound) {
        parameters.0.insert("type".to_owned(), bound.to_owned());
        let place = [(PLACE.to_owned(), "reachable".to_owned()), (SERVER.to_owned(), server.to_owned())];
        topology.requisite = vec![Topology(place.into())];
        topology.preferred.clone_from(&topology.requisite);
    }
    let provision = Provision {
        name: name.to_owned(),
        size: if from.is_some() { SizeRange::default() } else { SizeRange::at_least(Bytes::gib(1)) },
        origin: from.map(|id| Origin::Volume(volume_id(&id))),
        access: vec![access()],
        parameters,
        mutable: Parameters::default(),
        topology,
    };
    let answer = seat.call(|controller| async move { controller.create(provision).await }).await;
    world.count(if name.starts_with('c') { "copy" } else { "create" }, answer.as_ref());
    let answer = answer.map(|answer| answer.map(|found| found.item));
    if let Some(Ok(volume)) = &answer {
        world.made(name, volume);
    }
    answer
}

pub async fn delete(seat: &Seat, world: &World, id: &NativeId) -> Answer<()> {
    world.doom(id);
    let volume = volume_id(id);
    let answer = seat.call(|controller| async move { controller.delete(&volume).await }).await;
    world.count("delete", answer.as_ref());
    if let Some(Ok(())) = &answer {
        world.gone(id);
    }
    answer
}

pub async fn attach(seat: &Seat, world: &World, id: &NativeId, server: &str) -> Answer<bool> {
    let number = world.moving(id);
    let attach = Attach { volume: volume_id(id), node: node(server), access: access(), readonly: false };
    let answer = seat.call(|controller| async move { controller.attach(attach).await }).await;
    world.count("attach", answer.as_ref());
    let answer = answer.map(|answer| answer.map(|_| true));
    world.moved(id, number, Some(server), answer.as_ref());
    answer
}

/// From this server, or from all.
pub async fn detach(seat: &Seat, world: &World, id: &NativeId, server: Option<&str>) -> Answer<()> {
    let number = world.moving(id);
    let (volume, node) = (volume_id(id), server.map(node));
    let answer = seat.call(|controller| async move { controller.detach(&volume, node).await }).await;
    world.count("detach", answer.as_ref());
    let has = answer.clone().map(|answer| answer.map(|()| false));
    world.moved(id, number, server, has.as_ref());
    answer
}

fn node(server: &str) -> fairlead::volume::NodeId {
    format!("node-{server};nova={server}").parse().unwrap()
}

pub async fn cut(seat: &Seat, world: &World, name: &str, id: &NativeId) -> Answer<SnapshotId> {
    let cut = Cut { name: name.to_owned(), volume: volume_id(id), parameters: Parameters::default() };
    let answer = seat.call(|controller| async move { controller.create_snapshot(cut).await }).await;
    world.count("snapshot", answer.as_ref());
    let answer = answer.map(|answer| answer.map(|found| SnapshotId::new(found.backend, found.item.id)));
    if let Some(Ok(id)) = &answer {
        world.with(|book| book.snapshots.entry(name.to_owned()).or_default().insert(id.clone()));
    }
    answer
}

pub async fn delete_snapshot(seat: &Seat, world: &World, id: &SnapshotId) -> Answer<()> {
    let own = id.clone();
    let answer = seat.call(|controller| async move { controller.delete_snapshot(&own).await }).await;
    world.count("delete snapshot", answer.as_ref());
    if let Some(Ok(())) = &answer {
        world.with(|book| book.snapshots.values_mut().map(|ids| ids.remove(id)).count());
    }
    answer
}

impl Worker {
    /// Calls until it is calm.
    pub async fn work(mut self) {
        while !self.calm.load(Ordering::Relaxed) {
            match self.one().await {
                Done::Well => {}
                Done::Badly => sleep(Duration::from_millis(self.dice.between(20, 200))).await,
                Done::NotBegun => {
                    sleep(Duration::from_millis(self.dice.between(5, 40))).await;
                    continue;
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One call.
    async fn one(&mut self) -> Done {
        let name = format!("v{}", self.dice.below(NAMES));
        let mut server = self.dice.one_of(&self.world.servers).clone();
        if let Some(home) = self.world.home(&name)
            && !self.dice.one_in(6)
        {
            home.clone_into(&mut server);
        }
        let known = self.known(&name);
        let (seat, world) = (&*self.seat, &self.world);
        let Some(id) = known else {
            let answer = create(seat, world, &name, None).await;
            return Done::by(&answer);
        };
        let sort = match self.dice.below(32) {
            // What the cloud cannot do: its time is spent on attaching.
            25..27 if !world.kind.can(Feature::Growing) => 9,
            27 if !world.kind.can(Feature::Clones) => 9,
            28.. if !world.kind.can(Feature::Snapshots) => 9,
            sort => sort,
        };
        match sort {
            0..4 => Done::by(&create(seat, world, &name, None).await),
            4..9 => Done::by(&delete(seat, world, &id).await),
            9..16 => self.attach(&id, &server).await,
            16..24 => Done::by(&detach(seat, world, &id, Some(&server)).await),
            24 => Done::by(&detach(seat, world, &id, None).await),
            25..27 => self.expand(&id).await,
            27 => {
                let copy = format!("c{}", self.dice.below(COPIES));
                match self.known(&copy) {
                    Some(copy) if self.dice.one_in(2) => {
                        Done::by(&delete(&self.seat, &self.world, &copy).await)
                    }
                    _ => self.copy(&copy, &id).await,
                }
            }
            28..30 => {
                let name = snapshot_of(&name, self.dice.below(SNAPSHOTS));
                Done::by(&cut(&self.seat, &self.world, &name, &id).await)
            }
            _ => {
                let known =
                    self.world.with(|book| book.snapshots.values().flatten().cloned().collect::<Vec<_>>());
                if known.is_empty() {
                    return Done::NotBegun;
                }
                let id = self.dice.one_of(&known).clone();
                Done::by(&delete_snapshot(&self.seat, &self.world, &id).await)
            }
        }
    }

    /// One of this name that was answered and is there.
    fn known(&self, name: &str) -> Option<NativeId> {
        let cloud = self.world.sim.cloud();
        self.world.with(|book| {
            let ids = book.volumes.get(name)?;
            ids.iter().find(|id| is_shown(cloud.volumes.get(id.as_str()))).cloned()
        })
    }

    async fn attach(&self, id: &NativeId, server: &str) -> Done {
        Done::by(&attach(&self.seat, &self.world, id, server).await)
    }

    async fn expand(&mut self, id: &NativeId) -> Done {
        let (volume, size) = (volume_id(id), SizeRange::at_least(Bytes::gib(self.dice.between(1, 20))));
        let answer =
            self.seat.call(|controller| async move { controller.expand(&volume, size, None).await }).await;
        self.world.count("expand", answer.as_ref());
        Done::by(&answer)
    }

    /// A copy is ordered until the answer is final, or would be if an earlier order were not lost.
    async fn copy(&self, name: &str, from: &NativeId) -> Done {
        loop {
            match create(&self.seat, &self.world, name, Some(from.clone())).await {
                Some(Ok(_)) => return Done::Well,
                Some(Err(error)) if error.outcome() == Outcome::Refused || !is_passing(error.kind()) => {
                    return Done::Badly;
                }
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// Each snapshot's name belongs to one volume's.
pub fn snapshot_of(volume: &str, number: u64) -> String {
    format!("s{number}-{volume}")
}
