use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use super::ask::Bounds;
use super::*;
use crate::backend::cinder::identity::tests::{Secret, cloud};
use crate::backend::cinder::model::Status;
use crate::backend::cinder::moment;
use crate::error::{Error, Kind};
use crate::http::fake::{Fake, Reply, Seen};

const LIMIT: Duration = Duration::from_secs(20);

async fn watcher(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Secret, Client, Watcher) {
    let server = cloud(Duration::from_secs(3600), script).await;
    let secret = Secret::new(&server, "geheim");
    let client = Client::new(secret.session());
    // Logged in, so that all further requests are looks.
    client.endpoint(crate::backend::cinder::identity::Service::Volume).await.unwrap();
    let watcher = Watcher::new(&client);
    (server, secret, client, watcher)
}

fn volume(id: &str, status: &str) -> Value {
    let now = moment::show(SystemTime::now());
    json!({"id": id, "status": status, "size": 1, "updated_at": format!("{now}.000000")})
}

fn one(id: &str, status: &str) -> Reply {
    Reply::json(200, json!({"volume": volume(id, status)}))
}

fn list(volumes: &[Value]) -> Reply {
    Reply::json(200, json!({"volumes": volumes, "volumes_links": []}))
}

fn missing() -> Reply {
    Reply::json(404, json!({"itemNotFound": {"code": 404, "message": "Volume v could not be found."}}))
}

fn looks(server: &Fake) -> usize {
    server.seen().iter().filter(|seen| seen.target.contains("/volumes/")).count()
}

fn available(volume: Option<&Volume>) -> Option<Result<u64>> {
    match volume {
        Some(volume) if volume.status == Status::Available => Some(Ok(volume.size)),
        Some(_) => None,
        None => Some(Err(Error::not_found("it is gone"))),
    }
}

fn gone(volume: Option<&Volume>) -> Option<Result<()>> {
    volume.is_none().then_some(Ok(()))
}

#[tokio::test]
async fn one_who_waits_asks_for_one_and_nobody_asks_for_none() {
    let turn = AtomicUsize::new(0);
    let (server, _secret, _client, watcher) = watcher(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => one("v1", "creating"),
        _ => one("v1", "available"),
    })
    .await;
    let before = server.seen().len();
    let started = Instant::now();
    assert_eq!(watcher.volume("v1", LIMIT, available).await.unwrap(), 1);
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let asked: Vec<_> = server.seen()[before..].iter().map(Seen::line).collect();
    assert_eq!(asked, ["GET /volume/v3/p1/volumes/v1"; 2]);
    // It works again after a rest.
    assert_eq!(watcher.volume("v1", LIMIT, available).await.unwrap(), 1);
}

#[tokio::test]
async fn many_who_wait_share_one_list_that_shows_only_what_changed_lately() {
    let (done, idle) = (AtomicUsize::new(0), SystemTime::now() - Duration::from_secs(400));
    let (server, _secret, _client, watcher) = watcher(move |seen| {
        assert!(seen.target.contains("/volumes/detail?updated_at=gte%3A"), "{}", seen.target);
        let since = seen.target.split("gte%3A").nth(1).unwrap().split('&').next().unwrap();
        let since = moment::parse(&since.replace("%3A", ":")).unwrap();
        assert!(since > idle && since < SystemTime::now() - Duration::from_secs(9), "{since:?}");
        let done = done.fetch_add(1, Ordering::SeqCst) * 10;
        let volumes =
            (0..30).map(|n| volume(&format!("v{n}"), if n < done { "available" } else { "creating" }));
        list(&volumes.collect::<Vec<_>>())
    })
    .await;
    let before = server.seen().len();
    let waits = (0..30).map(|n| {
        let watcher = watcher.clone();
        tokio::spawn(async move { watcher.volume(&format!("v{n}"), LIMIT, available).await.unwrap() })
    });
    for wait in waits.collect::<Vec<_>>() {
        wait.await.unwrap();
    }
    assert!(server.seen().len() - before <= 5, "{}", server.seen().len() - before);
}

#[tokio::test]
async fn what_the_cloud_has_marked_as_being_deleted_is_gone_once_no_list_has_it() {
    let turn = AtomicUsize::new(0);
    let (_server, _secret, _client, watcher) = watcher(move |seen| match seen.line().as_str() {
        "GET /volume/v3/p1/volumes/detail" if turn.fetch_add(1, Ordering::SeqCst) == 0 => {
            list(&[volume("v1", "deleting")])
        }
        // Who waits alone asks for the one.
        "GET /volume/v3/p1/volumes/v1" => missing(),
        other => panic!("{other}"),
    })
    .await;
    let ended = Arc::new(Mutex::new(Vec::new()));
    let waits = ["v1", "v2"].map(|id| {
        let (watcher, ended) = (watcher.clone(), Arc::clone(&ended));
        tokio::spawn(async move {
            watcher.deleted_volume(id, SystemTime::now(), LIMIT, gone).await.unwrap();
            ended.lock().unwrap().push(id);
        })
    });
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(*ended.lock().unwrap(), ["v2", "v1"]);
}

#[tokio::test]
async fn what_was_marked_long_before_the_answer_is_not_taken_for_gone() {
    let marked = SystemTime::now() - Duration::from_secs(30);
    let turn = AtomicUsize::new(0);
    let (_server, _secret, _client, watcher) = watcher(move |seen| {
        assert_eq!(seen.line(), "GET /volume/v3/p1/volumes/detail");
        let since = seen.target.split("gte%3A").nth(1).unwrap().split('&').next().unwrap();
        let shown = moment::parse(&since.replace("%3A", ":")).unwrap() <= marked;
        match turn.fetch_add(1, Ordering::SeqCst) {
            0..2 if shown => list(&[volume("v1", "deleting"), volume("v2", "deleting")]),
            turn => {
                assert!(turn > 1, "it is not on the list, and not gone");
                list(&[])
            }
        }
    })
    .await;
    let wait = |id| watcher.deleted_volume(id, marked, LIMIT, gone);
    let (one, other) = tokio::join!(wait("v1"), wait("v2"));
    one.and(other).unwrap();
}

#[tokio::test]
async fn what_leaves_the_list_is_gone_and_what_was_never_on_it_is_asked_for() {
    let turn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turn);
    let (server, _secret, _client, watcher) = watcher(move |seen| match seen.line().as_str() {
        "GET /volume/v3/p1/volumes/detail" if count.fetch_add(1, Ordering::SeqCst) < 2 => {
            list(&[volume("v1", "deleting"), volume("v2", "deleting")])
        }
        "GET /volume/v3/p1/volumes/detail" => list(&[]),
        "GET /volume/v3/p1/volumes/v3" => missing(),
        other => panic!("{other}"),
    })
    .await;
    let wait = |id: &'static str| {
        let watcher = watcher.clone();
        tokio::spawn(async move { watcher.volume(id, LIMIT, gone).await })
    };
    for wait in [wait("v1"), wait("v2"), wait("v3")] {
        wait.await.unwrap().unwrap();
    }
    assert_eq!(server.count("GET /volume/v3/p1/volumes/v3"), 1);
    assert_eq!(turn.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_list_that_is_not_whole_or_not_filtered_proves_nothing() {
    for filtered in [true, false] {
        let (server, _secret, _client, watcher) = watcher(move |seen| match seen.line().as_str() {
            "GET /volume/v3/p1/volumes/detail" if filtered => {
                let link = json!([{"rel": "next", "href": "http://x"}]);
                Reply::json(200, json!({"volumes": [volume("other", "in-use")], "volumes_links": link}))
            }
            "GET /volume/v3/p1/volumes/detail" => {
                list(&[json!({"id": "other", "status": "in-use", "size": 1, "updated_at": null})])
            }
            line => one(line.rsplit('/').next().unwrap(), "available"),
        })
        .await;
        let (a, b) =
            tokio::join!(watcher.volume("v1", LIMIT, available), watcher.volume("v2", LIMIT, available));
        assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
        let lists = || server.count("GET /volume/v3/p1/volumes/detail");
        assert_eq!(lists(), 1);
        // A cloud that does not filter is not asked for lists again while anybody waits.
        let never = watcher.volume("v1", Duration::from_millis(900), |_| None::<Result<()>>);
        let also = watcher.volume("v2", Duration::from_millis(900), |_| None::<Result<()>>);
        let (error, _) = tokio::join!(never, also);
        assert!(error.unwrap_err().to_string().contains("still available after"));
        assert_eq!(lists() <= 2, !filtered, "{}", lists());
    }
}

#[tokio::test]
async fn a_failed_look_ends_no_wait() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let (server, _secret, _client, watcher) = watcher(move |_| match state.load(Ordering::SeqCst) {
        true => Reply::json(400, json!({"badRequest": {"code": 400, "message": "not now"}})),
        false => one("v1", "available"),
    })
    .await;
    let error = watcher.volume("v1", Duration::from_millis(900), available).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, crate::error::Outcome::Unknown));
    let text = error.to_string();
    assert!(text.contains("still not seen") && text.contains("not now") && text.contains("v1"), "{text}");
    assert!(looks(&server) <= 3, "{}", looks(&server));
    let wait = tokio::spawn({
        let watcher = watcher.clone();
        async move { watcher.volume("v1", LIMIT, available).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    broken.store(false, Ordering::SeqCst);
    wait.await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_is_shown_what_was_before_the_wait_began() {
    let turn = AtomicUsize::new(0);
    let (_server, _secret, _client, watcher) = watcher(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => one("v1", "available").late(Duration::from_millis(400)),
        _ => one("v1", "in-use"),
    })
    .await;
    let first = tokio::spawn({
        let watcher = watcher.clone();
        async move { watcher.volume("v1", LIMIT, available).await }
    });
    tokio::time::sleep(Duration::from_millis(350)).await;
    let seen = Mutex::new(Vec::new());
    let judge = |volume: Option<&Volume>| {
        seen.lock().unwrap().push(volume.unwrap().status.clone());
        Some(Ok(()))
    };
    watcher.volume("v1", LIMIT, judge).await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), [Status::InUse]);
}

#[tokio::test]
async fn all_who_wait_for_a_server_share_its_list() {
    let (server, _secret, _client, watcher) = watcher(|seen| match seen.line().as_str() {
        "GET /compute/v2.1/servers/s1/os-volume_attachments" => {
            Reply::json(200, json!({"volumeAttachments": [{"volumeId": "v1"}]}))
        }
        _ => missing(),
    })
    .await;
    let has = |list: Option<&[ServerAttachment]>| Some(Ok(list.map(<[_]>::len)));
    let waits = (0..20).map(|n| {
        let watcher = watcher.clone();
        let id = if n % 2 == 0 { "s1" } else { "s2" };
        tokio::spawn(async move { watcher.server_volumes(id, LIMIT, has).await.unwrap() })
    });
    let mut found = Vec::new();
    for wait in waits.collect::<Vec<_>>() {
        found.push(wait.await.unwrap());
    }
    assert_eq!(found[..2], [Some(1), None]);
    for id in ["s1", "s2"] {
        assert_eq!(server.count(&format!("GET /compute/v2.1/servers/{id}/os-volume_attachments")), 1);
    }
}

fn server_of(seen: &Seen) -> &str {
    seen.target.split('/').nth(4).unwrap()
}

fn nothing_attached() -> Reply {
    Reply::json(200, json!({"volumeAttachments": []}))
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_others_nothing() {
    let (_server, _secret, client, mut watcher) = watcher(|seen| match server_of(seen) {
        "s0" => nothing_attached().late(Duration::from_secs(60)),
        _ => nothing_attached(),
    })
    .await;
    let bounds = Bounds { one: Duration::from_millis(400), all: Duration::from_millis(800) };
    watcher.servers = Desk::bounded(&client, bounds);
    let has = |list: Option<&[ServerAttachment]>| Some(Ok(list.map(<[_]>::len)));
    let hanging = tokio::spawn({
        let watcher = watcher.clone();
        async move { watcher.server_volumes("s0", Duration::from_secs(6), has).await }
    });
    // In the same look, and in later ones.
    for turn in 1..4 {
        let waits = (1..4).map(|n| {
            let watcher = watcher.clone();
            tokio::spawn(async move { watcher.server_volumes(&format!("s{n}"), LIMIT, has).await })
        });
        for wait in waits.collect::<Vec<_>>() {
            assert_eq!(wait.await.unwrap().unwrap(), Some(0), "{turn}");
        }
    }
    assert!(!hanging.is_finished(), "the others did not wait for it");
    let error = hanging.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, crate::error::Outcome::Unknown));
    let text = error.to_string();
    assert!(text.contains("still not seen") && text.contains("did not answer within"), "{text}");
}

#[tokio::test]
async fn of_more_than_a_look_has_time_for_each_has_its_turn() {
    let (server, _secret, client, mut watcher) =
        watcher(|_| nothing_attached().late(Duration::from_millis(60))).await;
    // New questions for 100 ms, so that a look has time for 16 or so.
    let bounds = Bounds { one: Duration::from_secs(5), all: Duration::from_millis(5100) };
    watcher.servers = Desk::bounded(&client, bounds);
    let before = server.seen().len();
    let waits: Vec<_> = (0..60)
        .map(|n| {
            let watcher = watcher.clone();
            let never = |_: Option<&[ServerAttachment]>| None::<Result<()>>;
            tokio::spawn(async move { watcher.server_volumes(&format!("s{n}"), LIMIT, never).await })
        })
        .collect();
    let asked = || server.seen().len() - before;
    let patience = Instant::now();
    while asked() < 180 {
        assert!(patience.elapsed() < LIMIT, "{} questions", asked());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waits.iter().for_each(tokio::task::JoinHandle::abort);
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let lists = server.seen().into_iter().filter(|seen| seen.line().ends_with("/os-volume_attachments"));
    for seen in lists {
        *counts.entry(server_of(&seen).to_owned()).or_default() += 1;
    }
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(counts.len() == 60 && most - least <= 2, "{counts:?}");
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let (server, _secret, _client, watcher) = watcher(|_| one("v1", "creating")).await;
    let wait = watcher.volume("v1", LIMIT, available);
    assert!(tokio::time::timeout(Duration::from_millis(300), wait).await.is_err());
    let before = looks(&server);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(looks(&server), before);
    assert!(format!("{watcher:?}").contains("waiters: 0"), "{watcher:?}");
}
