use serde_json::json;

use super::sky::{Sky, fault, id, refused, told, volume};
use crate::backend::{Backend, Page};
use crate::error::{Kind, Outcome};
use crate::http::fake::Reply;

const WRONG: &str =
    "Invalid volume: Volume status must be available or error or ... and must not be attached.";

#[tokio::test]
async fn deleted_means_gone() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    let mut looks = 0;
    sky.bend(move |seen, state| match seen.line().as_str() {
        "DELETE /volume/v3/p1/volumes/v" => {
            state.find("volumes", "v")?["status"] = json!("deleting");
            Some(Reply::text(202, "text/plain", ""))
        }
        "GET /volume/v3/p1/volumes/v" => {
            looks += 1;
            if looks == 2 {
                state.volumes.clear();
            }
            None
        }
        _ => None,
    });
    sky.backend.delete(&id("v")).await.unwrap();
    assert!(sky.ids().is_empty());
    sky.backend.delete(&id("v")).await.unwrap();
    sky.backend.delete(&id("never-was")).await.unwrap();
}

#[tokio::test]
async fn what_is_used_is_left_alone() {
    let sky = Sky::new().await;
    let mut used = volume("used", "u", "in-use", 0);
    used["attachments"] = json!([{"server_id": "s1"}]);
    sky.state().volumes =
        vec![used, volume("cut", "c", "available", 1), volume("member", "m", "available", 2)];
    sky.state().volumes[2]["group_id"] = json!("g1");
    sky.state().snapshots = vec![json!({"id": "s7", "volume_id": "cut", "status": "available", "size": 1})];
    sky.bend(|seen, _| (seen.method == "DELETE").then(|| fault(400, WRONG)));
    for (volume, word) in [("used", "s1"), ("cut", "s7"), ("member", "g1")] {
        let text = refused(sky.backend.delete(&id(volume)).await, Kind::FailedPrecondition);
        assert!(text.contains(word) && text.contains(volume), "{text}");
    }
    assert_eq!(sky.ids().len(), 3);
}

#[tokio::test]
async fn a_delete_that_the_cloud_fails_is_no_success() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    sky.state()
        .messages
        .push(json!({"id": "m", "resource_uuid": "v", "user_message": "the disk is on fire"}));
    sky.bend(|seen, state| {
        (seen.method == "DELETE").then(|| {
            let volume = state.find("volumes", "v").unwrap();
            match volume["status"] == "available" {
                true => {
                    volume["status"] = json!("error_deleting");
                    Reply::text(202, "text/plain", "")
                }
                false => fault(400, WRONG),
            }
        })
    });
    let text = told(sky.backend.delete(&id("v")).await, Kind::Unavailable, Outcome::Unknown);
    assert!(text.contains("the disk is on fire") && text.contains("administrator"), "{text}");
    let text = told(sky.backend.delete(&id("v")).await, Kind::FailedPrecondition, Outcome::Unknown);
    assert!(text.contains("administrator"), "{text}");
    assert_eq!(sky.backend.health(&id("v")).await.unwrap()[0].reason, "DeleteFailed");
}

#[tokio::test]
async fn the_refusal_of_a_repetition_is_not_believed() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "available", 0));
    let (mut tries, mut looks) = (0, 0);
    sky.bend(move |seen, state| match seen.method.as_str() {
        "DELETE" => {
            tries += 1;
            state.find("volumes", "v").unwrap()["status"] = json!("deleting");
            // Done, and the answer lost; its repetition finds the volume going.
            Some(if tries == 1 { Reply::json(503, json!({})) } else { fault(400, WRONG) })
        }
        "GET" if seen.line().ends_with("/v") => {
            looks += 1;
            if looks > 1 {
                state.volumes.clear();
            }
            None
        }
        _ => None,
    });
    sky.backend.delete(&id("v")).await.unwrap();
    assert!(sky.ids().is_empty());
}

#[tokio::test]
async fn a_detach_that_is_nearly_over_is_waited_for() {
    let sky = Sky::new().await;
    sky.state().volumes.push(volume("v", "v", "detaching", 0));
    sky.bend(|seen, state| {
        let detaching = state.find("volumes", "v").is_some_and(|volume| volume["status"] == "detaching");
        match seen.method.as_str() {
            "DELETE" if detaching => {
                return Some(fault(400, WRONG));
            }
            "GET" if detaching && state.count == 1 => {
                state.find("volumes", "v")?["status"] = json!("available");
            }
            "GET" => state.count = 1,
            _ => {}
        }
        None
    });
    sky.backend.delete(&id("v")).await.unwrap();
    assert!(sky.ids().is_empty());
}

#[tokio::test]
async fn pages_hold_only_what_is_ours_and_survive_deletes() {
    let sky = Sky::new().await;
    let mut foreign = volume("x", "x", "available", 3);
    foreign["metadata"] = json!({});
    let mut all: Vec<_> =
        (0..6).map(|n| volume(&format!("v{n}"), &format!("n{n}"), "available", n)).collect();
    all.extend([foreign, volume("bad", "bad", "error", 4), volume("new", "new", "creating", 5)]);
    sky.state().volumes = all;
    // As Cinder pages: by time, after the marker, with a link where the page is full.
    sky.bend(|seen, state| {
        let query = seen
            .line()
            .ends_with("volumes/detail")
            .then(|| seen.target.split_once('?').unwrap().1.to_owned())?;
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let mut volumes = state.volumes.clone();
        volumes.sort_by_key(|volume| volume["created_at"].as_str().unwrap().to_owned());
        if let Some(marker) = value("marker") {
            let Some(at) = volumes.iter().position(|volume| volume["id"] == marker) else {
                return Some(fault(404, "Volume could not be found."));
            };
            volumes.drain(..=at);
        }
        let limit: usize = value("limit").unwrap().parse().unwrap();
        let links = if volumes.len() >= limit { json!([{"rel": "next", "href": "x"}]) } else { json!([]) };
        volumes.truncate(limit);
        Some(Reply::json(200, json!({"volumes": volumes, "volumes_links": links})))
    });
    let page = |token: Option<String>| Page { max: Some(2), token };
    let names = |page: crate::backend::Listing<crate::volume::Volume>| {
        let names: Vec<_> = page.items.into_iter().map(|volume| volume.name).collect();
        (names.join(" "), page.next)
    };
    let (first, token) = names(sky.backend.list(&page(None)).await.unwrap());
    assert_eq!(first, "n0 n1");
    sky.state().volumes.retain(|volume| volume["id"] != "v1" && volume["id"] != "v2");
    let (second, token) = names(sky.backend.list(&page(token)).await.unwrap());
    assert_eq!(second, "n3 n4");
    let (third, token) = names(sky.backend.list(&page(token)).await.unwrap());
    assert_eq!((third.as_str(), token), ("n5", None));
    refused(sky.backend.list(&page(Some("after:x".to_owned()))).await, Kind::BadToken);
    let (all, next) = names(sky.backend.list(&Page::default()).await.unwrap());
    assert_eq!((all.as_str(), next), ("n0 n3 n4 n5", None));
}
