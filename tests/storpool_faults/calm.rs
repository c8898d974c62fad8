//! After the storm: every claim comes to what was ordered, and then all of it is deleted, as far as CSI's calls can name
//! it.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::NODES;
use crate::calls::{Caller, From};
use crate::seat::Answer;
use crate::work::{self, COPIES, GROUPS, NAMES, SHARED, SNAPSHOTS};
use crate::world::is_final;

/// So long it may take until a call succeeds.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long the cluster may take to do away with what was deleted.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Calls until it is done; `false` where it is refused for good.
async fn finally(what: &str, mut call: impl AsyncFnMut() -> Answer<()>) -> bool {
    let began = Instant::now();
    loop {
        let status = match call().await {
            Some(Ok(())) => return true,
            Some(Err(status)) if is_final(&status) => {
                eprintln!("{what} is refused: {status:?}");
                return false;
            }
            Some(Err(status)) => status,
            None => panic!("{what} is not answered, and nobody killed the process"),
        };
        assert!(began.elapsed() < PATIENCE, "{what} does not succeed: {status:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn must(what: &str, call: impl AsyncFnMut() -> Answer<()>) {
    assert!(finally(what, call).await, "{what} cannot be");
}

/// Uses all that there is, deletes it, and looks into the cluster whether that was all.
///
/// # Panics
/// Where something does not come to what it is to be, is left, or does not go.
pub async fn leave_nothing(caller: &Caller) {
    let all = || (0..NAMES).map(work::volume).chain((0..SHARED).map(work::shared));
    join_all(all().map(async |name| must(&name, async || caller.create(&name, None).await).await)).await;
    // Also what was never answered is found by its name.
    join_all((0..NAMES * SNAPSHOTS).map(async |number| {
        let (name, of) = work::snapshot(number / SNAPSHOTS, number % SNAPSHOTS);
        must(&name, async || caller.snapshot(&name, &of).await).await;
    }))
    .await;
    join_all((0..COPIES).map(async |number| copy(caller, number).await)).await;
    join_all((0..GROUPS).map(async |number| {
        let (name, of) = work::group(number);
        // One of which a part was deleted already is deleted to the end. One that was never answered has no members yet.
        finally(&name, async || caller.delete_group(&name).await).await;
        must(&name, async || caller.group(&name, &of).await).await;
        must(&name, async || caller.delete_group(&name).await).await;
    }))
    .await;
    join_all((0..NAMES * SNAPSHOTS).map(async |number| {
        let (name, _) = work::snapshot(number / SNAPSHOTS, number % SNAPSHOTS);
        must(&name, async || caller.delete_snapshot(&name).await).await;
    }))
    .await;
    join_all(all().enumerate().map(async |(number, name)| {
        use_once(caller, &name, NODES[number % NODES.len()]).await;
        must(&name, async || caller.delete(&name).await).await;
    }))
    .await;
    let began = Instant::now();
    loop {
        let left: Vec<_> = caller.world.sim.cluster().objects().map(|one| one.called()).collect();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < AFTERWARDS, "these are left: {left:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Taken from wherever it is, and given to this node, at last with another size.
async fn use_once(caller: &Caller, name: &str, node: u16) {
    caller.world.log_out(name);
    must(name, async || caller.unpublish(name, None).await).await;
    must(name, async || caller.publish(name, node).await).await;
    must(name, async || caller.expand(name, 30 << 30).await).await;
    must(name, async || caller.modify(name, "iops", "77").await).await;
    let number = caller.world.changing();
    caller.world.is_so(name, number, "30 GiB with 77 iops", |one| {
        one.size == 30 << 30 && one.policy.iops == Some(77)
    });
    caller.world.log_out(name);
    must(name, async || caller.unpublish(name, Some(node)).await).await;
}

async fn copy(caller: &Caller, number: u64) {
    let (name, from) = work::copy(number);
    let is_there = |from: &From| match from {
        From::Volume(name) | From::Snapshot(name) => caller.world.has(name),
    };
    assert!(is_there(&from), "what {name} is made from was made before");
    must(&name, async || caller.create(&name, Some(&from)).await).await;
    use_once(caller, &name, NODES[0]).await;
    must(&name, async || caller.delete(&name).await).await;
}
