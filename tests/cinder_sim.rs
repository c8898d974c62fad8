//! The client of Cinder and Nova against simulated clouds: what it asks for is served, and what goes wrong there is told
//! apart.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloudsim::{Config, Fate, Fault, Rule, Sim};
use tempfile::TempDir;

use fairlead::backend::cinder::client::{Client, SnapshotOrder, Source as Origin, VolumeOrder};
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::identity::Session;
use fairlead::backend::cinder::model::Status;
use fairlead::error::{Kind, Outcome};

/// A cloud, and a client of its project csi.
async fn start(config: Config) -> (Sim, TempDir, Client) {
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

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn available(client: &Client, id: &str) {
    until("an available volume", async || {
        let volume = client.volume(id).await.unwrap();
        assert!(!volume.status.is_error(), "{volume:?}");
        (volume.status == Status::Available && volume.service_uuid.is_some()).then_some(())
    })
    .await;
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

#[tokio::test]
async fn what_goes_wrong_is_told_apart() {
    let (sim, directory, client) = start(Config::openstack()).await;
    let poor = self::client(&sim, &directory, "csi2");
    let order = VolumeOrder { name: "pvc-1".to_owned(), size: 11, ..VolumeOrder::default() };
    let error = poor.create_volume(&order).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::ResourceExhausted, Outcome::Refused), "{error}");

    sim.order(Rule::once("POST", "/volumes", Fault::LoseReply));
    let error = client.create_volume(&order).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(client.volumes(&[("name", "pvc-1".to_owned())]).await.unwrap().len(), 1);

    let failed =
        Fate { fails: Some("Could not find any available weighted backend.".to_owned()), ..Fate::default() };
    sim.order(Rule::fate("POST", "/volumes", failed));
    let id = client.create_volume(&order).await.unwrap().id;
    until("a broken volume", async || {
        (client.volume(&id).await.unwrap().status == Status::Error).then_some(())
    })
    .await;
    let messages = client.messages(&id).await.unwrap();
    assert!(messages[0].user_message.contains("weighted backend"), "{messages:?}");
    assert_eq!(sim.cloud().twins()["pvc-1"].len(), 2);
}
