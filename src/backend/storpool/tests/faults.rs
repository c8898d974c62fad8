//! Lost answers, and errors that pass.

use storpoolsim::{Fault, refuse};

use super::world::{World, told, world};
use crate::backend::{Backend, GroupOrder, SnapshotOrder};
use crate::error::{Kind, Outcome};
use crate::volume::{Bytes, Parameters, SizeRange};

#[tokio::test]
async fn what_was_done_before_the_answer_was_lost_is_found_by_name() {
    for fault in [Fault::LoseReply, Fault::Drop, Fault::Truncate, Fault::Garble, Fault::Html(502)] {
        let world = world().await;
        let shown = format!("{fault:?}");
        for call in ["/VolumeCreate", "/VolumeUpdate/{id}", "/VolumeSnapshot/{id}", "/VolumesGroupSnapshot"] {
            world.wrong(call, 1, fault.clone());
        }
        let volume = world.create("v").await.expect(&shown);
        let grown = world.backend.expand(&volume.id, SizeRange::at_least(Bytes::gib(2))).await.expect(&shown);
        assert_eq!(grown.size, Bytes::gib(2), "{shown}");
        let cut =
            SnapshotOrder { name: "s".into(), volume: volume.id.clone(), parameters: Parameters::default() };
        let snapshot = world.backend.create_snapshot(&cut).await.expect(&shown);
        let group = GroupOrder {
            name: "g".into(),
            volumes: vec![volume.id.clone()],
            parameters: Parameters::default(),
        };
        let group = world.backend.create_group(&group).await.expect(&shown);
        assert_eq!(
            world.backend.list_snapshots(&Default::default(), &Default::default()).await.unwrap().items.len(),
            2
        );
        for call in ["/VolumesReassignWait", "/SnapshotDelete/{id}", "/VolumeDelete/{id}"] {
            world.wrong(call, 1, fault.clone());
        }
        world.attach(&volume.id, 1).await.expect(&shown);
        assert_eq!(world.holders()["csi--v"], [1], "{shown}");
        world.detach(&volume.id, 1).await.expect(&shown);
        world.backend.delete_snapshot(&snapshot.id).await.expect(&shown);
        world.backend.delete_group(&group.id, &[group.members[0].id.clone()]).await.expect(&shown);
        world.backend.delete(&volume.id).await.expect(&shown);
        assert!(
            world.volumes().is_empty() && world.sim.orders().is_empty(),
            "{shown}: {:?}",
            world.sim.orders()
        );
    }
}

#[tokio::test]
async fn errors_that_pass_are_waited_for_and_others_are_not() {
    let world = world().await;
    for status in [200, 500] {
        world.wrong("/VolumeCreate", 2, refuse(status, "internal", "try later", true));
        world.wrong("/Volume/{id}", 1, refuse(status, "internal", "try later", true));
        let volume = world.create("v").await.unwrap();
        world.backend.delete(&volume.id).await.unwrap();
    }
    world.wrong("/VolumeCreate", 99, refuse(500, "internal", "try later", true));
    let (kind, outcome, text) = told(world.create("w").await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    world.sim.clear_orders();
    world.sim.forget_counts();
    world.wrong("/VolumeCreate", 99, refuse(500, "somethingNew", "no such thing was seen before", false));
    let (kind, outcome, text) = told(world.create("w").await);
    assert_eq!(
        (kind, outcome, world.count("/VolumeCreate")),
        (Kind::Internal, Outcome::Unknown, 1),
        "{text}"
    );
    assert!(text.contains("somethingNew") && text.contains("no such thing"), "{text}");
}

/// The first try may still be carried out, so its retry's refusal is none.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_is_not_final() {
    let world = world().await;
    world.wrong("/VolumeCreate", 1, Fault::GatewayTimeout(2_000));
    world.sim.order(storpoolsim::Rule::once(
        "",
        "/VolumeCreate",
        refuse(500, "insufficientResources", "full", false),
    ));
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Unknown), "{text}");
    tokio::time::sleep(std::time::Duration::from_millis(2_200)).await;
    assert_eq!(world.volumes(), ["csi--v"]);
    world.create("v").await.unwrap();
}

/// A proxy gives up, and what was ordered is done only after the next try was, and others followed.
#[tokio::test]
async fn a_delete_that_is_carried_out_late_meets_nothing_new() {
    let world = world().await;
    let id = world.create("v").await.unwrap().id;
    let cut = SnapshotOrder { name: "s".into(), volume: id.clone(), parameters: Parameters::default() };
    let snapshot = world.backend.create_snapshot(&cut).await.unwrap().id;
    for call in ["/VolumeDelete/{id}", "/SnapshotDelete/{id}"] {
        world.wrong(call, 1, Fault::GatewayTimeout(600));
    }
    world.backend.delete_snapshot(&snapshot).await.unwrap();
    world.backend.delete(&id).await.unwrap();
    world.create("v").await.unwrap();
    world.backend.create_snapshot(&cut).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(world.count("/VolumeDelete/{id}"), 2);
    assert_eq!(world.volumes(), ["csi--v"]);
    world.backend.get_snapshot(&snapshot).await.unwrap();
}

#[tokio::test]
async fn what_is_made_anew_is_made_after_the_delete_before_it() {
    let world = world().await;
    let id = world.create("v").await.unwrap().id;
    world.wrong("/VolumeDelete/{id}", 1, Fault::SlowReply(100));
    let deleting = async {
        world.backend.delete(&id).await.unwrap();
        std::time::Instant::now()
    };
    let making = async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        world.create("v").await.unwrap();
        std::time::Instant::now()
    };
    let (deleted, made) = tokio::join!(deleting, making);
    assert!(deleted < made, "whoever deletes once more must not hear of the delete that is over");
}

#[tokio::test]
async fn a_deleted_volume_can_be_kept_for_a_while() {
    let world = World::new(|config| config.delete_after = Some(std::time::Duration::from_secs(3600))).await;
    let snapshots = || {
        let cluster = world.sim.cluster();
        let alive = cluster.objects().filter(|one| one.volume.is_some() && one.deleted.is_none());
        alive.map(|one| (one.called(), one.tags.clone())).collect::<Vec<_>>()
    };
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
    assert_eq!(told(world.backend.delete(&volume.id).await).0, Kind::FailedPrecondition);
    assert_eq!(snapshots(), [], "it lives");
    world.detach(&volume.id, 1).await.unwrap();
    world.wrong("/VolumeSnapshot/{id}", 1, Fault::LoseReply);
    world.wrong("/VolumeDelete/{id}", 1, Fault::LoseReply);
    world.backend.delete(&volume.id).await.unwrap();
    let kept = snapshots();
    assert!(world.volumes().is_empty() && kept.len() == 1, "{kept:?}");
    assert!(kept[0].0.starts_with("csi--gone--d.n.") && kept[0].1["fl-gone"] == "csi--v", "{kept:?}");
    let listed = world.backend.list_snapshots(&Default::default(), &Default::default()).await.unwrap();
    assert!(listed.items.is_empty());
    // The name is free, and the next one of it is kept beside it.
    let again = world.create("v").await.unwrap();
    world.backend.delete(&again.id).await.unwrap();
    assert_eq!(snapshots().len(), 2);
    world.sim.leap(std::time::Duration::from_secs(3601));
    assert_eq!(snapshots(), []);
}
