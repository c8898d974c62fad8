//! The life of volumes, those that stay with one server among them.

use std::time::Duration;

use cloudsim::{Fate, Fault, Rule};
use fairlead::backend::{AttachOrder, Backend, Page};
use fairlead::error::{Kind, Outcome};
use fairlead::volume::{Bytes, Connection, Content, NativeId, TopologyRequirement};

use crate::sky::{SERVER_KEY, Sky, anywhere, of_type, off, order, refused, told, writer};

#[tokio::test]
async fn a_volume_lives_moves_and_dies() {
    let sky = Sky::new(2).await;
    let (first, second) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    assert!(first.as_str().parse::<u64>().is_ok(), "{first}");
    {
        let cloud = sky.sim.cloud();
        let volume = cloud.volumes.get(first.as_str()).unwrap();
        assert_eq!(volume.name.as_deref(), Some("k8s-pvc-1"));
        assert_eq!(volume.metadata["csi.storage.k8s.io/pvc/name"], "data");
        assert!(volume.description.as_ref().unwrap().contains("kubernetes"), "{volume:?}");
    }
    let made = sky.backend.get(&first).await.unwrap();
    assert_eq!((made.name.as_str(), made.content, made.reach), ("pvc-1", Content::New, anywhere()));
    let one = sky.backend.attach(&writer(&first, &sky.nodes[0])).await.unwrap();
    assert_eq!(one.connection, Connection::Nameless { volume: first.to_string(), disks: 1 });
    let two = sky.backend.attach(&writer(&second, &sky.nodes[0])).await.unwrap();
    assert_eq!(two.connection, Connection::Nameless { volume: second.to_string(), disks: 2 });
    assert_eq!((one.content, one.size), (Content::New, Bytes::gib(1)));
    let other = sky.restart().await;
    assert_eq!(other.attach(&writer(&first, &sky.nodes[0])).await.unwrap(), one, "the same act");
    let error = refused(other.attach(&writer(&first, &sky.nodes[1])).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-0"), "{error}");
    // The cloud itself would delete it from under the pod.
    let error = refused(sky.backend.delete(&first).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-0"), "{error}");
    sky.backend.detach(&off(&first, Some(&sky.nodes[0]))).await.unwrap();
    sky.backend.detach(&off(&first, Some(&sky.nodes[0]))).await.unwrap();
    let moved = sky.backend.attach(&writer(&first, &sky.nodes[1])).await.unwrap();
    assert_ne!(moved.nonce, one.nonce);
    assert_eq!(moved.connection, Connection::Nameless { volume: first.to_string(), disks: 1 });
    for id in [&first, &second] {
        sky.backend.detach(&off(id, None)).await.unwrap();
        sky.backend.delete(id).await.unwrap();
        sky.backend.delete(id).await.unwrap();
        refused(sky.backend.get(id).await, Kind::NotFound);
    }
    assert!(sky.backend.list(&Page::default()).await.unwrap().items.is_empty());
    sky.check(&[]);
}

#[tokio::test]
async fn a_create_that_was_cut_off_between_its_calls_is_completed() {
    let sky = Sky::new(1).await;
    sky.sim
        .order(Rule::once("POST", "/volumes/{id}/metadata", Fault::Refuse(503, "later".to_owned())).times(9));
    let cut_off = sky.backend.create(&order("pvc-1", 1)).await.unwrap_err();
    assert_eq!(cut_off.outcome(), Outcome::Unknown, "{cut_off}");
    assert_eq!(sky.sim.cloud().volumes.iter().count(), 1);
    sky.sim.clear_orders();
    let other = sky.restart().await;
    let made = other.create(&order("pvc-1", 1)).await.unwrap();
    assert_eq!((made.name.as_str(), made.content), ("pvc-1", Content::New));
    let notes = sky.sim.cloud().volumes.get(made.id.as_str()).unwrap().metadata.clone();
    assert_eq!(notes["csi.storage.k8s.io/pv/name"], "pvc-1");
    // One of the same name that is somebody else's is not taken, whatever it lacks.
    {
        let mut cloud = sky.sim.cloud();
        cloud.touch(made.id.as_str(), |volume| volume.description = Some("my own".to_owned()));
    }
    let another = other.create(&order("pvc-1", 1)).await.unwrap();
    assert_ne!(another.id, made.id);
    // The answer to an order is lost, and it was carried out.
    sky.sim.order(Rule::once("POST", "/volumes", Fault::LoseReply));
    let found = other.create(&order("pvc-2", 1)).await.unwrap();
    assert_eq!(found.name, "pvc-2");
    let named = sky.sim.cloud().volumes.iter().filter(|one| one.name.as_deref() == Some("k8s-pvc-2")).count();
    assert_eq!(named, 1);
}

#[tokio::test]
async fn what_a_server_once_had_is_deleted_only_where_another_helps() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    sky.backend.attach(&writer(&id, &sky.nodes[0])).await.unwrap();
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    let text = "No available helper server found.".to_owned();
    sky.sim.order(Rule::once("DELETE", "/volumes/{id}", Fault::Refuse(404, text)));
    let error = told(sky.backend.delete(&id).await, Kind::Unavailable, Outcome::Unknown);
    assert!(error.contains("no server free") && error.contains("helper"), "{error}");
    sky.backend.get(&id).await.unwrap();
    // Nor is it gone where that cannot be seen.
    let text = "No available helper server found.".to_owned();
    sky.sim.order(Rule::once("DELETE", "/volumes/{id}", Fault::Refuse(404, text)));
    sky.sim
        .order(Rule::once("GET", "/volumes/{id}", Fault::Refuse(503, "later".to_owned())).after(1).times(9));
    told(sky.backend.delete(&id).await, Kind::Unavailable, Outcome::Unknown);
    sky.sim.clear_orders();
    sky.backend.delete(&id).await.unwrap();
    refused(sky.backend.get(&id).await, Kind::NotFound);
    sky.check(&[]);
}

#[tokio::test]
async fn a_volume_that_cannot_move_stays_on_its_server() {
    let sky = Sky::new(2).await;
    for (places, part) in [
        (TopologyRequirement::default(), "no segment"),
        (sky.places(&[0, 1]), "2 servers"),
        (TopologyRequirement { requisite: vec![anywhere()], preferred: vec![] }, "no segment"),
    ] {
        let error =
            refused(sky.backend.create(&of_type("pvc-1", "drbd", places)).await, Kind::InvalidArgument);
        for part in [part, "drbd", "WaitForFirstConsumer", "--strict-topology"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let ordered = of_type("pvc-1", "drbd", sky.places(&[1]));
    let made = sky.backend.create(&ordered).await.unwrap();
    assert_eq!(made.reach.0[SERVER_KEY], sky.server(1));
    assert!(made.attached.is_empty(), "nobody has been given it");
    assert_eq!(sky.sim.cloud().ledger.holders(made.id.as_str()), [sky.server(1)]);
    assert_eq!(sky.restart().await.create(&of_type("pvc-1", "2", sky.places(&[1]))).await.unwrap(), made);
    let elsewhere = of_type("pvc-1", "drbd", sky.places(&[0]));
    refused(sky.backend.create(&elsewhere).await, Kind::AlreadyExists);

    let error = refused(sky.backend.attach(&writer(&made.id, &sky.nodes[0])).await, Kind::FailedPrecondition);
    assert!(error.contains("stay with the server") && error.contains("worker-0"), "{error}");
    let one = sky.backend.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap();
    assert_eq!(one.connection, Connection::Nameless { volume: made.id.to_string(), disks: 1 });
    assert_eq!(one.content, Content::New);
    assert_eq!(sky.restart().await.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap(), one);
    let otherwise = AttachOrder { readonly: true, ..writer(&made.id, &sky.nodes[1]) };
    refused(sky.backend.attach(&otherwise).await, Kind::AlreadyExists);
    assert_eq!(sky.backend.get(&made.id).await.unwrap().attached, [sky.nodes[1].clone()]);
    let error = refused(sky.backend.delete(&made.id).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-1"), "{error}");
    for _ in 0..2 {
        sky.backend.detach(&off(&made.id, Some(&sky.nodes[1]))).await.unwrap();
    }
    assert!(sky.backend.get(&made.id).await.unwrap().attached.is_empty());
    assert_eq!(sky.sim.cloud().ledger.holders(made.id.as_str()), [sky.server(1)], "its server has it still");
    let again = sky.backend.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap();
    assert_ne!(again.nonce, one.nonce, "another act");
    sky.backend.detach(&off(&made.id, None)).await.unwrap();
    sky.backend.delete(&made.id).await.unwrap();
    refused(sky.backend.get(&made.id).await, Kind::NotFound);
    assert!(sky.sim.cloud().servers.get(&sky.server(1)).unwrap().disks.is_empty());
    sky.check(&[]);
}

#[tokio::test]
async fn a_second_volume_of_a_name_that_nobody_was_given_goes_also_where_it_cannot_move() {
    let sky = Sky::new(1).await;
    let ordered = of_type("pvc-1", "drbd", sky.places(&[0]));
    let made = sky.backend.create(&ordered).await.unwrap();
    // Another controller's order that landed late.
    {
        let mut cloud = sky.sim.cloud();
        let mut twin = cloud.volumes.get(made.id.as_str()).unwrap().clone();
        twin.id = "999".to_owned();
        twin.created += Duration::from_secs(1);
        (twin.status, twin.kind, twin.server, twin.written) = ("available", "1".to_owned(), None, false);
        cloud.volumes.insert(twin);
    }
    assert_eq!(sky.restart().await.create(&ordered).await.unwrap(), made);
    sky.check(&[&made.id]);
    // Two controllers that order at once.
    let (ordered, other) = (of_type("pvc-2", "drbd", sky.places(&[0])), sky.restart().await);
    let (one, two) = tokio::join!(sky.backend.create(&ordered), other.create(&ordered));
    let two = two.unwrap();
    assert_eq!(one.unwrap(), two);
    sky.check(&[&made.id, &two.id]);
    assert_eq!(sky.sim.cloud().servers.get(&sky.server(0)).unwrap().disks.len(), 2);
}

#[tokio::test]
async fn what_others_deleted_is_gone_although_it_is_shown() {
    let sky = Sky::new(1).await;
    let (id, lost) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    {
        let mut cloud = sky.sim.cloud();
        cloud.touch(id.as_str(), |volume| (volume.status, volume.deleted) = ("deleted", true));
    }
    refused(sky.backend.get(&id).await, Kind::NotFound);
    refused(sky.backend.attach(&writer(&id, &sky.nodes[0])).await, Kind::NotFound);
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    sky.backend.delete(&id).await.unwrap();
    for id in ["none", "12345"] {
        let id: NativeId = id.parse().unwrap();
        refused(sky.backend.get(&id).await, Kind::NotFound);
        refused(sky.backend.attach(&writer(&id, &sky.nodes[0])).await, Kind::NotFound);
        sky.backend.delete(&id).await.unwrap();
    }
    assert_ne!(sky.make("pvc-1").await, id, "its name is free again");
    // The cloud loses a volume where an attach fails badly.
    let fate = Fate { fails: Some(String::new()), vanishes: true, ..Fate::default() };
    sky.sim.order(Rule::fate("POST", "/os-volume_attachments", fate));
    refused(sky.backend.attach(&writer(&lost, &sky.nodes[0])).await, Kind::NotFound);
    // A server that is no more.
    let server = sky.server(0);
    sky.sim.cloud().drop_server(&server);
    let other = sky.make("pvc-3").await;
    refused(sky.backend.attach(&writer(&other, &sky.nodes[0])).await, Kind::NotFound);
    sky.backend.detach(&off(&other, Some(&sky.nodes[0]))).await.unwrap();
}
