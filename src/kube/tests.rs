mod events;
mod mock;
mod records;
mod transport;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::mock::{Mock, Mood};
use super::attachment;
use super::*;
use crate::backend::FencingProof;
use crate::error::{Kind, Outcome};

const DRIVER: &str = "csi.example.org";
const TAINT: &str = "node.kubernetes.io/out-of-service";

fn volume() -> VolumeId {
    "here/pvc-1".parse().unwrap()
}

fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

/// Minutes of one day.
fn at(minute: u32) -> String {
    format!("2026-01-01T10:{minute:02}:00Z")
}

fn kube_node(name: &str, uid: &str, made: u32, taint: Option<&str>, ready: &str) -> (String, Value) {
    let taints: Vec<_> = taint.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": uid, "creationTimestamp": at(made)},
        "spec": {"taints": taints},
        "status": {"conditions": [
            {"type": "DiskPressure", "status": "True"},
            {"type": "Ready", "status": ready},
        ]},
    });
    (format!("/api/v1/nodes/{name}"), object)
}

fn csi_node(name: &str, owner: &str, drivers: &[(&str, &str)]) -> (String, Value) {
    let drivers: Vec<_> = drivers
        .iter()
        .map(|(driver, id)| json!({"name": driver, "nodeID": id, "topologyKeys": []}))
        .collect();
    let object = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
        "metadata": {
            "name": name,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": owner}],
        },
        "spec": {"drivers": drivers},
    });
    (format!("/apis/storage.k8s.io/v1/csinodes/{name}"), object)
}

fn attached(handle: &str, node: &str, id: &str, made: u32) -> (String, Value) {
    let name = attachment::name(handle, DRIVER, node);
    let object = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
        "metadata": {
            "name": name,
            "creationTimestamp": at(made),
            "annotations": {"csi.alpha.kubernetes.io/node-id": id},
        },
        "spec": {"attacher": DRIVER, "nodeName": node, "source": {"persistentVolumeName": "pvc-1"}},
        "status": {"attached": true},
    });
    (format!("/apis/storage.k8s.io/v1/volumeattachments/{name}"), object)
}

/// What it is, the node id asked about, what the cluster has, and a proof or a part of the reason against one.
type Row = (&'static str, &'static str, Vec<(String, Value)>, Result<FencingProof, &'static str>);

#[tokio::test]
async fn every_row_of_the_table_gives_its_answer() {
    use FencingProof::{NodeDeleted, OutOfService};
    let tainted = |made| kube_node("w", "u2", made, Some(TAINT), "Unknown");
    let ours = |id| csi_node("w", "u2", &[("other.example.org", "w;nova=9"), (DRIVER, id)]);
    let asked = "w;nova=1";
    let mut mute = tainted(5);
    mute.1["status"] = json!({"conditions": [{"type": "DiskPressure", "status": "False"}]});
    let rows: Vec<Row> = vec![
        (
            "no taint",
            asked,
            vec![
                kube_node("w", "u2", 5, None, "Unknown"),
                ours(asked),
                attached("here/pvc-1", "w", asked, 7),
            ],
            Err("Node w is there without the taint node.kubernetes.io/out-of-service"),
        ),
        (
            "another taint",
            asked,
            vec![kube_node("w", "u2", 5, Some("node.kubernetes.io/unreachable"), "Unknown"), ours(asked)],
            Err("without the taint"),
        ),
        (
            "tainted, but its kubelet is alive",
            asked,
            vec![kube_node("w", "u2", 5, Some(TAINT), "True"), ours(asked)],
            Err("its kubelet still reports, Ready=True: switch the server off"),
        ),
        ("the registered server", asked, vec![tainted(5), ours(asked)], Ok(OutOfService)),
        (
            "tainted, but its kubelet speaks: it stops, or its container runtime is down",
            asked,
            vec![kube_node("w", "u2", 5, Some(TAINT), "False"), ours(asked)],
            Err("its kubelet still reports, Ready=False: switch the server off"),
        ),
        ("its kubelet never spoke", asked, vec![mute, ours(asked)], Ok(OutOfService)),
        ("registered with more", asked, vec![tainted(5), ours("w;nova=1;storpool=7")], Ok(OutOfService)),
        ("a server without identities", "w", vec![tainted(5), ours(asked)], Ok(OutOfService)),
        (
            "another server is registered",
            asked,
            vec![tainted(5), ours("w;nova=2"), attached("here/pvc-1", "w", asked, 7)],
            Err("of Node w is about another server: it is w;nova=2 now"),
        ),
        (
            "none is registered, attached since",
            asked,
            vec![tainted(5), attached("here/pvc-1", "w", asked, 7)],
            Ok(OutOfService),
        ),
        (
            "the driver is not registered, attached since",
            asked,
            vec![tainted(5), csi_node("w", "u2", &[]), attached("here/pvc-1", "w", asked, 7)],
            Ok(OutOfService),
        ),
        (
            "registered by less, attached since",
            asked,
            vec![tainted(5), ours("w"), attached("here/pvc-1", "w", asked, 7)],
            Ok(OutOfService),
        ),
        (
            "the registration is of the Node before, attached since",
            asked,
            vec![
                tainted(5),
                csi_node("w", "u1", &[(DRIVER, "w;nova=2")]),
                attached("here/pvc-1", "w", asked, 7),
            ],
            Ok(OutOfService),
        ),
        (
            "none is registered, attached to the Node before",
            asked,
            vec![tainted(9), attached("here/pvc-1", "w", asked, 7)],
            Err("nothing says that it is this server: if the server is gone, delete the Node"),
        ),
        (
            "the registration is of the Node before, attached to it",
            asked,
            vec![tainted(9), csi_node("w", "u1", &[(DRIVER, asked)]), attached("here/pvc-1", "w", asked, 7)],
            Err("nothing says that it is this server"),
        ),
        (
            "none is registered, attached to another server",
            asked,
            vec![tainted(5), attached("here/pvc-1", "w", "w;nova=2", 7)],
            Err("nothing says that it is this server"),
        ),
        ("nothing but a tainted Node", asked, vec![tainted(5)], Err("nothing says that it is this server")),
        (
            "no Node, by the record",
            asked,
            vec![attached("here/pvc-1", "w", asked, 7), csi_node("x", "u3", &[(DRIVER, "x;nova=2")])],
            Ok(NodeDeleted),
        ),
        (
            "no Node, its CSINode not yet collected",
            asked,
            vec![attached("here/pvc-1", "w", asked, 7), csi_node("w", "u1", &[(DRIVER, asked)])],
            Ok(NodeDeleted),
        ),
        ("no Node, a foreign handle", asked, vec![attached("pvc-1", "w", asked, 7)], Ok(NodeDeleted)),
        ("no Node, without identities", "w", vec![attached("here/pvc-1", "w", "w", 7)], Ok(NodeDeleted)),
        (
            "no Node, but the machine is another one now",
            asked,
            vec![
                attached("here/pvc-1", "w", asked, 7),
                csi_node("w", "u1", &[(DRIVER, asked)]),
                csi_node("x", "u3", &[(DRIVER, "x;nova=1")]),
            ],
            Err("the server is in the cluster as Node x"),
        ),
        (
            "no Node, by the record another server",
            asked,
            vec![attached("here/pvc-1", "w", "w;nova=2", 7)],
            Err("there is no Node w, but no VolumeAttachment says"),
        ),
        (
            "no Node, another volume's record",
            asked,
            vec![attached("here/pvc-2", "w", asked, 7)],
            Err("there is no Node w, but no VolumeAttachment says"),
        ),
        ("nothing at all", asked, vec![], Err("\"node.name\" must be the name of the Node")),
        ("a name that no Node can have", "w?x", vec![tainted(5)], Err("there is no Node w?x")),
    ];
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    for (row, asked, objects, wanted) in rows {
        mock.clear();
        for (path, object) in objects {
            mock.put(&path, object);
        }
        let answer = kubernetes.fencing(&volume(), &node(asked)).await.unwrap();
        match (&answer, &wanted) {
            (Fencing::Proven(proof), Ok(wanted)) if proof == wanted => {}
            (Fencing::Unproven(reason), Err(wanted)) if reason.contains(wanted) => {}
            _ => panic!("{row}: {answer:?}, wanted {wanted:?}"),
        }
    }
}

#[tokio::test]
async fn a_machine_under_another_name_is_found_on_every_page() {
    let mock = Mock::start().await;
    let (path, object) = attached("here/pvc-1", "w", "w;nova=1", 7);
    mock.put(&path, object);
    for number in 0..450 {
        let (path, object) =
            csi_node(&format!("n{number:03}"), "u", &[(DRIVER, &format!("n{number:03};nova=0{number}"))]);
        mock.put(&path, object);
    }
    let kubernetes = mock.kubernetes();
    let answer = kubernetes.fencing(&volume(), &node("w;nova=1")).await.unwrap();
    assert_eq!(answer, Fencing::Proven(FencingProof::NodeDeleted));
    assert_eq!(mock.requests().iter().filter(|(line, _)| line.contains("/csinodes?")).count(), 3);
    let (path, object) = csi_node("z", "u", &[(DRIVER, "z;nova=1")]);
    mock.put(&path, object);
    let answer = kubernetes.fencing(&volume(), &node("w;nova=1")).await.unwrap();
    assert_eq!(answer, Fencing::Unproven("the server is in the cluster as Node z".into()));
}

#[tokio::test]
async fn a_server_that_is_alive_costs_one_request() {
    let mock = Mock::start().await;
    let (path, object) = kube_node("w", "u2", 5, None, "True");
    mock.put(&path, object);
    mock.kubernetes().fencing(&volume(), &node("w")).await.unwrap();
    let asked: Vec<_> = mock.requests().into_iter().map(|(line, _)| line).collect();
    assert_eq!(asked, ["GET /api/v1/nodes/w"], "without a resourceVersion: the newest, not a cache's");
}

/// Nothing but the API server's own word that there is no such Node counts as a deletion.
#[tokio::test]
async fn what_the_api_server_does_not_say_proves_nothing() {
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    let (path, object) = attached("here/pvc-1", "w", "w", 7);
    mock.put(&path, object);
    let status = |code: u16, reason: &str| {
        let body = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "because"});
        Mood::Stubborn(code, body)
    };
    for (mood, kind, text) in [
        (Mood::Proxy, Kind::Unavailable, "the API server answered 404: 404 page not found"),
        (status(404, "NotFound"), Kind::Unavailable, "the API server answered 404: because"),
        (status(401, "Unauthorized"), Kind::Unauthenticated, "does not know this service account (401)"),
        (status(403, "Forbidden"), Kind::PermissionDenied, "does not allow it (403): because"),
        (status(500, "InternalError"), Kind::Unavailable, "the API server answered 500: because"),
        (
            Mood::Stubborn(200, json!({"metadata": 7})),
            Kind::Internal,
            "the API server's answer makes no sense",
        ),
    ] {
        mock.behave(mood.clone());
        let error = kubernetes.fencing(&volume(), &node("w")).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Unknown), "{mood:?}");
        assert!(error.to_string().contains(text), "{mood:?}: {error}");
    }
    mock.behave(Mood::Silent);
    let impatient = mock.asked_within(Duration::from_millis(300));
    let error = impatient.fencing(&volume(), &node("w")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::Unknown));
    assert_eq!(error.to_string(), "the API server did not answer within 0.3 s");
    mock.behave(Mood::Well);
    let answer = kubernetes.fencing(&volume(), &node("w")).await.unwrap();
    assert_eq!(answer, Fencing::Proven(FencingProof::NodeDeleted), "it had only to answer");
}

#[tokio::test]
async fn an_api_server_that_is_gone_is_told_at_once() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_directory, access) = mock::access(&format!("http://{address}"));
    let api = ApiServer::open(&access).unwrap();
    let start = Instant::now();
    let error = Kubernetes::new(api, DRIVER, None).fencing(&volume(), &node("w")).await.unwrap_err();
    assert_eq!(error.to_string(), "the API server cannot be reached");
    assert!(error.chain().contains("Connection refused"), "{}", error.chain());
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_node_id_stands_unless_another_server_is_registered() {
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    let check = async |id: &str| kubernetes.check_server(&node(id)).await;
    assert!(check("w;nova=1").await.is_ok(), "no CSINode");
    for (registered, good) in [
        (vec![], true),
        (vec![("other.example.org", "w;nova=2")], true),
        (vec![(DRIVER, "w;nova=1")], true),
        (vec![(DRIVER, "w;nova=1;storpool=7")], true),
        (vec![(DRIVER, "w")], true),
        (vec![(DRIVER, "w;nova=2")], false),
        (vec![(DRIVER, "v;nova=1")], false),
    ] {
        let (path, object) = csi_node("w", "u", &registered);
        mock.put(&path, object);
        let checked = check("w;nova=1").await;
        assert_eq!(checked.is_ok(), good, "{registered:?}");
        if let Err(error) = checked {
            assert_eq!((error.kind(), error.outcome()), (Kind::NotFound, Outcome::Refused));
            let wanted = format!("Node w is another server now, {} (node=w;nova=1)", registered[0].1);
            assert_eq!(error.to_string(), wanted);
        }
    }
    for mood in [Mood::Silent, Mood::Proxy, Mood::Stubborn(403, json!({"code": 403, "reason": "Forbidden"}))]
    {
        mock.behave(mood.clone());
        assert!(check("w;nova=1").await.is_ok(), "{mood:?}: no information is no objection");
    }
}

#[tokio::test]
async fn a_missing_or_wrong_driver_object_is_told_with_field_and_values() {
    let mock = Mock::start().await;
    let kubernetes = mock.kubernetes();
    let fault = async || kubernetes.driver_fault().await.unwrap();
    let missing = fault().await.unwrap();
    assert!(missing.starts_with("there is no CSIDriver object csi.example.org: "), "{missing}");
    let path = "/apis/storage.k8s.io/v1/csidrivers/csi.example.org";
    let object = |spec: Value| json!({"metadata": {"name": DRIVER}, "spec": spec});
    mock.put(path, object(json!({"attachRequired": false})));
    let wrong = fault().await.unwrap();
    assert!(wrong.contains("spec.attachRequired: expected true, found false"), "{wrong}");
    for good in [json!({"attachRequired": true}), json!({})] {
        mock.put(path, object(good));
        assert_eq!(fault().await, None);
    }
    mock.behave(Mood::Stubborn(403, json!({"code": 403, "reason": "Forbidden"})));
    assert_eq!(kubernetes.driver_fault().await.unwrap_err().kind(), Kind::PermissionDenied);
}
