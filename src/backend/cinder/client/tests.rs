use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::backend::cinder::identity::tests::{Secret, cloud};
use crate::error::Outcome;
use crate::http::fake::{Fake, Reply, Seen};

const HOUR: Duration = Duration::from_secs(3600);

/// A client of a cloud whose services answer by this.
async fn client(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Secret, Client) {
    let server = cloud(HOUR, script).await;
    let secret = Secret::new(&server, "geheim");
    let client = Client::new(secret.session());
    (server, secret, client)
}

fn volume(id: &str) -> Value {
    json!({"id": id, "status": "available", "size": 1, "name": "pvc-1"})
}

#[tokio::test]
async fn a_volume_is_made_read_and_deleted() {
    let (server, _secret, client) = client(|seen| match seen.line().as_str() {
        "POST /volume/v3/p1/volumes" => {
            Reply::json(202, json!({"volume": {"id": "v1", "status": "creating", "size": 2}}))
        }
        "GET /volume/v3/p1/volumes/v1" => Reply::json(200, json!({"volume": volume("v1")})),
        "DELETE /volume/v3/p1/volumes/v1" => Reply::text(202, "text/plain", ""),
        _ => Reply::json(202, ""),
    })
    .await;
    let order = VolumeOrder {
        name: "pvc-1".to_owned(),
        size: 2,
        source: Some(Source::Snapshot("s1".to_owned())),
        volume_type: Some("fast".to_owned()),
        availability_zone: Some("az1".to_owned()),
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        hints: [("different_host".to_owned(), json!(["v0"]))].into(),
        ..VolumeOrder::default()
    };
    assert_eq!(client.create_volume(&order).await.unwrap().id, "v1");
    assert_eq!(client.volume("v1").await.unwrap().name.as_deref(), Some("pvc-1"));
    client.extend_volume("v1", 3, true).await.unwrap();
    client.attach_volume("srv", "v1", true).await.unwrap();
    client.delete_volume("v1").await.unwrap();
    let seen = server.seen();
    let of = |line: &str| {
        seen.iter().find(|seen| seen.line() == line).unwrap_or_else(|| panic!("{line}: {seen:?}"))
    };
    let create = of("POST /volume/v3/p1/volumes");
    let expected = json!({"volume": {"name": "pvc-1", "size": 2, "snapshot_id": "s1", "volume_type": "fast",
        "availability_zone": "az1", "metadata": {"k": "v"}}, "OS-SCH-HNT:scheduler_hints": {"different_host": ["v0"]}});
    assert_eq!(create.json(), expected);
    assert_eq!((create.header("x-auth-token"), create.header("openstack-api-version")), (Some("t1"), None));
    let version = |line: &str| of(line).header("openstack-api-version");
    assert_eq!(version("GET /volume/v3/p1/volumes/v1"), Some("volume 3.63"));
    assert_eq!(version("POST /volume/v3/p1/volumes/v1/action"), Some("volume 3.42"));
    let attach = of("POST /compute/v2.1/servers/srv/os-volume_attachments");
    assert_eq!(attach.header("openstack-api-version"), Some("compute 2.60"));
    assert_eq!(attach.json(), json!({"volumeAttachment": {"volumeId": "v1"}}));
}

#[tokio::test]
async fn an_expired_token_costs_each_call_one_repetition_and_all_of_them_one_log_in() {
    let expired = AtomicBool::new(true);
    let (server, _secret, client) = client(move |seen| match seen.header("x-auth-token") {
        Some("t1") if expired.load(Ordering::SeqCst) => {
            Reply::json(401, json!({"error": {"code": 401, "message": "expired"}}))
        }
        _ => Reply::json(200, json!({"volume": volume("v1")})),
    })
    .await;
    client.endpoint(Service::Volume).await.unwrap();
    // A token that was got just now is not replaced.
    let error = client.volume("v1").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unauthenticated, Outcome::Unknown));
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let before = server.seen().len();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.volume("v1").await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(server.count("POST /v3/auth/tokens"), 2);
    assert!(server.seen().len() - before <= 101, "{}", server.seen().len() - before);
}

#[tokio::test]
async fn refusals_become_errors_that_say_what_is_left_behind() {
    use Kind::*;
    use Outcome::*;
    let fault = |name: &str, code: u16, text: &str| json!({name: {"code": code, "message": text}});
    let quota = "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.";
    let cases = [
        (400, fault("badRequest", 400, "Availability zone 'x' is invalid."), InvalidArgument, Refused),
        (
            400,
            fault("badRequest", 400, "Invalid volume: Volume status must be available"),
            FailedPrecondition,
            Refused,
        ),
        (403, fault("forbidden", 403, "Policy doesn't allow it"), PermissionDenied, Refused),
        (
            403,
            fault("forbidden", 403, "The maximum allowed number of disk devices (26) to attach"),
            ResourceExhausted,
            Refused,
        ),
        (404, fault("itemNotFound", 404, "Volume v1 could not be found."), NotFound, Refused),
        (406, fault("computeFault", 406, "Version 3.42 is not supported by the API."), Unsupported, Refused),
        (
            409,
            fault("conflictingRequest", 409, "Cannot 'attach_volume' instance S while it is in task_state x"),
            Busy,
            Unknown,
        ),
        (413, fault("overLimit", 413, quota), ResourceExhausted, Refused),
        (500, fault("computeFault", 500, "The server has either erred"), Unavailable, Unknown),
        (504, fault("gatewayTimeout", 504, "late"), Unavailable, Unknown),
    ];
    for (status, body, kind, outcome) in cases {
        let message =
            body.as_object().unwrap().values().next().unwrap()["message"].as_str().unwrap().to_owned();
        let (_server, _secret, client) =
            client(move |_| Reply::json(status, &body).header("x-openstack-request-id", "req-1")).await;
        let error = client.create_volume(&VolumeOrder::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("create volume: ") && text.contains(&message) && text.contains("request=req-1"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_a_proxy_says_is_not_believed() {
    for status in [400, 403, 404, 409, 502] {
        let (server, _secret, client) =
            client(move |_| Reply::text(status, "text/html", "<html><h1>nginx</h1></html>")).await;
        let error = client.delete_volume("v1").await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
        assert!(error.to_string().contains("nginx"), "{error}");
        assert!(server.count("DELETE /volume/v3/p1/volumes/v1") <= 3);
    }
}

#[tokio::test]
async fn lists_are_read_page_by_page_also_past_a_full_last_page() {
    let (server, _secret, client) = client(|seen| {
        let page = |ids: &[&str], more: bool| {
            let links = if more {
                json!([{"rel": "next", "href": "http://unreachable.example/x"}])
            } else {
                json!([])
            };
            let volumes: Vec<_> = ids.iter().map(|id| volume(id)).collect();
            Reply::json(200, json!({"volumes": volumes, "volumes_links": links}))
        };
        match () {
            () if seen.target.contains("marker=b") => page(&["c", "d"], true),
            () if seen.target.contains("marker=d") => page(&[], false),
            () => page(&["a", "b"], true),
        }
    })
    .await;
    let filters = [("name", "pvc-1 & co".to_owned()), ("metadata", "{'k':'v'}".to_owned())];
    // On a task of its own, as a back end does it: its future can go to another thread.
    let other = client.clone();
    let all = tokio::spawn(async move { other.volumes(&filters).await }).await.unwrap().unwrap();
    let ids: Vec<_> = all.iter().map(|volume| volume.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let lists: Vec<_> =
        server.seen().into_iter().filter(|seen| seen.line().ends_with("/volumes/detail")).collect();
    assert_eq!(lists.len(), 3);
    assert!(
        lists[0].target.contains("name=pvc-1+%26+co&metadata=%7B%27k%27%3A%27v%27%7D&limit=1000"),
        "{}",
        lists[0].target
    );
    let page = client.volume_page(&[], Some(2), Some("b")).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("d"));
}

#[tokio::test]
async fn a_list_that_goes_in_a_circle_ends() {
    let (_server, _secret, client) = client(|_| {
        Reply::json(
            200,
            json!({"snapshots": [{"id": "a", "status": "available", "size": 1, "volume_id": "v"}],
            "snapshots_links": [{"rel": "next", "href": "x"}]}),
        )
    })
    .await;
    assert_eq!(client.snapshots(&[]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_id_that_is_none_never_reaches_the_cloud() {
    let (server, _secret, client) = client(|_| Reply::json(202, "")).await;
    for bad in ["", ".", "..", "a/b", "a?b", "x y", &"a".repeat(65)] {
        let error = client.delete_volume(bad).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{bad:?}");
        client.detach_volume("srv", bad).await.unwrap_err();
    }
    assert!(server.seen().iter().all(|seen| seen.method != "DELETE"));
}

#[tokio::test]
async fn a_microversion_that_the_cloud_lacks_is_told_before_the_call() {
    let server = Fake::start(|seen| match seen.line().as_str() {
        "POST /v3/auth/tokens" => {
            let body =
                crate::backend::cinder::identity::tests::token_body(seen.header("host").unwrap(), HOUR, "p1");
            Reply::json(201, body).header("x-subject-token", "t1")
        }
        "GET /volume/v3/" => Reply::json(200, json!({"versions": [{"id": "v3.0", "version": "3.15"}]})),
        _ => Reply::json(200, json!({"volume": volume("v1")})),
    })
    .await;
    let secret = Secret::new(&server, "geheim");
    let client = Client::new(secret.session());
    client.volume("v1").await.unwrap();
    assert_eq!(server.seen().last().unwrap().header("openstack-api-version"), Some("volume 3.15"));
    let error = client.extend_volume("v1", 2, true).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Refused));
    assert!(error.to_string().contains("microversion 3.42, and the cloud has 3.15"), "{error}");
}

#[tokio::test]
async fn a_lost_create_is_never_sent_again_and_answers_without_the_object_are_faults() {
    let turn = AtomicUsize::new(0);
    let (server, _secret, client) = client(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::hang_up(),
        1 => Reply::json(202, json!({"volume": {"id": null}})),
        _ => Reply::json(202, json!({"server": {}})),
    })
    .await;
    let create = async || client.create_volume(&VolumeOrder::default()).await.unwrap_err();
    for expected in ["broke before", "another form than expected", "has no \"volume\""] {
        let error = create().await;
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(server.count("POST /volume/v3/p1/volumes"), 3);
}
