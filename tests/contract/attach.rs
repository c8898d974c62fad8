//! Who may have a volume.

use fairlead::backend::AttachOrder;
use fairlead::error::Kind;
use fairlead::volume::AccessMode::{
    MultiNodeMultiWriter, MultiNodeReaderOnly, MultiNodeSingleWriter, SingleNodeMultiWriter,
    SingleNodeReaderOnly, SingleNodeSingleWriter, SingleNodeWriter,
};
use fairlead::volume::{Access, AccessKind, AccessMode, NativeId, NodeId};

use crate::facts;
use crate::fixture::{Fixture, Quotas, attach, detach, id, order, refused, writer};

facts![
    Backend: the_same_order_gives_the_same_attachment,
    Backend: what_is_missing_is_named,
    Backend: only_matching_modes_share_a_volume,
    Backend: an_attached_volume_is_not_deleted,
    Backend: detach_may_be_repeated,
    Backend: a_server_has_a_cap,
    Backend: a_race_for_a_volume_has_one_winner,
];

pub async fn the_same_order_gives_the_same_attachment(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap());
    let first = backend.attach(&writer(&volume.id, &nodes[0])).await.unwrap();
    assert_eq!((first.size, first.content, first.readonly), (volume.size, volume.content, false));
    assert_eq!(fixture.backend().await.attach(&writer(&volume.id, &nodes[0])).await.unwrap(), first);
    for other in [
        attach(&volume.id, &nodes[0], SingleNodeWriter, true),
        attach(&volume.id, &nodes[0], MultiNodeMultiWriter, false),
    ] {
        refused(backend.attach(&other).await, Kind::AlreadyExists);
    }
    assert_eq!(backend.get(&volume.id).await.unwrap().attached, [nodes[0].clone()]);
    let list = backend.list(&Default::default()).await.unwrap();
    assert_eq!(list.items[0].attached, [nodes[0].clone()]);
    backend.detach(&detach(&volume.id, Some(&nodes[0]))).await.unwrap();
    assert!(backend.get(&volume.id).await.unwrap().attached.is_empty());
    assert_ne!(backend.attach(&writer(&volume.id, &nodes[0])).await.unwrap().nonce, first.nonce);
}

pub async fn what_is_missing_is_named(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    let stranger = "stranger".parse().unwrap();
    let error = refused(backend.attach(&writer(&volume.id, &stranger)).await, Kind::NotFound);
    assert!(error.to_string().contains("node=stranger"), "{error}");
    let error = refused(backend.attach(&writer(&id("none"), &fixture.nodes()[0])).await, Kind::NotFound);
    assert!(error.to_string().contains("volume=none"), "{error}");
}

/// As a raw device: no back end need let two nodes have a file system that one of them writes.
fn raw(volume: &NativeId, node: &NodeId, (mode, readonly): Side) -> AttachOrder {
    AttachOrder { access: Access { kind: AccessKind::Block, mode }, ..attach(volume, node, mode, readonly) }
}

/// How a node uses it: the mode, and whether it must not write.
type Side = (AccessMode, bool);

pub async fn only_matching_modes_share_a_volume(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    if !backend.capabilities().multi_attach {
        return;
    }
    let nodes = fixture.nodes();
    let table: [(Side, Side, bool); 13] = [
        ((SingleNodeWriter, false), (SingleNodeWriter, false), false),
        ((SingleNodeReaderOnly, true), (SingleNodeReaderOnly, true), false),
        ((SingleNodeSingleWriter, false), (MultiNodeMultiWriter, false), false),
        ((SingleNodeMultiWriter, false), (SingleNodeMultiWriter, false), false),
        ((MultiNodeReaderOnly, true), (MultiNodeReaderOnly, true), true),
        ((MultiNodeReaderOnly, false), (MultiNodeReaderOnly, true), true),
        ((MultiNodeReaderOnly, true), (MultiNodeSingleWriter, true), true),
        ((MultiNodeReaderOnly, true), (MultiNodeSingleWriter, false), false),
        ((MultiNodeSingleWriter, false), (MultiNodeSingleWriter, false), false),
        ((MultiNodeSingleWriter, false), (MultiNodeSingleWriter, true), true),
        ((MultiNodeSingleWriter, true), (MultiNodeSingleWriter, false), true),
        ((MultiNodeMultiWriter, false), (MultiNodeMultiWriter, false), true),
        ((MultiNodeMultiWriter, false), (MultiNodeReaderOnly, true), false),
    ];
    for (row, (one, other, together)) in table.into_iter().enumerate() {
        let volume = backend.create(&order(&format!("v{row}"), 1)).await.unwrap().id;
        backend.attach(&raw(&volume, &nodes[0], one)).await.unwrap();
        let second = backend.attach(&raw(&volume, &nodes[1], other)).await;
        if together {
            assert!(second.is_ok(), "{one:?} with {other:?}: {second:?}");
            assert_eq!(backend.get(&volume).await.unwrap().attached.len(), 2);
        } else {
            let error = refused(second, Kind::FailedPrecondition);
            assert!(error.to_string().contains(nodes[0].name()), "{error}");
            backend.detach(&detach(&volume, Some(&nodes[0]))).await.unwrap();
            backend.attach(&raw(&volume, &nodes[1], other)).await.unwrap();
        }
        backend.detach(&detach(&volume, None)).await.unwrap();
        assert!(backend.get(&volume).await.unwrap().attached.is_empty());
    }
}

pub async fn an_attached_volume_is_not_deleted(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    backend.attach(&writer(&volume, &nodes[1])).await.unwrap();
    let error = refused(backend.delete(&volume).await, Kind::FailedPrecondition);
    assert!(error.to_string().contains(nodes[1].name()), "{error}");
    backend.get(&volume).await.unwrap();
    backend.detach(&detach(&volume, Some(&nodes[1]))).await.unwrap();
    backend.delete(&volume).await.unwrap();
}

pub async fn detach_may_be_repeated(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    backend.detach(&detach(&volume, Some(&nodes[1]))).await.unwrap();
    assert_eq!(backend.get(&volume).await.unwrap().attached.len(), 1, "another node's attachment stays");
    for _ in 0..2 {
        backend.detach(&detach(&volume, Some(&nodes[0]))).await.unwrap();
    }
    backend.detach(&detach(&volume, Some(&"stranger".parse().unwrap()))).await.unwrap();
    backend.detach(&detach(&id("none"), Some(&nodes[0]))).await.unwrap();
    backend.detach(&detach(&id("none"), None)).await.unwrap();
}

pub async fn a_server_has_a_cap(fixture: &dyn Fixture) {
    let backend = fixture.limited(Quotas { per_server: Some(3), ..Quotas::default() }).await;
    let nodes = fixture.nodes();
    let mut tasks = Vec::new();
    for n in 0..8 {
        let volume = backend.create(&order(&format!("v{n}"), 1)).await.unwrap().id;
        let (backend, node) = (std::sync::Arc::clone(&backend), nodes[0].clone());
        tasks.push(tokio::spawn(async move { backend.attach(&writer(&volume, &node)).await }));
    }
    let mut attached = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => attached += 1,
            Err(error) => {
                let error = refused(Err::<(), _>(error), Kind::ResourceExhausted);
                assert!(error.to_string().contains("alpha holds 3 of 3 volumes"), "{error}");
            }
        }
    }
    assert_eq!(attached, 3);
    let other = backend.create(&order("w", 1)).await.unwrap().id;
    backend.attach(&writer(&other, &nodes[1])).await.unwrap();
}

pub async fn a_race_for_a_volume_has_one_winner(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    for round in 0..8 {
        let volume = backend.create(&order(&format!("v{round}"), 1)).await.unwrap().id;
        let mut tasks = Vec::new();
        for node in fixture.nodes() {
            let (backend, volume) = (fixture.backend().await, volume.clone());
            tasks.push(tokio::spawn(async move { backend.attach(&writer(&volume, &node)).await }));
        }
        let mut winners = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => winners += 1,
                error => drop(refused(error, Kind::FailedPrecondition)),
            }
        }
        assert_eq!(winners, 1);
        assert_eq!(backend.get(&volume).await.unwrap().attached.len(), 1);
        // A server need not have room for all of them.
        backend.detach(&detach(&volume, None)).await.unwrap();
    }
}
