//! Attaching in bulk, beside others, and to clients that do not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use storpoolsim::state::Kind as Sort;
use storpoolsim::{Late, refuse};

use super::world::{World, attach, id, node, told, world};
use crate::backend::{Backend, DetachOrder};
use crate::error::{Kind, Outcome};
use crate::volume::NativeId;

async fn many(world: &World, count: usize) -> Vec<NativeId> {
    let mut volumes = Vec::new();
    for n in 0..count {
        volumes.push(world.create(&format!("v{n}")).await.unwrap().id);
    }
    volumes
}

fn client(n: usize) -> u16 {
    u16::try_from(n % 4).unwrap() + 1
}

#[tokio::test]
async fn many_attaches_share_a_few_calls() {
    let world = Arc::new(world().await);
    world.sim.cluster().config.timings.answer = Duration::from_millis(5);
    let volumes = many(&world, 200).await;
    world.sim.forget_counts();
    let tasks: Vec<_> = volumes
        .iter()
        .enumerate()
        .map(|(n, volume)| {
            let (world, volume) = (Arc::clone(&world), volume.clone());
            tokio::spawn(async move { world.attach(&volume, client(n)).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.holders().len(), 200);
    assert!(world.sim.requests() <= 20, "0.1 for each: {:?}", world.sim.counts());
    assert!(world.sim.cluster().ledger.shared.is_empty());
    world.sim.forget_counts();
    let tasks: Vec<_> = volumes
        .iter()
        .enumerate()
        .map(|(n, volume)| {
            let (world, volume) = (Arc::clone(&world), volume.clone());
            tokio::spawn(async move { world.detach(&volume, client(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert!(world.holders().is_empty());
    // On a machine that is busy with others, calls are slow, and then each client's orders go for themselves.
    assert!(world.count("/VolumesReassignWait") <= 100, "{:?}", world.sim.counts());
}

#[tokio::test]
async fn one_bad_order_fails_alone() {
    let world = Arc::new(world().await);
    let volumes = many(&world, 30).await;
    // One of them is gone once the batch is on its way, and another client is not known.
    world.sim.order(storpoolsim::Rule::once(
        "POST",
        "/VolumesReassignWait",
        storpoolsim::Fault::SlowReply(60),
    ));
    let first = {
        let (world, volume) = (Arc::clone(&world), volumes[0].clone());
        tokio::spawn(async move { world.attach(&volume, 1).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let tasks: Vec<_> = (1..30)
        .map(|n| {
            let (world, volume) = (Arc::clone(&world), volumes[n].clone());
            let client = if n == 20 { 77 } else { client(n) };
            tokio::spawn(async move { world.attach(&volume, client).await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.sim.cluster().delete("csi--v7", None).unwrap();
    first.await.unwrap().unwrap();
    for (n, task) in (1..30).zip(tasks) {
        let result = task.await.unwrap();
        match n {
            7 | 20 => {
                let (kind, outcome, text) = told(result);
                assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
                let wanted = if n == 7 { "volume=csi--v7" } else { "node=node-77" };
                assert!(text.contains(wanted), "{text}");
            }
            _ => result.unwrap(),
        }
    }
    assert_eq!(world.holders().len(), 28);
}

#[tokio::test]
async fn a_client_that_is_down_holds_up_its_own_volumes_alone() {
    for late in [Late::Error("timeout"), Late::Error("newName")] {
        let world = Arc::new(World::new(|config| config.attach_timeout = Duration::from_secs(3)).await);
        world.sim.cluster().config.late = late;
        let volumes = many(&world, 12).await;
        world.sim.cluster().run_client(4, false);
        let tasks: Vec<_> = volumes
            .iter()
            .enumerate()
            .map(|(n, volume)| {
                let (world, volume) = (Arc::clone(&world), volume.clone());
                tokio::spawn(
                    async move { (n, world.attach(&volume, client(n)).await.map(drop), Instant::now()) },
                )
            })
            .collect();
        let (mut held_up, mut others) = (Vec::new(), Vec::new());
        for task in tasks {
            let (n, result, at) = task.await.unwrap();
            if client(n) == 4 {
                held_up.push(at);
                let (kind, outcome, text) = told(result);
                assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
                assert!(text.contains("node=node-4") && text.contains("storpool_block"), "{text}");
            } else {
                result.unwrap();
                others.push(at);
            }
        }
        assert!(others.iter().max() < held_up.iter().min(), "the others went on long before");
        // A new order of another client does not wait for it at all.
        let slow = Arc::clone(&world);
        let again = tokio::spawn({
            let volume = volumes[3].clone();
            async move { slow.attach(&volume, 4).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        let other = world.create("other").await.unwrap();
        world.attach(&other.id, 1).await.unwrap();
        assert!(!again.is_finished(), "the one for client 4 is still waited for");
        assert!(again.await.unwrap().is_err());
        world.sim.cluster().run_client(4, true);
        world.attach(&volumes[3], 4).await.unwrap();
    }
}

/// What the cluster answers when a client's time is up is nowhere said.
#[tokio::test]
async fn an_ok_after_a_wait_in_vain_is_not_believed() {
    for late in [Late::Fine, Late::Forgotten] {
        let world = world().await;
        world.sim.cluster().config.late = late;
        let volumes = many(&world, 5).await;
        world.attach(&volumes[0], 1).await.unwrap();
        assert_eq!(world.count("/ClientsConfigDump"), 0, "an ok that came at once is proof enough");
        world.sim.cluster().run_client(4, false);
        let (kind, outcome, text) = told(world.attach(&volumes[1], 4).await);
        assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
        assert!(text.contains("node=node-4") && text.contains("storpool_block"), "{text}");
        assert_eq!(world.count("/ClientsConfigDump"), 1);
        // One that waits does not spoil what goes with it.
        world.wrong("/VolumesReassignWait", 1, storpoolsim::Fault::SlowReply(60));
        let (first, second, third) = tokio::join!(
            world.attach(&volumes[2], 1),
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                world.attach(&volumes[3], 2).await
            },
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                world.attach(&volumes[4], 4).await
            }
        );
        first.unwrap();
        second.unwrap();
        assert_eq!(told(third).0, Kind::Unavailable);
        world.sim.cluster().run_client(4, true);
        for volume in [&volumes[1], &volumes[4]] {
            world.attach(volume, 4).await.unwrap();
        }
        assert_eq!(world.holders().len(), 5);
    }
}

#[tokio::test]
async fn what_was_taken_away_meanwhile_is_not_told_as_attached() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.wrong("/VolumesReassignWait", 1, storpoolsim::Fault::SlowReply(300));
    let (result, ()) = tokio::join!(world.attach(&volume, 1), async {
        while world.holders().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.outside(&volume, &[], &[1]);
    });
    let (kind, outcome, text) = told(result);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("does not list it"), "{text}");
    world.attach(&volume, 1).await.unwrap();
}

/// In a crowd, an attach begins by what others were told a moment before.
#[tokio::test]
async fn what_was_known_a_moment_before_decides_nothing() {
    let world = Arc::new(world().await);
    let volumes = many(&world, 40).await;
    let crowd = async |from: usize| {
        let tasks: Vec<_> = (from..from + 10)
            .map(|n| {
                let (world, volume) = (Arc::clone(&world), volumes[n].clone());
                tokio::spawn(async move { world.attach(&volume, 1).await.map(drop) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    };
    crowd(0).await;
    world.outside(&volumes[0], &[], &[1]);
    world.attach(&volumes[0], 2).await.expect("it is free by now");
    crowd(10).await;
    world.outside(&volumes[30], &[3], &[]);
    let (kind, outcome, text) = told(world.attach(&volumes[30], 2).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert_eq!(world.holders()["csi--v30"], [3], "the first keeps it");
    crowd(20).await;
    world.sim.cluster().delete("csi--v31", None).unwrap();
    assert_eq!(told(world.attach(&volumes[31], 2).await).0, Kind::NotFound);
    let again = world.create("v31").await.unwrap().id;
    let truth = world.sim.cluster().get("csi--v31", Sort::Volume).unwrap().global_id.clone();
    let connection = world.attach(&again, 2).await.unwrap().connection;
    assert!(format!("{connection:?}").contains(&truth), "{connection:?}, not the one that is gone");
}

#[tokio::test]
async fn what_is_open_is_taken_only_with_a_proof() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.attach(&volume, 1).await.unwrap();
    world.sim.cluster().set_open("csi--v", 1, 1).unwrap();
    let (kind, outcome, text) = told(world.detach(&volume, 1).await);
    assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
    assert!(text.contains("node-1"), "{text}");
    assert_eq!(told(world.attach(&volume, 2).await).0, Kind::FailedPrecondition);
    let all = DetachOrder { volume: volume.clone(), node: None, fence: None };
    assert_eq!(told(world.backend.detach(&all).await).0, Kind::Busy);
    assert_eq!(world.holders()["csi--v"], [1]);
    assert!(world.sim.cluster().ledger.cut_off.is_empty());
    world.fence(&volume, 1).await.unwrap();
    world.attach(&volume, 2).await.unwrap();
    assert_eq!(world.holders()["csi--v"], [2]);
    // Something looked at the device for a moment.
    world.sim.cluster().set_open("csi--v", 2, 1).unwrap();
    let (sim, letting_go) = (&world.sim, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    let (detached, ()) = tokio::join!(world.detach(&volume, 2), async {
        letting_go.await;
        sim.cluster().set_open("csi--v", 2, 0).unwrap();
    });
    detached.unwrap();
}

#[tokio::test]
async fn a_client_that_is_proved_to_be_off_need_not_confirm() {
    for late in [Late::Error("timeout"), Late::Fine] {
        let world = world().await;
        world.sim.cluster().config.late = late;
        let volume = world.create("v").await.unwrap().id;
        world.attach(&volume, 1).await.unwrap();
        world.sim.cluster().run_client(1, false);
        let began = Instant::now();
        world.fence(&volume, 1).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(3));
        world.attach(&volume, 2).await.unwrap();
        assert_eq!(world.holders()["csi--v"], [2]);
    }
}

#[tokio::test]
async fn the_same_attachment_is_told_the_same_and_a_later_one_otherwise() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let first = world.attach(&volume, 1).await.unwrap();
    assert_eq!(world.attach(&volume, 1).await.unwrap(), first);
    // Whatever the reason for a detach.
    world.fence(&volume, 1).await.unwrap();
    let second = world.attach(&volume, 1).await.unwrap();
    assert_ne!(first.nonce, second.nonce);
    let all = DetachOrder { volume: volume.clone(), node: None, fence: None };
    world.backend.detach(&all).await.unwrap();
    assert_ne!(world.attach(&volume, 1).await.unwrap().nonce, second.nonce);
}

/// Something outside this driver attaches it between the look and the order.
#[tokio::test]
async fn whoever_comes_second_steps_back() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.sim.order(storpoolsim::Rule::once("POST", "/VolumesReassignWait", storpoolsim::Fault::Late(80)));
    let order = attach(&volume, 1);
    let attaching = world.backend.attach(&order);
    let other = async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        world.outside(&volume, &[2], &[]);
    };
    let (result, ()) = tokio::join!(attaching, other);
    let (kind, outcome, text) = told(result);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert_eq!(world.holders()["csi--v"], [2], "the first keeps it");
}

#[tokio::test]
async fn nodes_and_volumes_that_are_not_there_are_told() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let (kind, outcome, text) = told(world.attach(&volume, 99).await);
    assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
    assert!(text.contains("no client 99") && text.contains(node(99).name()), "{text}");
    world.detach(&volume, 99).await.unwrap();
    world.detach(&id("none"), 1).await.unwrap();
    world.wrong(
        "/VolumesReassignWait",
        1,
        refuse(500, "invalidParam", "Too many attachments on client 1, max 1024", false),
    );
    let (kind, outcome, text) = told(world.attach(&volume, 1).await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
}

#[tokio::test]
async fn what_a_node_got_under_another_number_is_taken_away() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.attach(&volume, 1).await.unwrap();
    let renumbered = |fence| {
        let node = Some("node-1;storpool=d.n.4".parse().unwrap());
        DetachOrder { volume: volume.clone(), node, fence }
    };
    // The number may be another node's by now: what is proved of this one says nothing of that.
    world.sim.cluster().set_open("csi--v", 1, 1).unwrap();
    let proof = Some(crate::backend::FencingProof::OutOfService);
    assert_eq!(told(world.backend.detach(&renumbered(proof)).await).0, Kind::Busy);
    world.sim.cluster().set_open("csi--v", 1, 0).unwrap();
    world.backend.detach(&renumbered(None)).await.unwrap();
    assert!(world.holders().is_empty() && world.sim.cluster().ledger.cut_off.is_empty());
}
