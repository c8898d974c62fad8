//! What an operator is told of the cluster.

use std::collections::BTreeSet;

use super::*;
use crate::operator::{Hold, Records as _};

fn persistent_volume(name: &str, driver: &str, handle: &str) -> (String, Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "csi": {"driver": driver, "volumeHandle": handle},
            "claimRef": {"namespace": "shop", "name": "data"},
        },
        "status": {"phase": "Bound"},
    });
    (format!("/api/v1/persistentvolumes/{name}"), object)
}

#[tokio::test]
async fn persistent_volumes_and_attachments_are_told_of_all_drivers() {
    let mock = Mock::start().await;
    let local = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-local"},
        "spec": {"local": {"path": "/x"}},
    });
    mock.put("/api/v1/persistentvolumes/pv-local", local);
    for (path, object) in
        [persistent_volume("pv-1", DRIVER, "here/one"), persistent_volume("pv-2", "other.example.org", "two")]
    {
        mock.put(&path, object);
    }
    let claims = mock.kubernetes().claims().await.unwrap();
    let told: Vec<_> = claims
        .iter()
        .map(|claim| (claim.persistent_volume.as_str(), claim.handle.as_str(), claim.driver.as_deref()))
        .collect();
    assert_eq!(told, [("pv-1", "here/one", None), ("pv-2", "two", Some("other.example.org"))]);
    assert_eq!(claims[0].claim.as_deref(), Some("shop/data"));

    let (path, mut object) = attached("here/pvc-1", "w", "w;nova=1", 7);
    object["spec"]["attacher"] = json!("other.example.org");
    mock.put(&path, object);
    let hold = Hold { persistent_volume: "pvc-1".to_owned(), node: "w".to_owned(), attached: true };
    assert_eq!(mock.kubernetes().holds().await.unwrap(), [hold]);
}

#[tokio::test]
async fn what_nodes_have_is_told_of_all_drivers() {
    let mock = Mock::start().await;
    let (path, mut object) = kube_node("w", "u1", 5, None, "True");
    object["status"]["volumesInUse"] = json!([
        "kubernetes.io/csi/csi.example.org^here/one",
        "kubernetes.io/csi/other.example.org^two",
        "kubernetes.io/local-volume/x",
    ]);
    object["status"]["volumesAttached"] = json!([
        {"name": "kubernetes.io/csi/csi.example.org^here/three", "devicePath": ""},
        {"name": "kubernetes.io/csi/other.example.org^there/four", "devicePath": ""},
    ]);
    mock.put(&path, object);
    let (path, idle) = kube_node("x", "u2", 5, None, "True");
    mock.put(&path, idle);
    let found = mock.kubernetes().in_use().await.unwrap();
    let set = |handles: &[&str]| handles.iter().map(|&handle| handle.to_owned()).collect::<BTreeSet<_>>();
    let ours = [("w".to_owned(), set(&["here/one"])), ("x".to_owned(), set(&[]))];
    assert_eq!(found.ours, ours.into());
    assert_eq!(found.any, set(&["here/one", "two", "here/three", "there/four"]));
    for (volume, used) in [("else/one", true), ("here/two", true), ("here/four", true), ("here/five", false)]
    {
        assert_eq!(found.has(&volume.parse().unwrap()), used, "{volume}");
    }
}
