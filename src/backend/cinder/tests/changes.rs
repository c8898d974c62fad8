use serde_json::json;

use super::sky::{Sky, fault, id, parameters, refused, told, volume};
use crate::backend::Backend;
use crate::error::{Kind, Outcome};
use crate::http::fake::Reply;
use crate::volume::{Bytes, SizeRange};

const ACTION: &str = "POST /volume/v3/p1/volumes/v/action";

fn least(gib: u64) -> SizeRange {
    SizeRange::at_least(Bytes::gib(gib))
}

#[tokio::test]
async fn a_volume_grows_and_never_shrinks() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    for (asked, size) in [(4, 4), (4, 4), (2, 4)] {
        let grown = sky.backend.expand(&id("v"), least(asked)).await.unwrap();
        assert_eq!((grown.size, grown.node_expansion), (Bytes::gib(size), true));
    }
    assert_eq!(sky.server.count(ACTION), 1);
    refused(sky.backend.expand(&id("v"), SizeRange::new(1, 1 << 30).unwrap()).await, Kind::OutOfRange);
    refused(sky.backend.expand(&id("none"), least(4)).await, Kind::NotFound);
    refused(sky.backend.expand(&id("v"), SizeRange::at_least(Bytes::MAX)).await, Kind::OutOfRange);
}

#[tokio::test]
async fn in_use_it_has_grown_once_cinder_and_nova_are_done() {
    let sky = Sky::new().await;
    let mut used = volume("v", "v", "in-use", 0);
    used["attachments"] = json!([{"server_id": "s1"}]);
    sky.state().volumes.push(used);
    let (mut looks, mut actions) = (0, 0);
    sky.bend(move |seen, state| match seen.line().as_str() {
        ACTION => {
            assert_eq!(seen.header("openstack-api-version"), Some("volume 3.42"));
            state.find("volumes", "v").unwrap()["status"] = json!("extending");
            Some(Reply::text(202, "text/plain", ""))
        }
        "GET /volume/v3/p1/volumes/v" => {
            let volume = state.find("volumes", "v").unwrap();
            looks += usize::from(volume["status"] == "extending");
            if looks == 2 {
                (volume["status"], volume["size"]) = (json!("in-use"), json!(3));
            }
            None
        }
        "GET /compute/v2.1/servers/s1/os-instance-actions" => {
            actions += 1;
            let extend = json!({"action": "extend_volume", "request_id": "r"});
            let list = if actions < 4 { json!([extend]) } else { json!([extend.clone(), extend]) };
            Some(Reply::json(200, json!({"instanceActions": list})))
        }
        _ => None,
    });
    assert_eq!(sky.backend.expand(&id("v"), least(3)).await.unwrap().size, Bytes::gib(3));
    assert_eq!(sky.server.count("GET /compute/v2.1/servers/s1/os-instance-actions"), 4);
}

#[tokio::test]
async fn a_failed_growth_is_told() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    sky.bend(|seen, state| {
        (seen.line() == ACTION).then(|| {
            state.find("volumes", "v").unwrap()["status"] = json!("error_extending");
            Reply::text(202, "text/plain", "")
        })
    });
    for _ in 0..2 {
        let text =
            told(sky.backend.expand(&id("v"), least(3)).await, Kind::FailedPrecondition, Outcome::Unknown);
        assert!(text.contains("error_extending") && text.contains("administrator"), "{text}");
    }
    assert_eq!(sky.server.count(ACTION), 1);
    sky.state().volumes[0]["status"] = json!("available");
    sky.bend(|seen, _| {
        let quota =
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota.";
        (seen.line() == ACTION).then(|| {
            Reply::json(413, json!({"overLimit": {"code": 413, "message": quota}})).header("retry-after", 0)
        })
    });
    let text = refused(sky.backend.expand(&id("v"), least(90)).await, Kind::ResourceExhausted);
    assert!(text.contains("40 of 100 GiB") && text.contains("89 GiB were asked for"), "{text}");
}

#[tokio::test]
async fn a_type_is_changed_until_it_is_so() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    let change = parameters(&[("type", "shared"), ("migrationPolicy", "on-demand"), ("metadata", "tier=a")]);
    for _ in 0..2 {
        sky.backend.modify(&id("v"), &change).await.unwrap();
    }
    assert_eq!(sky.state().volumes[0]["volume_type"], "shared");
    assert_eq!(sky.state().volumes[0]["metadata"]["tier"], "a");
    assert_eq!(sky.state().volumes[0]["metadata"]["csi.fairlead.dev/name"], "v");
    assert_eq!((sky.server.count(ACTION), sky.server.count("POST /volume/v3/p1/volumes/v/metadata")), (1, 1));
    let sent = sky.server.seen().into_iter().find(|seen| seen.line() == ACTION).unwrap().json();
    assert_eq!(sent, json!({"os-retype": {"new_type": "shared", "migration_policy": "on-demand"}}));
    sky.bend(|seen, _| {
        (seen.line() == ACTION).then(|| match seen.json()["os-retype"]["new_type"] == "golden" {
            true => fault(400, "Invalid volume_type passed: golden."),
            // Accepted, and it comes to nothing.
            false => Reply::text(202, "text/plain", ""),
        })
    });
    let golden = parameters(&[("type", "golden"), ("metadata", "tier=b")]);
    let text = refused(sky.backend.modify(&id("v"), &golden).await, Kind::InvalidArgument);
    assert!(text.contains("\"golden\"") && text.contains("shared, standard"), "{text}");
    assert_eq!(sky.state().volumes[0]["metadata"]["tier"], "a", "all or nothing");
    let back = parameters(&[("type", "standard")]);
    let text = told(sky.backend.modify(&id("v"), &back).await, Kind::FailedPrecondition, Outcome::Unknown);
    assert!(text.contains("still shared") && text.contains("migrationPolicy"), "{text}");
    refused(sky.backend.modify(&id("none"), &back).await, Kind::NotFound);
    refused(sky.backend.modify(&id("v"), &parameters(&[("iops", "1")])).await, Kind::InvalidArgument);
}

#[tokio::test]
async fn what_the_project_may_have_is_asked_once_for_many() {
    let sky = Sky::with(|config| config.zone_key = Some("zone".to_owned())).await;
    let capacity = sky.backend.capacity(&Default::default(), None).await.unwrap();
    assert_eq!((capacity.available, capacity.largest), (Bytes::gib(60), Bytes::gib(60)));
    let place = |zone: &str| crate::volume::Topology([("zone".to_owned(), zone.to_owned())].into());
    let there = sky.backend.capacity(&Default::default(), Some(&place("az2"))).await.unwrap();
    assert_eq!(there, capacity);
    let nowhere = sky.backend.capacity(&Default::default(), Some(&place("az9"))).await.unwrap();
    assert_eq!(nowhere.available, Bytes::ZERO);
    assert_eq!(sky.server.count("GET /volume/v3/p1/limits"), 1);
    let capabilities = sky.backend.capabilities();
    assert!(capabilities.multi_attach && !capabilities.group_snapshots);
    let before = sky.server.seen().len();
    sky.backend.ready().await.unwrap();
    assert_eq!(sky.server.seen().len(), before + 1, "health costs one request");
}
