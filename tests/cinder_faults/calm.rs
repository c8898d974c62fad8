//! After the storm: every name's volumes and snapshots are deleted, as far as CSI's calls can name them.

use std::time::Duration;

use cloudsim::Cloud;
use fairlead::backend::cinder::dialect::Feature;
use fairlead::error::{Error, Outcome};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::process::Seat;
use crate::work::{self, COPIES, NAMES, SNAPSHOTS, snapshot_of};
use crate::world::World;

/// So long it may take until a call succeeds.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long it may take what goes on after the answers: twins are looked for again after ten seconds.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Calls until it is done; `None` where it is refused for good.
async fn finally<T>(what: &str, mut call: impl AsyncFnMut() -> Option<Result<T, Error>>) -> Option<T> {
    let began = Instant::now();
    loop {
        let error = match call().await.expect("nobody kills the process") {
            Ok(done) => return Some(done),
            Err(error) if error.outcome() == Outcome::Refused => {
                eprintln!("{what} is refused: {error}");
                return None;
            }
            Err(error) => error,
        };
        assert!(began.elapsed() < PATIENCE, "{what} does not succeed: {error}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Deletes all that there is, and looks into the cloud whether that was all.
///
/// # Panics
/// Where something is left, or does not go.
pub async fn leave_nothing(seat: &Seat, world: &World) {
    if world.kind.can(Feature::Snapshots) {
        join_all((0..NAMES).map(|number| without_snapshots(seat, world, format!("v{number}")))).await;
    }
    // The copies before what they were made from.
    if world.kind.can(Feature::Clones) {
        join_all((0..COPIES).map(|number| without_copies(seat, world, format!("c{number}")))).await;
    }
    join_all((0..NAMES).map(|number| with_one(seat, world, format!("v{number}")))).await;
    // Every name was ordered once more by now, and one of whatever it had is enough.
    until_empty("twins", world, |cloud| {
        cloud.twins().into_iter().map(|twins| format!("{twins:?}")).collect()
    })
    .await;
    join_all((0..NAMES).map(|number| without_volumes(seat, world, number))).await;
    until_empty("objects that nobody ordered", world, left).await;
    assert_eq!(world.sim.cloud().ledger.violations(), [], "this must never happen");
}

fn left(cloud: &Cloud) -> Vec<String> {
    let told = |id: String| {
        let volume = cloud.volumes.get(&id).map(|one| (one.name.clone(), one.status));
        let snapshot = cloud.snapshots.get(&id).map(|one| (one.name.clone(), one.status));
        format!("{id} {:?}", volume.or(snapshot))
    };
    cloud.leaks(&[]).into_iter().map(told).collect()
}

async fn until_empty(what: &str, world: &World, found: impl Fn(&Cloud) -> Vec<String>) {
    let began = Instant::now();
    loop {
        let found = found(&world.sim.cloud());
        if found.is_empty() {
            return;
        }
        assert!(began.elapsed() < AFTERWARDS, "there are {what}: {found:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn without_snapshots(seat: &Seat, world: &World, name: String) {
    let volume = finally(&name, async || work::create(seat, world, &name, None).await).await;
    let volume = volume.expect("a volume of the name can be made").id;
    for number in 0..SNAPSHOTS {
        let snapshot = snapshot_of(&name, number);
        // Also one that was never answered is found by its name.
        finally(&snapshot, async || work::cut(seat, world, &snapshot, &volume).await).await;
        let known = world.with(|book| book.snapshots.get(&snapshot).cloned().unwrap_or_default());
        for id in known {
            let gone = finally(&snapshot, async || work::delete_snapshot(seat, world, &id).await).await;
            gone.expect("it can be deleted");
        }
    }
}

async fn without_copies(seat: &Seat, world: &World, name: String) {
    // One that was never answered is found by its order; what is missing by now cannot have been copied either.
    for source in world.with(|book| book.sources.get(&name).cloned().unwrap_or_default()) {
        finally(&name, async || work::create(seat, world, &name, Some(source.clone())).await).await;
    }
    without(seat, world, &name).await;
}

async fn with_one(seat: &Seat, world: &World, name: String) {
    finally(&name, async || work::create(seat, world, &name, None).await).await;
}

/// What is left of a name is as good as ever: it is attached and detached once more, each as the cloud has it.
async fn without_volumes(seat: &Seat, world: &World, number: u64) {
    let name = format!("v{number}");
    let made = finally(&name, async || work::create(seat, world, &name, None).await).await;
    let id = made.expect("a volume of the name can be made").id;
    let servers = &world.servers;
    let any = &servers[usize::try_from(number).unwrap() % servers.len()];
    let server = world.home(&name).unwrap_or(any);
    finally(&name, async || work::detach(seat, world, &id, None).await).await.expect("it can be detached");
    world.is_with(&id, &[]);
    finally(&name, async || work::attach(seat, world, &id, server).await).await.expect("it can be attached");
    world.is_with(&id, &[server]);
    without(seat, world, &name).await;
}

async fn without(seat: &Seat, world: &World, name: &str) {
    let known = world.with(|book| book.volumes.get(name).cloned().unwrap_or_default());
    for id in known {
        finally(name, async || work::detach(seat, world, &id, None).await).await.expect("it can be detached");
        finally(name, async || work::delete(seat, world, &id).await).await.expect("it can be deleted");
    }
}
