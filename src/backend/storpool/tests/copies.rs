//! Copies in another template than their source's.

use std::time::Duration;

use storpoolsim::state::Kind as Sort;
use storpoolsim::{Fault, Rule, refuse};

use super::world::{World, id, order, parameters, told, world};
use crate::backend::{Backend, SnapshotOrder, VolumeOrder};
use crate::error::{Kind, Outcome};
use crate::volume::{Bytes, Content, NativeId, Parameters, SizeRange, Source};

/// A copy of a volume, in this template.
fn copy(name: &str, source: &NativeId, template: &str) -> VolumeOrder {
    VolumeOrder {
        size: SizeRange::at_least(Bytes::gib(2)),
        source: Some(Source::Volume(source.clone())),
        parameters: parameters(&[("template", template)]),
        ..order(name)
    }
}

/// The template of a volume, and the snapshots that somebody could still see.
fn state(world: &World, volume: &str) -> (Option<String>, Vec<String>) {
    let cluster = world.sim.cluster();
    let template = cluster.get(volume, Sort::Volume).ok().map(|found| found.policy.template.clone());
    let alive = cluster.objects().filter(|one| one.kind == Sort::Snapshot && one.deleted.is_none());
    (template, alive.filter(|one| !one.transient).map(|one| one.called()).collect())
}

fn nothing_left(world: &World) {
    assert_eq!(state(world, "csi--c"), (Some("hybrid".to_owned()), Vec::new()));
}

#[tokio::test]
async fn a_copy_gets_another_template_by_way_of_a_snapshot() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    let made = world.backend.create(&copy("c", &source, "hybrid")).await.unwrap();
    assert_eq!((made.size, made.content), (Bytes::gib(2), Content::Data));
    assert_eq!(made.source, Some(Source::Volume(source.clone())));
    nothing_left(&world);
    assert_eq!(state(&world, "csi--v").0.as_deref(), Some("nvme"));
    assert_eq!(world.backend.create(&copy("c", &source, "hybrid")).await.unwrap(), made);
    // In the same template there is nothing to move.
    world.sim.forget_counts();
    world.backend.create(&copy("d", &source, "nvme")).await.unwrap();
    assert_eq!((world.count("/VolumeSnapshot/{id}"), world.count("/SnapshotUpdate/{id}")), (0, 0));
    let listed = world.backend.list_snapshots(&Default::default(), &Default::default()).await.unwrap();
    assert!(listed.items.is_empty());
}

#[tokio::test]
async fn a_copy_of_a_snapshot_is_made_in_another_template_at_once() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    let cut = SnapshotOrder { name: "s".into(), volume: source, parameters: Parameters::default() };
    let snapshot = world.backend.create_snapshot(&cut).await.unwrap().id;
    let restore = VolumeOrder {
        source: Some(Source::Snapshot(snapshot)),
        parameters: parameters(&[("template", "hybrid")]),
        ..order("c")
    };
    world.backend.create(&restore).await.unwrap();
    assert_eq!(state(&world, "csi--c"), (Some("hybrid".to_owned()), vec!["csi--snap--s".to_owned()]));
}

const STEPS: [&str; 4] =
    ["/VolumeSnapshot/{id}", "/SnapshotUpdate/{id}", "/VolumeCreate", "/SnapshotDelete/{id}"];

/// The call is given up while a step is under way, which is carried out all the same, or was never sent.
#[tokio::test]
async fn what_is_killed_at_any_step_is_finished_by_the_next_try() {
    for step in STEPS {
        for fault in [Fault::Late(120), Fault::Drop] {
            let world = world().await;
            let source = world.create("v").await.unwrap().id;
            let wanted = copy("c", &source, "hybrid");
            world.wrong(step, 99, fault.clone());
            world.sim.forget_counts();
            let under_way = async {
                while world.count(step) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                made = world.backend.create(&wanted) => panic!("{step} {fault:?}: {made:?}"),
                () = under_way => {}
            }
            world.sim.clear_orders();
            if fault == Fault::Drop {
                let left = state(&world, "csi--c");
                assert_eq!(left.1.is_empty(), step == STEPS[0], "{step} {left:?}");
            }
            // What was under way goes on beside the next try.
            world.backend.create(&wanted).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let made = world.backend.create(&wanted).await.unwrap();
            assert_eq!(made.source, Some(Source::Volume(source)), "{step} {fault:?}");
            nothing_left(&world);
        }
    }
}

#[tokio::test]
async fn lost_answers_make_nothing_twice() {
    for step in STEPS {
        let world = world().await;
        let source = world.create("v").await.unwrap().id;
        world.wrong(step, 1, Fault::LoseReply);
        world.backend.create(&copy("c", &source, "hybrid")).await.expect(step);
        nothing_left(&world);
        assert_eq!(world.sim.orders(), [], "{step}");
    }
}

#[tokio::test]
async fn a_copy_that_is_refused_leaves_no_snapshot() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    let (kind, outcome, text) = told(world.backend.create(&copy("c", &source, "gold")).await);
    assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    assert!(text.contains("\"gold\"") && text.contains("nvme, hybrid"), "{text}");
    assert_eq!(state(&world, "csi--c"), (None, vec![]));
    world.sim.order(Rule::once("", "/VolumeCreate", refuse(500, "insufficientResources", "full", false)));
    let (kind, outcome, text) = told(world.backend.create(&copy("c", &source, "hybrid")).await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
    assert_eq!(state(&world, "csi--c"), (None, vec![]));
    let (kind, outcome, text) = told(world.backend.create(&copy("c", &id("none"), "hybrid")).await);
    assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
}

#[tokio::test]
async fn what_nobody_comes_back_for_goes_by_itself() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    world.wrong("/SnapshotUpdate/{id}", 99, Fault::Drop);
    let (_, outcome, text) = told(world.backend.create(&copy("c", &source, "hybrid")).await);
    assert_eq!(outcome, Outcome::Unknown, "{text}");
    world.sim.clear_orders();
    assert_eq!(state(&world, "csi--c"), (None, vec!["csi--aside--c".to_owned()]));
    // The same name, and another source: the old content is not taken.
    let other = world.create("w").await.unwrap().id;
    let made = world.backend.create(&copy("c", &other, "hybrid")).await.unwrap();
    assert_eq!(made.source, Some(Source::Volume(other)));
    nothing_left(&world);
    world.wrong("/SnapshotUpdate/{id}", 99, Fault::Drop);
    told(world.backend.create(&copy("d", &source, "hybrid")).await);
    assert_eq!(state(&world, "csi--d").1, ["csi--aside--d"]);
    world.sim.leap(Duration::from_secs(3601));
    assert_eq!(state(&world, "csi--d").1, Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_of_another_that_has_the_name_is_left_alone() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    let cutting = storpoolsim::state::Cutting {
        volume: "csi--v".into(),
        name: Some("csi--aside--c".into()),
        ..Default::default()
    };
    world.sim.cluster().cut(vec![cutting]).unwrap();
    let (kind, outcome, text) = told(world.backend.create(&copy("c", &source, "hybrid")).await);
    assert_eq!((kind, outcome), (Kind::AlreadyExists, Outcome::Refused), "{text}");
    assert_eq!(state(&world, "csi--c"), (None, vec!["csi--aside--c".to_owned()]));
}

/// What it went by cannot be deleted: that says nothing of the copy, which is there.
#[tokio::test]
async fn a_copy_that_was_made_is_not_refused() {
    let world = world().await;
    let source = world.create("v").await.unwrap().id;
    let wanted = copy("c", &source, "hybrid");
    world.wrong("/SnapshotDelete/{id}", 1, refuse(500, "preconditionViolation", "not now", false));
    let (_, outcome, text) = told(world.backend.create(&wanted).await);
    assert_eq!(outcome, Outcome::Unknown, "{text}");
    assert!(text.contains("not now") && world.volumes().contains(&"csi--c".to_owned()), "{text}");
    world.backend.create(&wanted).await.unwrap();
    nothing_left(&world);
}
