//! What a project has and may have: types, quotas, its token, notes; and what the cloud cannot do.

use cloudsim::{Fault, Rule};
use fairlead::backend::{AttachOrder, Backend, GroupOrder, SnapshotOrder, VolumeOrder};
use fairlead::error::{Kind, Outcome};
use fairlead::volume::{Bytes, Parameters, SizeRange, Source as Origin, TopologyRequirement};

use crate::sky::{Sky, of_type, off, order, parameters, refused, told, writer};

#[tokio::test]
async fn types_are_known_by_name_and_number() {
    let sky = Sky::new(1).await;
    for kind in ["archipelago", "1"] {
        let name = format!("pvc-{kind}");
        let made = sky.backend.create(&of_type(&name, kind, TopologyRequirement::default())).await.unwrap();
        assert_eq!(sky.sim.cloud().volumes.get(made.id.as_str()).unwrap().kind, "1");
        // Without a type it is the only one that can move.
        assert_eq!(sky.backend.create(&order(&name, 1)).await.unwrap(), made);
        let other = of_type(&name, "drbd", sky.places(&[0]));
        refused(sky.backend.create(&other).await, Kind::AlreadyExists);
    }
    let error = refused(
        sky.backend.create(&of_type("pvc-x", "ssd", TopologyRequirement::default())).await,
        Kind::InvalidArgument,
    );
    assert!(error.contains("\"ssd\"") && error.contains("archipelago, drbd"), "{error}");
    {
        let mut cloud = sky.sim.cloud();
        let mut kind = cloud.config.types[0].clone();
        (kind.id, kind.name) = ("3".to_owned(), "vlmc".to_owned());
        cloud.config.types.push(kind);
    }
    let second = sky.restart().await;
    let error = refused(second.create(&order("pvc-y", 1)).await, Kind::InvalidArgument);
    assert!(error.contains("archipelago, drbd, vlmc"), "{error}");
}

#[tokio::test]
async fn quotas_are_counted_before_the_call() {
    let sky = Sky::new(1).await;
    sky.backend.create(&order("pvc-1", 90)).await.unwrap();
    sky.sim.forget_counts();
    let error = refused(sky.backend.create(&order("pvc-2", 11)).await, Kind::ResourceExhausted);
    assert!(error.contains("90 of 100 GiB") && error.contains("11 GiB"), "{error}");
    assert_eq!(sky.count("POST", "/volumes"), 0);
    let capacity = sky.backend.capacity(&Parameters::default(), None).await.unwrap();
    assert_eq!((capacity.available, capacity.largest), (Bytes::gib(10), Bytes::gib(10)));
    // The project's other members count too.
    sky.sim.cloud().config.projects[0].quotas.insert("project cyclades.disk".to_owned(), 95 << 30);
    let error = refused(sky.backend.create(&order("pvc-2", 6)).await, Kind::ResourceExhausted);
    assert!(error.contains("90 of 95 GiB"), "{error}");
    refused(sky.backend.create(&order("pvc-2", 201)).await, Kind::OutOfRange);
    // Where the quotas cannot be had, the cloud's own refusal tells.
    sky.sim.order(Rule::once("GET", "/quotas", Fault::Refuse(503, "later".to_owned())).times(9));
    let error = refused(sky.backend.create(&order("pvc-2", 6)).await, Kind::ResourceExhausted);
    assert!(error.contains("Available: 5GB"), "{error}");
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_asked_for_again_and_again() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    sky.sim.expire_tokens();
    sky.sim.forget_counts();
    for _ in 0..5 {
        let error = told(sky.backend.get(&id).await, Kind::Unauthenticated, Outcome::Unknown);
        assert!(!error.contains("sim-password"), "{error}");
        told(sky.backend.ready().await, Kind::Unauthenticated, Outcome::Unknown);
    }
    assert!(sky.count("POST", "/tokens") <= 2, "{:?}", sky.sim.counts());
}

#[tokio::test]
async fn what_the_cloud_cannot_do_is_refused_and_not_advertised() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    let can = sky.backend.capabilities();
    assert!(!can.snapshots && !can.clones && !can.group_snapshots && !can.multi_attach && !can.raw);
    assert_eq!(can.expansion, fairlead::backend::Expansion::Never);
    let bigger = SizeRange::at_least(Bytes::gib(2));
    refused(sky.backend.expand(&id, bigger).await, Kind::Unsupported);
    let copy = VolumeOrder { source: Some(Origin::Volume(id.clone())), ..order("pvc-2", 1) };
    refused(sky.backend.create(&copy).await, Kind::Unsupported);
    let cut = SnapshotOrder { name: "s".to_owned(), volume: id.clone(), parameters: Parameters::default() };
    refused(sky.backend.create_snapshot(&cut).await, Kind::Unsupported);
    let group =
        GroupOrder { name: "g".to_owned(), volumes: vec![id.clone()], parameters: Parameters::default() };
    assert!(sky.backend.create_group(&group).await.is_err());
    for (key, value) in [("imageID", "blank"), ("availability", "nova"), ("sameHost", "1")] {
        refused(sky.backend.check_parameters(&parameters(key, value)), Kind::InvalidArgument);
    }
    refused(sky.backend.modify(&id, &parameters("type", "drbd")).await, Kind::Unsupported);
    sky.backend.modify(&id, &parameters("metadata", "tier=gold")).await.unwrap();
    assert_eq!(sky.sim.cloud().volumes.get(id.as_str()).unwrap().metadata["tier"], "gold");
}

#[tokio::test]
async fn a_volume_has_room_for_ten_notes() {
    let sky = Sky::new(8).await;
    let notes = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let mut many = order("pvc-1", 1);
    many.mutable = parameters("metadata", &notes(6));
    let error = refused(sky.backend.create(&many).await, Kind::InvalidArgument);
    assert!(error.contains("it can have 10"), "{error}");
    assert_eq!(sky.sim.cloud().volumes.iter().count(), 0, "nothing was begun");
    many.mutable = parameters("metadata", &notes(3));
    let id = sky.backend.create(&many).await.unwrap().id;
    // What is noted of each server's use does not add up.
    for node in &sky.nodes {
        let reader = AttachOrder { readonly: true, ..writer(&id, node) };
        let attached = sky.backend.attach(&reader).await.unwrap();
        assert!(attached.readonly);
        sky.backend.detach(&off(&id, Some(node))).await.unwrap();
    }
    let kept = sky.sim.cloud().volumes.get(id.as_str()).unwrap().metadata.clone();
    assert!(
        kept.len() <= 10 && kept["k2"] == "v" && kept["csi.storage.k8s.io/pvc/name"] == "data",
        "{kept:?}"
    );
    assert_eq!(sky.backend.get(&id).await.unwrap().name, "pvc-1");
}
