use std::time::Duration;

use serde_json::{Value, json};

use super::sky::{Sky, fault, id, order, parameters, refused, told, volume};
use crate::backend::cinder::notes::Name;
use crate::backend::cinder::parameters::Copy;
use crate::backend::{Backend, Page, SnapshotFilter, SnapshotOrder, VolumeOrder};
use crate::error::{Kind, Outcome};
use crate::http::fake::Reply;
use crate::volume::{Bytes, Content, Parameters, Source};

fn cut(name: &str, volume: &str) -> SnapshotOrder {
    SnapshotOrder { name: name.to_owned(), volume: id(volume), parameters: Parameters::default() }
}

fn backup(name: &str, volume: &str) -> SnapshotOrder {
    SnapshotOrder { parameters: parameters(&[("type", "backup"), ("container", "c")]), ..cut(name, volume) }
}

async fn with_volumes() -> Sky {
    let sky = Sky::new().await;
    sky.state().volumes = vec![volume("v", "v", "in-use", 0), volume("w", "w", "available", 1)];
    sky.state().volumes[0]["size"] = json!(3);
    sky
}

#[tokio::test]
async fn a_snapshot_is_cut_once_and_volumes_are_made_from_it() {
    let sky = with_volumes().await;
    let made = sky.backend.create_snapshot(&cut("s", "v")).await.unwrap();
    assert_eq!(
        (made.name.as_str(), made.size, made.ready, &made.volume),
        ("s", Bytes::gib(3), true, &id("v"))
    );
    assert_eq!(sky.backend.create_snapshot(&cut("s", "v")).await.unwrap(), made);
    assert_eq!(sky.backend.get_snapshot(&made.id).await.unwrap(), made);
    refused(sky.backend.create_snapshot(&cut("s", "w")).await, Kind::AlreadyExists);
    assert_eq!(sky.server.count("POST /volume/v3/p1/snapshots"), 1);
    let from =
        |name: &str, gib| VolumeOrder { source: Some(Source::Snapshot(made.id.clone())), ..order(name, gib) };
    refused(sky.backend.create(&from("r", 1)).await, Kind::OutOfRange);
    let larger = sky.backend.create(&from("r", 8)).await.unwrap();
    assert_eq!(
        (larger.size, larger.content, larger.source.clone()),
        (Bytes::gib(8), Content::Data, from("r", 8).source)
    );
    for _ in 0..2 {
        sky.backend.delete_snapshot(&made.id).await.unwrap();
    }
    assert_eq!(sky.backend.create(&from("r", 8)).await.unwrap(), larger, "though its source is gone");
    refused(sky.backend.create(&from("q", 8)).await, Kind::NotFound);
    let clone = VolumeOrder { source: Some(Source::Volume(id("v"))), ..order("c", 0) };
    let clone = sky.backend.create(&clone).await.unwrap();
    assert_eq!((clone.size, clone.content), (Bytes::gib(3), Content::Data));
}

#[tokio::test]
async fn a_failed_or_second_snapshot_goes() {
    let sky = with_volumes().await;
    sky.state().made = Some("error");
    told(sky.backend.create_snapshot(&cut("s", "v")).await, Kind::Unavailable, Outcome::Unknown);
    assert!(sky.state().snapshots.is_empty());
    sky.state().made = None;
    sky.state().snapshots = vec![twin("young", "available", 2), twin("old", "available", 1)];
    assert_eq!(sky.backend.create_snapshot(&cut("s", "v")).await.unwrap().id, id("old"));
    assert_eq!(sky.state().snapshots.len(), 1);
    let mut lost = true;
    sky.bend(move |seen, state| {
        let first = seen.line() == "POST /volume/v3/p1/snapshots" && std::mem::take(&mut lost);
        first.then(|| {
            state.make("snapshots", seen);
            Reply::hang_up()
        })
    });
    sky.backend.create_snapshot(&cut("t", "v")).await.unwrap();
    assert_eq!(sky.state().snapshots.len(), 2, "the one whose answer was lost is found");
}

/// A copy of the volume "v" that is named "s".
fn twin(id: &str, status: &str, second: usize) -> Value {
    let mut twin = volume(id, "s", status, second);
    twin["volume_id"] = json!("v");
    twin
}

fn left(copies: &[Value]) -> String {
    copies.iter().map(|copy| copy["id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_copy_that_lands_after_the_answer_goes_and_never_what_was_given_out() {
    let sky = with_volumes().await;
    let (cloud, snapshot) = (&sky.backend.cloud, cut("s", "v"));
    let name = Name::new(&cloud.config, "s").unwrap();
    sky.state().snapshots = vec![twin("given", "available", 5)];
    assert_eq!(sky.backend.create_snapshot(&snapshot).await.unwrap().id, id("given"));
    let late = [twin("older", "available", 1), twin("young", "creating", 6), twin("failed", "error", 7)];
    sky.state().snapshots.extend(late);
    let sweep = async |keep: &str| cloud.sweep_copies(&Copy::Snapshot, &snapshot, &name, keep).await;
    assert!(!sweep("one that is gone again").await, "a later order's snapshot is left alone");
    assert!(sweep("given").await);
    assert_eq!(left(&sky.state().snapshots), "given young");
    sky.state().snapshots[1]["status"] = json!("available");
    assert!(sweep("given").await);
    assert!(!sweep("given").await, "nothing is left");
    assert_eq!(left(&sky.state().snapshots), "given");
    sky.state().backups = vec![twin("given", "available", 5), twin("older", "available", 1)];
    let copy = Copy::Backup { container: None, incremental: false };
    assert!(cloud.sweep_copies(&copy, &backup("s", "v"), &name, "given").await);
    assert_eq!(left(&sky.state().backups), "given");
}

#[tokio::test]
async fn a_copy_that_cannot_go_now_fails_nothing_and_goes_later() {
    for kind in ["snapshots", "backups"] {
        let sky = with_volumes().await;
        let copies =
            vec![twin("first", "available", 1), twin("stuck", "available", 2), twin("new", "creating", 3)];
        let order = if kind == "backups" { backup("s", "v") } else { cut("s", "v") };
        match kind {
            "backups" => sky.state().backups = copies,
            _ => sky.state().snapshots = copies,
        }
        sky.bend(|seen, _| (seen.method == "DELETE").then(|| fault(400, "Invalid snapshot: not now.")));
        let made = sky.backend.create_snapshot(&order).await.unwrap();
        assert!(made.id.as_str().ends_with("first"));
        sky.state().find(kind, "new").unwrap()["status"] = json!("available");
        sky.bend(|_, _| None);
        let gone = async {
            while sky.state().find(kind, "stuck").is_some() || sky.state().find(kind, "new").is_some() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
        assert!(sky.state().find(kind, "first").is_some());
    }
}

#[tokio::test]
async fn a_backup_is_a_snapshot_of_another_kind() {
    let sky = with_volumes().await;
    let made = sky.backend.create_snapshot(&backup("b", "v")).await.unwrap();
    assert_eq!((made.id.as_str(), made.size, made.ready), ("backup-b1", Bytes::gib(3), true));
    assert_eq!(sky.backend.create_snapshot(&backup("b", "v")).await.unwrap(), made);
    refused(sky.backend.create_snapshot(&backup("b", "w")).await, Kind::AlreadyExists);
    let sent =
        sky.server.seen().into_iter().find(|seen| seen.line() == "POST /volume/v3/p1/backups").unwrap();
    assert_eq!(sent.json()["backup"]["container"], "c");
    assert_eq!(sent.json()["backup"]["force"], true, "a server may have the volume");
    let restore = VolumeOrder { source: Some(Source::Snapshot(made.id.clone())), ..order("r", 5) };
    let restored = sky.backend.create(&restore).await.unwrap();
    assert_eq!(
        (restored.size, restored.content, &restored.source),
        (Bytes::gib(5), Content::Data, &restore.source)
    );
    let order =
        sky.server.seen().into_iter().find(|seen| seen.line() == "POST /volume/v3/p1/volumes").unwrap();
    assert_eq!(
        (order.json()["volume"]["backup_id"].as_str(), order.header("openstack-api-version")),
        (Some("b1"), Some("volume 3.47"))
    );
    sky.backend.create_snapshot(&cut("s", "v")).await.unwrap();
    let all = sky.backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap().items;
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["b", "s"]);
    let page = Page { max: Some(1), token: None };
    let first = sky.backend.list_snapshots(&SnapshotFilter::default(), &page).await.unwrap();
    sky.backend.delete_snapshot(&made.id).await.unwrap();
    let rest = Page { max: Some(1), token: first.next };
    let rest = sky.backend.list_snapshots(&SnapshotFilter::default(), &rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    let gone = SnapshotFilter { snapshot: Some(made.id.clone()), volume: None };
    assert!(sky.backend.list_snapshots(&gone, &Page::default()).await.unwrap().items.is_empty());
    sky.backend.delete_snapshot(&made.id).await.unwrap();
}

#[tokio::test]
async fn a_cloud_without_backups_says_so_and_has_none_to_list() {
    let sky = with_volumes().await;
    sky.bend(|seen, _| {
        seen.line().contains("/backups").then(|| match seen.method.as_str() {
            "GET" => fault(404, "The resource could not be found."),
            _ => Reply::json(503, json!({"serviceUnavailable": {"code": 503, "message": "Service cinder-backup could not be found."}})),
        })
    });
    sky.backend.create_snapshot(&cut("s", "v")).await.unwrap();
    assert_eq!(
        sky.backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap().items.len(),
        1
    );
}

#[tokio::test]
async fn a_snapshot_in_use_stays() {
    let sky = with_volumes().await;
    let made = sky.backend.create_snapshot(&cut("s", "v")).await.unwrap();
    sky.bend(|seen, _| {
        (seen.method == "DELETE")
            .then(|| fault(400, "Invalid snapshot: Snapshot status must be available or error."))
    });
    refused(sky.backend.delete_snapshot(&made.id).await, Kind::FailedPrecondition);
    sky.state().snapshots[0]["group_snapshot_id"] = json!("g");
    refused(sky.backend.delete_snapshot(&made.id).await, Kind::InvalidArgument);
}
