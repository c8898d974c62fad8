//! What a client has not confirmed is not told as done: it may still write.

use std::sync::Arc;
use std::time::Duration;

use storpoolsim::{Fault, Late, refuse};

use super::world::{World, told, world};
use crate::backend::{AttachOrder, Backend, DetachOrder};
use crate::error::{Kind, Outcome};
use crate::volume::NodeId;

/// The cluster changes its list at once, and the client is cut off.
#[tokio::test]
async fn a_node_that_confirmed_nothing_may_still_write_however_often_it_is_asked() {
    let errors = ["timeout", "newName", "invalidParam", "objectDoesNotExist"].map(Late::Error);
    for late in errors.into_iter().chain([Late::Fine, Late::Forgotten]) {
        let world = world().await;
        world.sim.cluster().config.late = late;
        let volume = world.create("v").await.unwrap().id;
        world.attach(&volume, 1).await.unwrap();
        world.sim.cluster().run_client(1, false);
        for _ in 0..3 {
            let (kind, outcome, text) = told(world.detach(&volume, 1).await);
            assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
            assert!(text.contains("node=node-1") && text.contains("prove that the node is off"), "{text}");
            assert!(world.holders().is_empty(), "it is listed no more all the same");
        }
        // A new process knows no more.
        let again =
            crate::backend::storpool::StorpoolBackend::open("fast", world.config.clone(), Arc::default());
        let order = DetachOrder { volume: volume.clone(), node: Some(super::world::node(1)), fence: None };
        assert_eq!(told(again.await.unwrap().detach(&order).await).0, Kind::Busy);
        world.fence(&volume, 1).await.expect("there is a proof");
        world.sim.cluster().run_client(1, true);
        world.detach(&volume, 1).await.expect("it has heard of it");
        world.attach(&volume, 2).await.unwrap();
    }
}

/// The second try has nothing to do and is answered at once.
#[tokio::test]
async fn an_ok_after_a_try_that_failed_is_not_believed() {
    for fault in [Fault::LoseReply, Fault::Html(504), refuse(500, "timeout", "try again", true)] {
        let world = world().await;
        let volume = world.create("v").await.unwrap().id;
        world.attach(&volume, 1).await.unwrap();
        world.sim.cluster().run_client(1, false);
        world.wrong("/VolumesReassignWait", 1, fault.clone());
        let (kind, outcome, text) = told(world.detach(&volume, 1).await);
        assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{fault:?}: {text}");
        assert!(world.sim.orders().is_empty());
    }
}

/// A call about several clients waits for a moment only, and is then repeated for each client.
#[tokio::test]
async fn what_goes_with_others_is_confirmed_too() {
    let world = Arc::new(World::new(|config| config.attach_timeout = Duration::from_secs(3)).await);
    let mut volumes = Vec::new();
    for client in 1..=3 {
        volumes.push(world.create(&format!("v{client}")).await.unwrap().id);
        world.attach(&volumes[usize::from(client) - 1], client).await.unwrap();
    }
    world.sim.cluster().config.late = Late::Fine;
    world.sim.cluster().run_client(3, false);
    world.sim.forget_counts();
    world.wrong("/VolumesReassignWait", 1, Fault::SlowReply(100));
    let later = async |place: usize| {
        tokio::time::sleep(Duration::from_millis(30)).await;
        world.detach(&volumes[place], u16::try_from(place).unwrap() + 1).await
    };
    let (first, second, third) = tokio::join!(world.detach(&volumes[0], 1), later(1), later(2));
    first.unwrap();
    second.unwrap();
    let (kind, outcome, text) = told(third);
    assert_eq!((kind, outcome), (Kind::Busy, Outcome::Unknown), "{text}");
    assert_eq!(
        world.count("/VolumesReassignWait"),
        3,
        "the second was about two clients, the last about one"
    );
}

#[tokio::test]
async fn only_what_is_in_doubt_is_asked_for() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.attach(&volume, 1).await.unwrap();
    world.detach(&volume, 1).await.unwrap();
    assert_eq!(world.count("/ClientsConfigDump"), 0, "it confirmed it");
    world.detach(&volume, 1).await.unwrap();
    assert_eq!(world.count("/ClientsConfigDump"), 1);
    // One that takes a while is waited for.
    world.sim.cluster().config.timings.confirm = Duration::from_millis(300);
    let other = world.create("w").await.unwrap().id;
    let (attached, detached) = tokio::join!(world.attach(&other, 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.detach(&volume, 1).await
    });
    attached.unwrap();
    detached.unwrap();
    assert!(world.count("/ClientsConfigDump") > 2);
    // A node that the cluster does not know has nothing, and one that has its volumes over iSCSI runs no client.
    world.detach(&volume, 99).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_to_get_its_volumes_over_iscsi_need_not_run_a_client() {
    let world = World::new(|config| {
        let mut settings = crate::backend::storpool::config::IscsiSettings::new("pg");
        settings.nodes = crate::backend::storpool::config::Served::All;
        config.iscsi = Some(settings);
    })
    .await;
    let volume = world.create("v").await.unwrap().id;
    world.sim.cluster().run_client(1, false);
    let node: NodeId = "n;storpool=d.n.1;iscsi=iqn.2026-01.example:n".parse().unwrap();
    let order = DetachOrder { volume: volume.clone(), node: Some(node.clone()), fence: None };
    world.backend.detach(&order).await.unwrap();
    assert_eq!(world.count("/ClientsConfigDump"), 0);
    let order = AttachOrder { node, ..super::world::attach(&volume, 1) };
    assert_eq!(told(world.backend.attach(&order).await).0, Kind::FailedPrecondition, "there are no portals");
}

/// An error of any name may be what comes of waiting in vain.
#[tokio::test]
async fn a_refusal_that_comes_as_late_as_clients_are_waited_for_is_not_final() {
    for name in ["invalidParam", "preconditionViolation", "insufficientResources", "objectDoesNotExist"] {
        let world = world().await;
        world.sim.cluster().config.late = Late::Error(name);
        let volume = world.create("v").await.unwrap().id;
        world.sim.cluster().run_client(1, false);
        let (kind, outcome, text) = told(world.attach(&volume, 1).await);
        assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{name}: {text}");
        assert!(text.contains("node=node-1") && text.contains("client is down"), "{text}");
        assert_eq!(world.holders()["csi--v"], [1], "it has it as soon as it runs");
    }
}

/// The first try is carried out after the second one was refused.
#[tokio::test]
async fn a_refusal_after_a_lost_order_is_not_final() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    world.wrong("/VolumesReassignWait", 1, Fault::GatewayTimeout(600));
    world.wrong("/VolumesReassignWait", 1, refuse(500, "insufficientResources", "full", false));
    let (kind, outcome, text) = told(world.attach(&volume, 1).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("full") && text.contains("earlier try"), "{text}");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(world.holders()["csi--v"], [1]);
    // Nothing is in doubt where the first one is refused.
    let volume = world.create("w").await.unwrap().id;
    world.wrong("/VolumesReassignWait", 1, refuse(500, "insufficientResources", "full", false));
    let (kind, outcome, text) = told(world.attach(&volume, 1).await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
}
