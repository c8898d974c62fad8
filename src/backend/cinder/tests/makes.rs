use serde_json::json;

use super::sky::{Sky, access, fault, id, order, parameters, refused, told, volume};
use crate::backend::cinder::notes::Name;
use crate::backend::{Backend, VolumeOrder};
use crate::error::{Kind, Outcome};
use crate::http::fake::Reply;
use crate::volume::{
    Access, AccessKind, AccessMode, Bytes, Content, Owner, Source, Topology, TopologyRequirement,
};

const ORDER: &str = "POST /volume/v3/p1/volumes";

#[tokio::test]
async fn a_volume_is_made_once_and_its_notes_say_whose_it_is() {
    let sky = Sky::with(|config| {
        config.name_prefix = "prod-".to_owned();
        config.cluster = "prod".to_owned();
    })
    .await;
    let owner = Owner {
        claim: Some("data".to_owned()),
        namespace: Some("db".to_owned()),
        volume: Some("pvc-1".to_owned()),
    };
    let given = parameters(&[("type", "standard"), ("differentHost", "v0")]);
    let order = VolumeOrder {
        owner,
        parameters: given,
        mutable: parameters(&[("metadata", "tier=a")]),
        ..order("pvc-1", 2)
    };
    let made = sky.backend.create(&order).await.unwrap();
    assert_eq!((made.name.as_str(), made.size, made.content), ("pvc-1", Bytes::gib(2), Content::New));
    assert_eq!(sky.backend.create(&order).await.unwrap(), made);
    assert_eq!(sky.backend.get(&made.id).await.unwrap(), made);
    assert_eq!(sky.orders(), 1);
    let sent = sky.server.seen().into_iter().find(|seen| seen.line() == ORDER).unwrap().json();
    assert_eq!(sent["volume"]["name"], "prod-pvc-1");
    assert_eq!(
        sent["volume"]["metadata"],
        json!({"csi.fairlead.dev/cluster": "prod", "csi.fairlead.dev/name": "pvc-1", "tier": "a",
            "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "db",
            "csi.storage.k8s.io/pv/name": "pvc-1"})
    );
    assert_eq!(sent["OS-SCH-HNT:scheduler_hints"], json!({"different_host": ["v0"]}));
}

#[tokio::test]
async fn a_volume_that_only_has_the_name_is_not_taken() {
    let sky = Sky::new().await;
    let mut foreign = volume("f", "v", "available", 0);
    foreign["metadata"] = json!({});
    sky.state().volumes.push(foreign);
    let made = sky.backend.create(&order("v", 1)).await.unwrap();
    assert_eq!((made.id, sky.orders()), (id("v1"), 1));
    assert_eq!(sky.ids(), ["f", "v1"]);
}

#[tokio::test]
async fn of_twins_the_oldest_stays() {
    let sky = Sky::new().await;
    sky.state().volumes = vec![
        volume("young", "v", "available", 9),
        volume("old", "v", "available", 1),
        volume("going", "v", "deleting", 0),
        volume("busy", "v", "uploading", 5),
    ];
    assert_eq!(sky.backend.create(&order("v", 1)).await.unwrap().id, id("old"));
    assert_eq!(sky.ids(), ["old", "going", "busy"], "what is busy is left alone");
    assert_eq!(sky.orders(), 0);
}

#[tokio::test]
async fn a_twin_that_somebody_has_is_the_one() {
    let sky = Sky::new().await;
    let mut used = volume("used", "v", "in-use", 5);
    used["attachments"] = json!([{"server_id": "s1"}]);
    sky.state().volumes = vec![volume("old", "v", "available", 1), used];
    assert_eq!(sky.backend.create(&order("v", 1)).await.unwrap().id, id("used"));
    assert_eq!(sky.ids(), ["used"]);
}

#[tokio::test]
async fn two_orders_at_once_are_one() {
    let sky = Sky::new().await;
    let (v, w) = (order("v", 1), order("v", 1));
    let (one, two) = tokio::join!(sky.backend.create(&v), sky.backend.create(&w));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(sky.orders(), 1);
}

#[tokio::test]
async fn another_controllers_twin_that_lands_meanwhile_is_found() {
    let sky = Sky::new().await;
    sky.bend(|seen, state| {
        if seen.line() == ORDER {
            state.volumes.push(volume("theirs", "v", "available", 0));
        }
        None
    });
    assert_eq!(sky.backend.create(&order("v", 1)).await.unwrap().id, id("theirs"));
    assert_eq!(sky.ids(), ["theirs"], "the one that this call made is younger and goes");
}

#[tokio::test]
async fn a_lost_order_that_lands_late_is_found_and_never_sent_again() {
    let sky = Sky::new().await;
    let mut pending = None;
    sky.bend(move |seen, state| {
        if seen.line() == ORDER {
            pending = Some((seen.clone(), 3));
            return Some(Reply::hang_up());
        }
        if let Some((order, looks)) = &mut pending
            && seen.line().ends_with("volumes/detail")
        {
            *looks -= 1;
            if *looks == 0 {
                state.make("volumes", order);
            }
        }
        None
    });
    assert_eq!(sky.backend.create(&order("v", 1)).await.unwrap().id, id("v1"));
    assert_eq!((sky.orders(), sky.ids()), (1, vec!["v1".to_owned()]));
}

#[tokio::test]
async fn a_lost_order_that_never_lands_is_no_refusal_and_neither_is_what_follows() {
    let sky = Sky::new().await;
    sky.bend(|seen, _| {
        (seen.line() == ORDER).then(|| Reply::text(504, "text/html", "<html>gateway time-out</html>"))
    });
    let text = told(sky.backend.create(&order("v", 1)).await, Kind::Unavailable, Outcome::Unknown);
    assert!(text.contains("504") && text.contains("it may still appear"), "{text}");
    assert_eq!(sky.orders(), 1);
    sky.bend(|seen, _| {
        let quota =
            "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'.";
        (seen.line() == ORDER).then(|| {
            Reply::json(413, json!({"overLimit": {"code": 413, "message": quota}})).header("retry-after", 0)
        })
    });
    let text = told(sky.backend.create(&order("v", 1)).await, Kind::ResourceExhausted, Outcome::Unknown);
    assert!(text.contains("the project has 4 of 10 volumes, 40 of 100 GiB"), "{text}");
    let text = refused(sky.backend.create(&order("w", 7)).await, Kind::ResourceExhausted);
    assert!(text.contains("VolumeLimitExceeded") && text.contains("7 GiB were asked for"), "{text}");
}

#[tokio::test]
async fn what_could_not_be_made_is_never_given_out() {
    let sky = Sky::new().await;
    sky.state().made = Some("error");
    sky.state().messages = vec![
        json!({"id": "m2", "resource_uuid": "v1", "created_at": "2026-01-01T00:00:02",
            "user_message": "schedule allocate volume:Could not find any available weighted backend."}),
        json!({"id": "m1", "resource_uuid": "v1", "created_at": "2026-01-01T00:00:01", "user_message": "older"}),
    ];
    let text = refused(sky.backend.create(&order("v", 1)).await, Kind::ResourceExhausted);
    assert!(text.contains("Could not find any available weighted backend"), "{text}");
    assert!(sky.ids().is_empty(), "it is removed");
    sky.state().messages.clear();
    told(sky.backend.create(&order("v", 1)).await, Kind::Unavailable, Outcome::Unknown);
    // One of an earlier process: the same call begins afresh.
    sky.state().made = None;
    sky.state().volumes.push(volume("bad", "v", "error", 0));
    let made = sky.backend.create(&order("v", 1)).await.unwrap();
    assert_eq!(sky.ids(), [made.id.as_str()]);
}

#[tokio::test]
async fn a_volume_counts_once_a_server_can_get_it() {
    let sky = Sky::new().await;
    let mut looks = 0;
    sky.bend(move |seen, state| {
        if seen.line() == ORDER {
            let made = state.make("volumes", seen);
            let volume = state.find("volumes", made["id"].as_str().unwrap()).unwrap();
            volume["service_uuid"] = json!(null);
            volume["created_at"] = json!("2999-01-01T00:00:00");
            volume["status"] = json!("creating");
            return Some(Reply::json(202, json!({"volume": made})));
        }
        if seen.line() == "GET /volume/v3/p1/volumes/detail" && !state.volumes.is_empty() {
            looks += 1;
            let volume = state.find("volumes", "v1").unwrap();
            match looks {
                1 => {}
                2 => volume["status"] = json!("available"),
                _ => volume["service_uuid"] = json!("s"),
            }
        }
        None
    });
    sky.backend.create(&order("v", 1)).await.unwrap();
    assert_eq!(sky.server.count("GET /volume/v3/p1/volumes/detail"), 4, "and once before it is ordered");
    assert_eq!(sky.server.count("GET /volume/v3/p1/volumes/v1"), 0, "the look for twins shows the state too");
}

#[tokio::test]
async fn another_volume_of_the_name_is_a_conflict() {
    let sky = Sky::with(|config| config.zone_key = Some("zone".to_owned())).await;
    sky.state().volumes.push(volume("a", "v", "available", 0));
    let place = |zone: &str| Topology([("zone".to_owned(), zone.to_owned())].into());
    let base = order("v", 1);
    let there = TopologyRequirement { requisite: vec![place("az2")], preferred: vec![] };
    for (other, word) in [
        (order("v", 2), "size"),
        (VolumeOrder { source: Some(Source::Volume(id("x"))), ..base.clone() }, "source"),
        (VolumeOrder { parameters: parameters(&[("type", "shared")]), ..base.clone() }, "type"),
        (VolumeOrder { parameters: parameters(&[("availability", "az2")]), ..base.clone() }, "zone"),
        (VolumeOrder { parameters: parameters(&[("imageID", "i")]), ..base.clone() }, "image"),
        (VolumeOrder { topology: there, ..base.clone() }, "reached"),
    ] {
        let text = refused(sky.backend.create(&other).await, Kind::AlreadyExists);
        assert!(text.contains(word), "{text}");
    }
    let raw = Access { kind: AccessKind::Block, mode: AccessMode::MultiNodeMultiWriter };
    let shared = VolumeOrder { access: vec![raw], ..base.clone() };
    let text = refused(sky.backend.create(&shared).await, Kind::AlreadyExists);
    assert!(text.contains("one server at a time"), "{text}");
    let same = VolumeOrder { parameters: parameters(&[("type", "t1")]), ..base };
    assert_eq!(sky.backend.create(&same).await.unwrap().reach, place("nova"), "a type by its id");
    assert_eq!((sky.orders(), sky.ids().len()), (0, 1));
}

#[tokio::test]
async fn what_is_refused_is_told_with_what_there_is() {
    let sky = Sky::with(|config| config.zone_key = Some("zone".to_owned())).await;
    sky.bend(|seen, _| {
        (seen.line() == ORDER).then(|| match seen.json()["volume"]["volume_type"].as_str() {
            Some("golden") => fault(404, "Volume type with name golden could not be found."),
            Some(_) => fault(400, "Invalid input received: Specified volume size of '1' is less than the minimum required size '2'"),
            None => fault(400, "Availability zone 'mars' is invalid."),
        })
    });
    let with = |pairs: &[(&str, &str)]| VolumeOrder { parameters: parameters(pairs), ..order("v", 1) };
    for (bad, kind, words) in [
        (with(&[("type", "golden")]), Kind::InvalidArgument, "the types are shared, standard"),
        (with(&[("availability", "mars")]), Kind::InvalidArgument, "the zones are az2, nova"),
        (with(&[("type", "standard")]), Kind::OutOfRange, "minimum required size"),
    ] {
        let text = refused(sky.backend.create(&bad).await, kind);
        assert!(text.contains(words), "{text}");
    }
    let orders = sky.orders();
    let place = |key: &str, zone: &str| Topology([(key.to_owned(), zone.to_owned())].into());
    for (topology, words) in [(place("zone", "az9"), "az2, nova"), (place("rack", "1"), "\"zone\"")] {
        let topology = TopologyRequirement { requisite: vec![topology], preferred: vec![] };
        let text = refused(
            sky.backend.create(&VolumeOrder { topology, ..order("v", 1) }).await,
            Kind::ResourceExhausted,
        );
        assert!(text.contains(words), "{text}");
    }
    let shared = VolumeOrder {
        access: vec![access(AccessMode::MultiNodeReaderOnly)],
        ..with(&[("type", "standard")])
    };
    let text = refused(sky.backend.create(&shared).await, Kind::InvalidArgument);
    assert!(text.contains("there are shared"), "{text}");
    assert_eq!(sky.orders(), orders, "these never reach the cloud");
}

#[tokio::test]
async fn the_zone_follows_the_topology() {
    let sky = Sky::with(|config| config.zone_key = Some("zone".to_owned())).await;
    let place = |zone: &str| Topology([("zone".to_owned(), zone.to_owned())].into());
    let topology = TopologyRequirement {
        requisite: vec![place("nova"), place("az2")],
        preferred: vec![place("az2"), place("nova")],
    };
    let made =
        sky.backend.create(&VolumeOrder { topology: topology.clone(), ..order("v", 1) }).await.unwrap();
    assert_eq!(made.reach, place("az2"));
    // A cloud that falls back to another zone: what it made cannot be reached from there.
    sky.bend(|seen, state| {
        (seen.line() == ORDER).then(|| {
            let made = state.make("volumes", seen);
            state.find("volumes", made["id"].as_str().unwrap()).unwrap()["availability_zone"] =
                json!("elsewhere");
            Reply::json(202, json!({"volume": made}))
        })
    });
    let text = refused(
        sky.backend.create(&VolumeOrder { topology, ..order("w", 1) }).await,
        Kind::ResourceExhausted,
    );
    assert!(text.contains("otherwise than ordered"), "{text}");
    assert_eq!(sky.ids(), ["v1"]);
}

#[tokio::test]
async fn the_operators_limits_hold() {
    let sky =
        Sky::with(|config| (config.max_volumes, config.max_bytes) = (Some(2), Some(Bytes::gib(5)))).await;
    sky.backend.create(&order("a", 1)).await.unwrap();
    let text = refused(sky.backend.create(&order("b", 5)).await, Kind::ResourceExhausted);
    assert!(text.contains("1 GiB of 5 GiB") && text.contains("5 GiB are asked for"), "{text}");
    sky.backend.create(&order("b", 3)).await.unwrap();
    let text = refused(sky.backend.create(&order("c", 1)).await, Kind::ResourceExhausted);
    assert!(text.contains("2 of 2 volumes"), "{text}");
    assert_eq!(sky.backend.capacity(&Default::default(), None).await.unwrap().available, Bytes::ZERO);
    sky.backend.create(&order("b", 3)).await.unwrap();
    assert_eq!(sky.ids().len(), 2);
    // Others were quicker: the youngest goes.
    sky.state().volumes.remove(0);
    sky.bend(|seen, state| {
        if seen.line() == ORDER {
            state.volumes.push(volume("z", "quick", "available", 0));
        }
        None
    });
    refused(sky.backend.create(&order("c", 1)).await, Kind::ResourceExhausted);
    assert_eq!(sky.ids().len(), 2);
}

#[tokio::test]
async fn odd_names_are_kept() {
    let sky = Sky::new().await;
    let made = sky.backend.create(&order("ä b", 1)).await.unwrap();
    assert_eq!(made.name, "ä b");
    assert!(sky.state().volumes[0]["name"].as_str().unwrap().starts_with("b~"));
    for bad in ["", "a\nb", "\u{1f600}"] {
        refused(sky.backend.create(&order(bad, 1)).await, Kind::InvalidArgument);
    }
}

#[tokio::test]
async fn a_twin_that_lands_after_the_answer_goes_and_never_what_was_given_out() {
    let sky = Sky::new().await;
    let made = sky.backend.create(&order("v", 1)).await.unwrap();
    sky.state().volumes.push(volume("aaa", "v", "available", 0));
    let name = Name::new(&sky.backend.cloud.config, "v").unwrap();
    sky.backend.cloud.sweep(&name, made.id.as_str()).await;
    assert_eq!(sky.ids(), [made.id.as_str()], "though the other looks older");
    sky.backend.cloud.sweep(&name, "one that is gone again").await;
    assert_eq!(sky.ids().len(), 1, "a later order's volume is left alone");
}

#[tokio::test]
async fn many_that_are_made_share_their_looks() {
    for filters in [true, false] {
        let sky = Sky::new().await;
        sky.state().volumes.push(volume("idle", "idle", "available", 0));
        sky.bend(move |seen, state| {
            if seen.line() == ORDER {
                let made = state.make("volumes", seen);
                let id = made["id"].as_str().unwrap();
                state.find("volumes", id).unwrap()["created_at"] = json!("2026-01-02T00:00:00");
                return Some(Reply::json(202, json!({"volume": state.find("volumes", id)})));
            }
            let lately = filters && seen.target.contains("created_at=gte%3A2026-01-01T23%3A59%3A00");
            lately.then(|| {
                let mut volumes = state.volumes.clone();
                volumes.retain(|volume| volume["id"] != "idle");
                Reply::json(200, json!({"volumes": volumes})).late(std::time::Duration::from_millis(50))
            })
        });
        let names: Vec<_> = (0..20).map(|n| order(&format!("v{n}"), 1)).collect();
        let made = futures_util::future::join_all(names.iter().map(|order| sky.backend.create(order))).await;
        let ids: std::collections::BTreeSet<_> = made.into_iter().map(|made| made.unwrap().id).collect();
        assert_eq!((ids.len(), sky.ids().len()), (20, 21));
        let looks = sky.server.count("GET /volume/v3/p1/volumes/detail");
        assert!(if filters { looks <= 20 + 4 } else { looks <= 20 + 20 + 3 }, "{looks}");
    }
}

#[tokio::test]
async fn a_create_has_not_ended_while_what_it_made_cannot_be_removed() {
    let sky = Sky::new().await;
    sky.bend(|seen, state| {
        if seen.method == "DELETE" {
            return Some(fault(400, "Modification operations are not allowed on this host."));
        }
        if seen.line() == ORDER {
            state.volumes.push(volume("v1", "v", "error", 0));
            return Some(Reply::json(202, json!({"volume": volume("v1", "v", "creating", 0)})));
        }
        None
    });
    let error = sky.backend.create(&order("v", 1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert_eq!(sky.ids(), ["v1"]);
}

#[tokio::test]
async fn what_was_ordered_in_vain_is_removed() {
    let sky = Sky::new().await;
    sky.bend(|seen, state| {
        if seen.line() == ORDER {
            // Another order of that name was quicker, and for another size.
            let mut theirs = volume("theirs", "v", "creating", 0);
            theirs["size"] = json!(7);
            state.volumes.push(theirs);
        }
        None
    });
    let narrow = VolumeOrder { size: crate::volume::SizeRange::new(1, 2 << 30).unwrap(), ..order("v", 1) };
    refused(sky.backend.create(&narrow).await, Kind::AlreadyExists);
    assert_eq!(sky.ids(), ["theirs"]);
    // A volume that somebody has is never removed, though the cloud has it in error.
    let mut broken = volume("broken", "w", "error", 0);
    broken["attachments"] = json!([{"server_id": "s1"}]);
    sky.state().volumes.push(broken);
    told(sky.backend.create(&order("w", 1)).await, Kind::FailedPrecondition, Outcome::Unknown);
    assert_eq!(sky.ids(), ["theirs", "broken"]);
}
