//! Lost answers, errors that pass, and bad input.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use storpoolsim::{Fault, refuse};

use super::world::{World, id, order, parameters, told, world};
use crate::backend::storpool::StorpoolBackend;
use crate::backend::{Backend, GroupOrder, SnapshotOrder, VolumeOrder};
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
async fn the_next_address_is_asked_where_one_does_not_answer() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    drop(refusing);
    let world = World::new(|config| config.endpoints.insert(0, format!("http://{address}"))).await;
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
}

#[tokio::test]
async fn the_address_that_answered_is_asked_first() {
    let breaking = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = breaking.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = breaking.accept().await {
            drop(stream);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let world = World::new(|config| config.endpoints.insert(0, format!("http://{address}"))).await;
    let before = asked.load(Ordering::Relaxed);
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
    assert_eq!((before, asked.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn bad_input_is_named_and_leaves_nothing() {
    let world = world().await;
    let missing = VolumeOrder { parameters: parameters(&[("template", "gold")]), ..order("v") };
    let (kind, outcome, text) = told(world.backend.create(&missing).await);
    assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    assert!(text.contains("\"gold\"") && text.contains("nvme, hybrid"), "{text}");
    let (kind, _, text) = told(world.backend.capacity(&missing.parameters, None).await);
    assert!(kind == Kind::InvalidArgument && text.contains("nvme, hybrid"), "{text}");
    let large = VolumeOrder { size: SizeRange::at_least(Bytes::gib(1 << 21)), ..order("v") };
    assert_eq!(told(world.backend.create(&large).await).0, Kind::OutOfRange);
    let volume = world.create("full").await.unwrap();
    world.sim.cluster().alter("csi--full", |volume| volume.stored = 1 << 44).unwrap();
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
    world.backend.delete(&volume.id).await.unwrap();
    assert!(world.volumes().is_empty(), "{:?}", world.volumes());
    for odd in ["a~b", "list", "ä"] {
        let cut = SnapshotOrder { name: "s".into(), volume: id(odd), parameters: Parameters::default() };
        let (kind, outcome, text) = told(world.backend.create_snapshot(&cut).await);
        assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
    }
    let untemplated = World::new(|config| config.template = None).await;
    let (kind, _, text) = told(untemplated.create("v").await);
    assert!(kind == Kind::InvalidArgument && text.contains("\"template\""), "{text}");
}

#[tokio::test]
async fn what_is_not_ours_is_never_touched() {
    let world = world().await;
    world.foreign(Some("csi--v"));
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::AlreadyExists, Outcome::Refused), "{text}");
    assert!(text.contains("namePrefix"), "{text}");
    let (kind, outcome, text) = told(world.backend.delete(&id("csi--v")).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(world.backend.list(&Default::default()).await.unwrap().items.is_empty());
    world
        .sim
        .cluster()
        .cut(vec![storpoolsim::state::Cutting {
            volume: "csi--v".into(),
            name: Some("csi--w".into()),
            ..Default::default()
        }])
        .unwrap();
    let (kind, outcome, text) = told(world.create("w").await);
    assert_eq!((kind, outcome), (Kind::AlreadyExists, Outcome::Refused), "{text}");
    assert!(text.contains("a snapshot has that name"), "{text}");
}

#[tokio::test]
async fn a_bad_token_is_told_and_a_new_one_taken_over() {
    let world = world().await;
    world.sim.cluster().config.token = "42".to_owned();
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::Unauthenticated, Outcome::Unknown), "{text}");
    assert!(StorpoolBackend::open("again", world.config.clone(), Default::default()).await.is_err());
    std::fs::write(world.config.token_file.as_ref().unwrap(), "42\n").unwrap();
    world.backend.ready().await.unwrap();
    world.create("v").await.unwrap();
    let shown = format!("{:?}", world.backend);
    assert!(!shown.contains("42\"") && !shown.contains("1556129910218014736"), "{shown}");
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
