use super::*;

const EVENTS: &str = "/api/v1/namespaces/shop/events";

/// A volume whose claim is `shop/data`, attached to `w`.
fn claimed(mock: &Mock) {
    let (path, object) = attached("here/pvc-1", "w", "w", 7);
    mock.put(&path, object);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data", "uid": "c-1",
        "resourceVersion": "17",
    });
    let volume = json!({"metadata": {"name": "pvc-1"}, "spec": {"claimRef": claim}});
    mock.put("/api/v1/persistentvolumes/pvc-1", volume);
}

fn held() -> Notice {
    Notice::Held("it is held open".into())
}

/// The writes among the requests since the last time.
fn writes(mock: &Mock) -> Vec<(String, Value)> {
    mock.requests().into_iter().filter(|(line, _)| !line.starts_with("GET")).collect()
}

async fn a_minute_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_event_tells_the_claim_s_users_in_words_that_kubectl_shows() {
    let mock = Mock::start().await;
    claimed(&mock);
    let kubernetes = mock.kubernetes();
    kubernetes.tell(&volume(), &node("w"), Notice::Fenced(FencingProof::OutOfService)).await;
    let (line, event) = writes(&mock).remove(0);
    assert!(line.starts_with(&format!("POST {EVENTS}")), "{line}");
    let name = event["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("data.") && event["metadata"]["namespace"] == "shop", "{name}");
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data", "uid": "c-1",
    });
    assert_eq!(event["involvedObject"], claim);
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("VolumeFenced")));
    assert_eq!(
        event["message"],
        "the volume was taken from server w by force, because its Node is tainted as out of service; what was not \
         written to it yet is lost"
    );
    assert_eq!((&event["count"], &event["source"]["component"]), (&json!(1), &json!(DRIVER)));
    assert!(event["firstTimestamp"].is_string());
    assert_eq!(event["firstTimestamp"], event["lastTimestamp"]);
}

#[tokio::test]
async fn the_same_event_counts_up_and_is_written_once_a_minute() {
    let mock = Mock::start().await;
    claimed(&mock);
    let (path, object) = attached("here/pvc-1", "x", "x", 8);
    mock.put(&path, object);
    let kubernetes = mock.kubernetes();
    let tell = async |server: &str| kubernetes.tell(&volume(), &node(server), held()).await;
    for _ in 0..5 {
        tell("w").await;
    }
    tell("x").await;
    let first = writes(&mock);
    let counts: Vec<_> = first.iter().map(|(_, event)| &event["count"]).collect();
    assert_eq!(counts, [1, 1], "one for each server");
    assert_eq!(first[0].1["message"], "the volume cannot be taken from server w: it is held open");
    let path = format!("{EVENTS}/{}", first[0].1["metadata"]["name"].as_str().unwrap());
    a_minute_passes().await;
    tell("w").await;
    let second = writes(&mock);
    assert!(second.len() == 1 && second[0].0.starts_with(&format!("PATCH {path}")), "{second:#?}");
    let event = mock.get(&path).unwrap();
    assert_eq!((&event["count"], &event["reason"]), (&json!(6), &json!("DetachBlocked")));
    // The API server forgets events after an hour.
    mock.remove(&path);
    a_minute_passes().await;
    tell("w").await;
    let third = writes(&mock);
    assert!(third[0].0.starts_with("PATCH") && third[1].0.starts_with("POST"), "{third:#?}");
    assert_eq!(third[1].1["count"], 7);
}

#[tokio::test]
async fn an_event_that_cannot_be_written_is_tried_again_no_sooner_and_harms_nothing() {
    let mock = Mock::start().await;
    claimed(&mock);
    let kubernetes = mock.kubernetes();
    let tell = async || kubernetes.tell(&volume(), &node("w"), held()).await;
    mock.behave(Mood::Stubborn(403, json!({"code": 403, "reason": "Forbidden", "message": "no"})));
    tell().await;
    assert_eq!(mock.requests().len(), 1);
    mock.behave(Mood::Well);
    tell().await;
    assert_eq!(mock.requests(), []);
    a_minute_passes().await;
    mock.behave(Mood::Silent);
    let start = Instant::now();
    tell().await;
    assert!(start.elapsed() < Duration::from_secs(10), "a detach does not wait for ever");
    mock.behave(Mood::Well);
    a_minute_passes().await;
    mock.requests();
    tell().await;
    assert_eq!(writes(&mock)[0].1["count"], 4);
}

#[tokio::test]
async fn a_volume_without_a_claim_has_nobody_to_tell() {
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    let tell = async || {
        a_minute_passes().await;
        kubernetes.tell(&volume(), &node("w"), held()).await;
        let (reads, writes): (Vec<_>, Vec<_>) =
            mock.requests().into_iter().partition(|(line, _)| line.starts_with("GET"));
        (reads.len(), writes.len())
    };
    assert_eq!(tell().await, (2, 0), "by both forms of its handle");
    let (path, object) = attached("here/pvc-1", "w", "w", 7);
    mock.put(&path, object);
    assert_eq!(tell().await, (2, 0), "no PersistentVolume");
    mock.put("/api/v1/persistentvolumes/pvc-1", json!({"metadata": {"name": "pvc-1"}, "spec": {}}));
    assert_eq!(tell().await, (2, 0), "not claimed");
    claimed(&mock);
    assert_eq!(tell().await, (2, 1));
}

#[tokio::test]
async fn what_is_wrong_with_a_back_end_is_told_on_the_own_pod_once_a_minute() {
    let mock = Mock::start().await;
    let east = "east".parse().unwrap();
    let warning = |text: &str| Warning { reason: "CredentialsReloadFailed", text: text.to_owned() };
    mock.kubernetes().warn(&east, &warning("they are bad")).await;
    assert_eq!(mock.requests(), [], "it is not known what pod this is");
    let pod = Pod { namespace: "storage".into(), name: "controller-1".into(), uid: "u-1".into() };
    let kubernetes = mock.kubernetes_in(pod);
    for _ in 0..5 {
        kubernetes.warn(&east, &warning("they are bad")).await;
    }
    kubernetes.warn(&"west".parse().unwrap(), &warning("so are these")).await;
    let first = writes(&mock);
    assert_eq!(first.len(), 2, "one for each back end: {first:#?}");
    let (line, event) = &first[0];
    assert!(line.starts_with("POST /api/v1/namespaces/storage/events"), "{line}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "storage", "name": "controller-1", "uid": "u-1",
    });
    assert_eq!(event["involvedObject"], pod);
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("CredentialsReloadFailed")));
    assert_eq!((&event["message"], &event["count"]), (&json!("back end east: they are bad"), &json!(1)));
    a_minute_passes().await;
    kubernetes.warn(&east, &warning("they are worse")).await;
    let second = writes(&mock);
    assert!(second.len() == 1 && second[0].0.starts_with("PATCH"), "{second:#?}");
    assert_eq!(
        (&second[0].1["message"], &second[0].1["count"]),
        (&json!("back end east: they are worse"), &json!(2))
    );
}
