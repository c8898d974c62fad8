//! The client of Cinder and Nova against simulated clouds: what it asks for is served, and what goes wrong there is told
//! apart.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

#[path = "common/cinder.rs"]
mod cinder;
#[path = "common/logs.rs"]
mod logs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudsim::{Config, Fate, Fault, Leftover, NameFilter, Rule, Sim, Version};
use tempfile::TempDir;

use fairlead::backend::cinder::client::{
    BackupOrder, Client, GroupOrder, SnapshotOrder, Source as Origin, VolumeOrder,
};
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::identity::Session;
use fairlead::backend::cinder::model::Status;
use fairlead::error::{Kind, Outcome};

use cinder::{available, until};

/// A cloud, and a client of its project csi.
async fn start(config: Config) -> (Sim, TempDir, Client) {
    logs::record("cinder_sim");
    let sim = Sim::start(config).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let client = client(&sim, &directory, "csi");
    (sim, directory, client)
}

fn client(sim: &Sim, directory: &TempDir, cloud: &str) -> Client {
    let file = directory.path().join("clouds.yaml");
    std::fs::write(&file, sim.clouds_yaml()).unwrap();
    let source = Source::Clouds { file, cloud: Some(cloud.to_owned()) };
    let session = Session::open("sim", CinderConfig::new(source), Arc::default()).unwrap();
    Client::new(Arc::new(session))
}

async fn new_volume(client: &Client, name: &str) -> String {
    let order = VolumeOrder { name: name.to_owned(), size: 1, ..VolumeOrder::default() };
    let id = client.create_volume(&order).await.unwrap().id;
    available(client, &id).await;
    id
}

async fn gone(client: &Client, id: &str) {
    until("the end of a volume", async || {
        client.volume(id).await.err().map(|error| assert!(error.is_not_found(), "{error}"))
    })
    .await;
}

#[tokio::test]
async fn a_volume_lives_and_dies() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let server = sim.add_server("csi", "one");
    let id = new_volume(&client, "pvc-1").await;
    client.attach_volume(&server, &id, false).await.unwrap();
    until("an attached volume", async || {
        (client.volume(&id).await.unwrap().status == Status::InUse).then_some(())
    })
    .await;
    assert_eq!(client.volume(&id).await.unwrap().attachments[0].server_id, server);
    assert_eq!(client.server_volumes(&server).await.unwrap()[0].volume_id, id);
    assert_eq!(sim.cloud().ledger.holders(&id), [server.as_str()]);
    client.extend_volume(&id, 2, true).await.unwrap();
    until("a larger volume", async || (client.volume(&id).await.unwrap().size == 2).then_some(())).await;
    let refused = client.delete_volume(&id).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.outcome()),
        (Kind::FailedPrecondition, Outcome::Refused),
        "{refused}"
    );
    client.detach_volume(&server, &id).await.unwrap();
    available(&client, &id).await;
    until("a server without it", async || {
        client.server_volumes(&server).await.unwrap().is_empty().then_some(())
    })
    .await;
    let order =
        SnapshotOrder { name: "snapshot-1".to_owned(), volume: id.clone(), ..SnapshotOrder::default() };
    let snapshot = client.create_snapshot(&order).await.unwrap().id;
    until("a snapshot", async || {
        (client.snapshot(&snapshot).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    let source = Some(Origin::Snapshot(snapshot.clone()));
    let order = VolumeOrder { name: "pvc-2".to_owned(), size: 3, source, ..VolumeOrder::default() };
    let copy = client.create_volume(&order).await.unwrap().id;
    available(&client, &copy).await;
    client.delete_snapshot(&snapshot).await.unwrap();
    until("the end of a snapshot", async || client.snapshot(&snapshot).await.err()).await;
    for id in [&id, &copy] {
        client.delete_volume(id).await.unwrap();
        gone(&client, id).await;
    }
    let cloud = sim.cloud();
    assert!(cloud.leaks(&[]).is_empty() && cloud.ledger.violations().is_empty());
}

/// What an error is, for comparing.
fn judged(error: &fairlead::error::Error) -> (Kind, Outcome) {
    (error.kind(), error.outcome())
}

fn order(name: &str) -> VolumeOrder {
    VolumeOrder { name: name.to_owned(), size: 1, ..VolumeOrder::default() }
}

async fn status(client: &Client, id: &str, wanted: Status) {
    until(&format!("{wanted}"), async || (client.volume(id).await.unwrap().status == wanted).then_some(()))
        .await;
}

#[tokio::test]
async fn every_way_to_log_in_works_and_others_are_refused() {
    let (sim, directory, _) = start(Config::openstack()).await;
    let url = sim.auth_url();
    let ways = [
        "username: csi, password: sim-password, project_name: csi, user_domain_id: default, project_domain_id: default",
        "application_credential_id: '00000001222222222222222222222222', application_credential_secret: sim-password",
        "application_credential_name: csi-app, application_credential_secret: sim-password, username: csi, \
         user_domain_id: default",
    ];
    let with = |auth: &str| {
        let file = directory.path().join("other.yaml");
        std::fs::write(&file, format!("clouds: {{c: {{auth: {{auth_url: '{url}', {auth}}}}}}}")).unwrap();
        let source = Source::Clouds { file, cloud: Some("c".to_owned()) };
        Client::new(Arc::new(Session::open("sim", CinderConfig::new(source), Arc::default()).unwrap()))
    };
    for way in ways {
        assert!(with(way).volumes(&[]).await.unwrap().is_empty(), "{way}");
        let wrong = with(&way.replace("sim-password", "wrong")).volumes(&[]).await.unwrap_err();
        assert_eq!(judged(&wrong), (Kind::Unauthenticated, Outcome::Unknown), "{wrong}");
    }
    let foreign = with(&ways[0].replace("project_name: csi,", "project_name: csi2,"));
    assert_eq!(foreign.volumes(&[]).await.unwrap_err().kind(), Kind::Unauthenticated);
}

#[tokio::test]
async fn an_expired_token_is_replaced() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    client.volumes(&[]).await.unwrap();
    sim.expire_tokens();
    // The client does not replace a token that it has got just now.
    tokio::time::sleep(Duration::from_millis(5100)).await;
    client.volumes(&[]).await.unwrap();
    assert_eq!(sim.counts()["POST /identity/v3/auth/tokens"].requests, 2);
}

#[tokio::test]
async fn a_lost_answer_is_known_as_such_whatever_was_done() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let there = async |name: &str| client.volumes(&[("name", name.to_owned())]).await.unwrap().len();
    let cases = [
        ("drop", Fault::Drop, 0),
        ("lost", Fault::LoseReply, 1),
        ("cut", Fault::Truncate, 1),
        ("garbled", Fault::Garble, 1),
        ("html", Fault::Html(502), 0),
        ("huge", Fault::Huge(100 << 20), 0),
        ("loop", Fault::RedirectLoop, 0),
        ("broken", Fault::Refuse(500, "The server has either erred".to_owned()), 0),
    ];
    for (name, fault, made) in cases {
        sim.order(Rule::once("POST", "/volumes", fault));
        let error = client.create_volume(&order(name)).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{name}: {error}");
        assert_eq!(there(name).await, made, "{name}");
        assert!(sim.orders().is_empty(), "{name}: it went wrong otherwise: {error}");
    }
    // Who is asked to wait has not been served, and may ask again.
    for fault in [Fault::TooMany(1), Fault::Throttle(1)] {
        sim.order(Rule::once("POST", "/volumes", fault.clone()));
        client.create_volume(&order(&format!("{fault:?}"))).await.unwrap();
        assert_eq!((there(&format!("{fault:?}")).await, sim.orders().len()), (1, 0));
    }
    sim.order(Rule::once("POST", "/volumes", Fault::GatewayTimeout(300)));
    let error = client.create_volume(&order("late")).await.unwrap_err();
    assert_eq!((judged(&error), there("late").await), ((Kind::Unavailable, Outcome::Unknown), 0), "{error}");
    until("a volume that was made late", async || (there("late").await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_done_all_the_same() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    client.volumes(&[]).await.unwrap();
    sim.order(Rule::once("POST", "/volumes", Fault::Late(300)));
    let given_up =
        tokio::time::timeout(Duration::from_millis(100), client.create_volume(&order("pvc-1"))).await;
    assert!(given_up.is_err());
    let listed = async || client.volumes(&[("name", "pvc-1".to_owned())]).await.unwrap();
    assert!(listed().await.is_empty());
    until("the volume", async || (listed().await.len() == 1).then_some(())).await;
    new_volume(&client, "pvc-1").await;
    assert_eq!(sim.cloud().twins()["pvc-1"].len(), 2);
}

#[tokio::test]
async fn what_may_be_repeated_outlives_what_goes_wrong() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let id = new_volume(&client, "pvc-1").await;
    for fault in [Fault::Drop, Fault::Html(503), Fault::TooMany(1), Fault::Throttle(1), Fault::LoseReply] {
        sim.order(Rule::once("GET", "/volumes/{id}", fault.clone()));
        client.volume(&id).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(sim.orders().is_empty(), "{fault:?}");
    }
    sim.order(Rule::once("DELETE", "/volumes/{id}", Fault::LoseReply));
    // The second one meets a volume that is being deleted already, or none.
    let second = client.delete_volume(&id).await;
    assert!(
        second.is_ok()
            || second.is_err_and(|e| matches!(e.kind(), Kind::FailedPrecondition | Kind::NotFound))
    );
    gone(&client, &id).await;
}

#[tokio::test]
async fn work_that_fails_is_seen_in_the_state() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let server = sim.add_server("csi", "one");
    let failed = || Fate { fails: Some("No weighted backend.".to_owned()), ..Fate::default() };
    sim.order(Rule::fate("POST", "/volumes", failed()));
    let broken = client.create_volume(&order("broken")).await.unwrap().id;
    status(&client, &broken, Status::Error).await;
    let messages = client.messages(&broken).await.unwrap();
    assert!(messages[0].user_message.contains("No weighted backend"), "{messages:?}");
    assert!(messages[0].request_id.as_deref().is_some_and(|id| id.starts_with("req-")), "{messages:?}");

    let id = new_volume(&client, "pvc-1").await;
    sim.order(Rule::fate("POST", "/os-volume_attachments", failed()));
    client.attach_volume(&server, &id, false).await.unwrap();
    until("the fall-back", async || client.server_volumes(&server).await.unwrap().is_empty().then_some(()))
        .await;
    status(&client, &id, Status::Available).await;
    let actions = client.server_actions(&server).await.unwrap();
    assert_eq!((actions[0].action.as_str(), actions[0].message.as_deref()), ("attach_volume", Some("Error")));

    client.attach_volume(&server, &id, false).await.unwrap();
    status(&client, &id, Status::InUse).await;
    sim.order(Rule::fate("DELETE", "/os-volume_attachments/{id}", failed()));
    client.detach_volume(&server, &id).await.unwrap();
    status(&client, &id, Status::Detaching).await;
    status(&client, &id, Status::InUse).await;
    client.detach_volume(&server, &id).await.unwrap();
    status(&client, &id, Status::Available).await;

    sim.order(Rule::fate("POST", "/volumes/{id}/action", failed()).with_body("os-extend"));
    client.extend_volume(&id, 2, false).await.unwrap();
    status(&client, &id, Status::ErrorExtending).await;
    sim.order(Rule::fate("DELETE", "/volumes/{id}", failed()));
    client.delete_volume(&id).await.unwrap();
    status(&client, &id, Status::ErrorDeleting).await;
    let error = client.delete_volume(&id).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
}

#[tokio::test]
async fn what_an_attach_leaves_behind_can_be_seen_and_let_go() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let (one, two) = (sim.add_server("csi", "one"), sim.add_server("csi", "two"));
    let id = new_volume(&client, "pvc-1").await;
    let leaves = Fate { leaves: Some(Leftover::Reserved), ..Fate::default() };
    sim.order(Rule::fate("POST", "/os-volume_attachments", leaves));
    client.attach_volume(&one, &id, false).await.unwrap();
    status(&client, &id, Status::Reserved).await;
    assert!(client.server_volumes(&one).await.unwrap().is_empty());
    let error = client.attach_volume(&two, &id, false).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    let kept = client.attachments(&[("volume_id", id.clone())]).await.unwrap();
    client.delete_attachment(&kept[0].id).await.unwrap();
    status(&client, &id, Status::Available).await;

    sim.cloud().config.timings.rpc = Duration::from_millis(200);
    sim.cloud().stop_compute(&one);
    let error = client.attach_volume(&one, &id, false).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::Unavailable, Outcome::Unknown), "{error}");
    sim.cloud().start_compute(&one);
    assert_eq!(client.server_volumes(&one).await.unwrap()[0].volume_id, id, "a phantom");
    status(&client, &id, Status::Available).await;
    assert!(sim.cloud().ledger.holders(&id).is_empty());
}

#[tokio::test]
async fn a_busy_server_refuses_or_keeps_waiting() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let server = sim.add_server("csi", "one");
    let (one, two) = (new_volume(&client, "pvc-1").await, new_volume(&client, "pvc-2").await);
    sim.cloud().change_server(&server, |server| server.task_state = Some("rebooting".to_owned()));
    let error = client.attach_volume(&server, &one, false).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::Busy, Outcome::Unknown), "{error}");
    sim.cloud().change_server(&server, |server| server.task_state = None);
    sim.cloud().config.timings.attach = Duration::from_millis(400);
    client.attach_volume(&server, &one, false).await.unwrap();
    let started = Instant::now();
    client.attach_volume(&server, &two, false).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(350), "the second waits for the first");
    sim.cloud().config.server_disks = Some(3);
    let third = new_volume(&client, "pvc-3").await;
    let error = client.attach_volume(&server, &third, false).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::ResourceExhausted, Outcome::Refused), "{error}");
}

#[tokio::test]
async fn lists_may_have_more_than_was_asked_for() {
    let (sim, directory, client) = start(Config::openstack()).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(new_volume(&client, name).await);
    }
    sim.cloud().config.page = 2;
    sim.forget_counts();
    assert_eq!(client.volumes(&[]).await.unwrap().len(), 4);
    let list = "GET /volume/v3/volumes/detail";
    assert_eq!(sim.counts()[list].requests, 3, "the last page is empty");
    sim.cloud().config.name_filter = NameFilter::Ignored;
    assert_eq!(client.volumes(&[("name", "a".to_owned())]).await.unwrap().len(), 4);
    sim.cloud().config.name_filter = NameFilter::NotAllowed;
    sim.forget_counts();
    for _ in 0..2 {
        assert_eq!(client.volumes(&[("name", "a".to_owned())]).await.unwrap().len(), 4);
    }
    assert_eq!(sim.counts()[list].requests, 7, "the refusal comes once");
    let order = BackupOrder { name: "b".to_owned(), volume: ids[0].clone(), ..BackupOrder::default() };
    client.create_backup(&order).await.unwrap();
    assert_eq!(client.backups(&[("name", "other".to_owned())]).await.unwrap().len(), 1);
    assert!(client.snapshots(&[("name", "other".to_owned())]).await.unwrap().is_empty());
    assert!(self::client(&sim, &directory, "csi2").volumes(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_goes_on_where_its_place_is_deleted() {
    let (sim, directory, client) = start(Config::openstack()).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(new_volume(&client, name).await);
    }
    sim.cloud().config.page = 3;
    // The first page ends with c.
    sim.order(Rule::once("GET", "/volumes/detail", Fault::Late(1000)).after(1));
    let other = self::client(&sim, &directory, "csi");
    let listing = tokio::spawn(async move { other.volumes(&[]).await });
    until("the first page", async || sim.orders().is_empty().then_some(())).await;
    for id in [&ids[2], &ids[3]] {
        client.delete_volume(id).await.unwrap();
        until("its end", async || client.volume(id).await.is_err().then_some(())).await;
    }
    let listed: Vec<_> = listing.await.unwrap().unwrap().into_iter().map(|volume| volume.id).collect();
    assert_eq!(listed, [ids[4].as_str(), &ids[1], &ids[0]], "what is left, each once");
}

#[tokio::test]
async fn an_older_cloud_lacks_what_came_later() {
    let old = Config { volume_max: Version(3, 15), compute_max: Version(2, 53), ..Config::openstack() };
    let (sim, _directory, client) = start(old).await;
    let server = sim.add_server("csi", "one");
    let id = client.create_volume(&order("pvc-1")).await.unwrap().id;
    status(&client, &id, Status::Available).await;
    assert_eq!(client.volume(&id).await.unwrap().service_uuid, None, "it came with 3.48");
    client.attach_volume(&server, &id, false).await.unwrap();
    status(&client, &id, Status::InUse).await;
    for error in [
        client.extend_volume(&id, 2, true).await.unwrap_err(),
        client.attachments(&[]).await.unwrap_err(),
        client.groups().await.unwrap_err(),
        client.attach_volume(&server, &id, true).await.unwrap_err(),
    ] {
        assert_eq!(judged(&error), (Kind::Unsupported, Outcome::Refused), "{error}");
    }
}

#[tokio::test]
async fn groups_and_backups_live_and_die() {
    let (sim, _directory, client) = start(Config::openstack()).await;
    let id = new_volume(&client, "pvc-1").await;
    let group_type = client.group_types().await.unwrap().remove(0).id;
    let volume_types = vec!["standard".to_owned()];
    let order = GroupOrder { name: "g".to_owned(), group_type, volume_types, ..GroupOrder::default() };
    let group = client.create_group(&order).await.unwrap();
    let settled = async || {
        until("a group", async || {
            let found = client.group(&group).await.unwrap();
            (found.status == Status::Available).then_some(found)
        })
        .await
    };
    settled().await;
    client.change_group(&group, std::slice::from_ref(&id), &[]).await.unwrap();
    assert_eq!(settled().await.volumes, [id.as_str()]);
    let cut = client.create_group_snapshot(&group, "cut").await.unwrap();
    until("a group snapshot", async || {
        (client.group_snapshot(&cut).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    let members = client.snapshots(&[("volume_id", id.clone())]).await.unwrap();
    assert_eq!(members[0].group_snapshot_id.as_deref(), Some(cut.as_str()));
    client.delete_group_snapshot(&cut).await.unwrap();
    until("its end", async || client.group_snapshot(&cut).await.err()).await;
    client.change_group(&group, &[], std::slice::from_ref(&id)).await.unwrap();
    settled().await;
    client.delete_group(&group).await.unwrap();

    let order = BackupOrder { name: "b".to_owned(), volume: id.clone(), ..BackupOrder::default() };
    let backup = client.create_backup(&order).await.unwrap();
    until("a backup", async || {
        (client.backup(&backup).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    let second = client.create_backup(&BackupOrder { incremental: true, ..order }).await.unwrap();
    until("another one", async || {
        (client.backup(&second).await.unwrap().status == Status::Available).then_some(())
    })
    .await;
    let error = client.delete_backup(&backup).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    client.restore_backup(&backup, &id).await.unwrap();
    status(&client, &id, Status::Restoring).await;
    available(&client, &id).await;
    let copy = VolumeOrder { source: Some(Origin::Backup(backup.clone())), ..self::order("pvc-2") };
    let copy = client.create_volume(&copy).await.unwrap().id;
    available(&client, &copy).await;
    for backup in [&second, &backup] {
        client.delete_backup(backup).await.unwrap();
        until("the end of a backup", async || client.backup(backup).await.err()).await;
    }
    assert_eq!(sim.cloud().leaks(&[&id, &copy]), Vec::<String>::new());
}

#[tokio::test]
async fn the_project_is_told() {
    let (sim, directory, client) = start(Config::openstack()).await;
    new_volume(&client, "pvc-1").await;
    let types = client.volume_types().await.unwrap();
    assert!(types.iter().any(|kind| kind.extra_specs.contains_key("multiattach")), "{types:?}");
    assert_eq!(client.volume_zones().await.unwrap()[0].name, "nova");
    let limits = client.limits().await.unwrap();
    assert_eq!((limits.max_total_volumes, limits.total_volumes_used), (Some(-1), Some(1)));
    let poor = self::client(&sim, &directory, "csi2");
    assert_eq!(poor.limits().await.unwrap().max_total_volume_gigabytes, Some(10));
    let error = poor.create_volume(&VolumeOrder { size: 11, ..order("pvc-2") }).await.unwrap_err();
    assert_eq!(judged(&error), (Kind::ResourceExhausted, Outcome::Refused), "{error}");
    let image = VolumeOrder { source: Some(Origin::Image("blank".to_owned())), ..order("pvc-3") };
    let id = client.create_volume(&image).await.unwrap().id;
    status(&client, &id, Status::Downloading).await;
    available(&client, &id).await;
    assert!(client.volume(&id).await.unwrap().bootable);
}

#[tokio::test]
async fn clouds_with_older_identity_services_are_logged_in_to() {
    for config in [Config::rackspace(), Config::cyclades()] {
        let dialect = config.dialect;
        let (sim, _directory, client) = start(config).await;
        let server = sim.add_server("csi", "one");
        let found = client.server(&server).await.unwrap_or_else(|error| panic!("{dialect:?}: {error}"));
        assert_eq!((found.id.as_str(), found.status.as_str()), (server.as_str(), "ACTIVE"), "{dialect:?}");
        assert!(client.server_volumes(&server).await.unwrap().is_empty(), "{dialect:?}");
        assert!(client.volumes(&[]).await.unwrap().is_empty(), "{dialect:?}");
        assert!(client.volume_types().await.unwrap().len() == 2, "{dialect:?}");
        let error = client.volume("4711").await.unwrap_err();
        assert_eq!(judged(&error), (Kind::NotFound, Outcome::Refused), "{dialect:?}: {error}");
        assert_eq!(sim.counts()["POST /identity/v2.0/tokens"].requests, 1, "{dialect:?}");
    }
}
