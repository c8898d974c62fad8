//! The node's side: devices, holds and fencing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use fairlead::backend::{Backend, DetachOrder, Device, Expansion, FencingProof};
use fairlead::error::{Kind, Outcome};
use fairlead::volume::{AccessMode, Content, NativeId, NodeId, SizeRange};

use crate::facts;
use crate::fixture::{Fixture, attach, detach, id, order, refused, units, writer};

facts![
    Devices: what_one_server_wrote_another_reads,
    Devices: a_device_is_made_once,
    Devices: servers_on_one_machine_have_their_own_devices,
    Devices: a_read_only_attachment_cannot_write,
    Devices: a_held_volume_is_taken_only_with_a_proof,
    Devices: only_the_present_attachment_connects,
    Devices: a_device_grows_in_use,
    Devices: a_device_in_use_is_kept,
    Devices: formatting_is_remembered,
    Devices: a_missing_volume_has_no_device,
];

/// Writes through a device of `node`.
pub async fn write(fixture: &dyn Fixture, backend: &dyn Backend, volume: &NativeId, pieces: &[(u64, &[u8])]) {
    let node = &fixture.nodes()[2];
    let connector = fixture.connector(node);
    let attachment = backend.attach(&writer(volume, node)).await.unwrap();
    let device = connector.connect(volume, &attachment).await.unwrap();
    let file = File::options().write(true).open(&device.path).unwrap();
    for (offset, bytes) in pieces {
        file.write_all_at(bytes, *offset).unwrap();
    }
    drop(file);
    connector.disconnect(volume).await.unwrap();
    backend.detach(&detach(volume, Some(node))).await.unwrap();
}

/// The whole content as seen through a device of `node`.
pub async fn read(fixture: &dyn Fixture, backend: &dyn Backend, volume: &NativeId) -> Vec<u8> {
    let node = &fixture.nodes()[2];
    let connector = fixture.connector(node);
    let attachment = backend.attach(&writer(volume, node)).await.unwrap();
    let device = connector.connect(volume, &attachment).await.unwrap();
    let content = std::fs::read(&device.path).unwrap();
    connector.disconnect(volume).await.unwrap();
    backend.detach(&detach(volume, Some(node))).await.unwrap();
    content
}

async fn connected(fixture: &dyn Fixture, backend: &dyn Backend, volume: &NativeId, node: &NodeId) -> Device {
    let attachment = backend.attach(&writer(volume, node)).await.unwrap();
    fixture.connector(node).connect(volume, &attachment).await.unwrap()
}

pub async fn what_one_server_wrote_another_reads(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 8)).await.unwrap().id);
    let device = connected(fixture, backend.as_ref(), &volume, &nodes[0]).await;
    assert_eq!(device.size, units(8));
    File::options().write(true).open(&device.path).unwrap().write_all_at(b"from alpha", 4 << 20).unwrap();
    fixture.connector(&nodes[0]).disconnect(&volume).await.unwrap();
    backend.detach(&detach(&volume, Some(&nodes[0]))).await.unwrap();

    let device = connected(fixture, backend.as_ref(), &volume, &nodes[1]).await;
    let mut seen = [0; 10];
    File::open(&device.path).unwrap().read_exact_at(&mut seen, 4 << 20).unwrap();
    assert_eq!(&seen, b"from alpha");
    fixture.connector(&nodes[1]).disconnect(&volume).await.unwrap();
    backend.detach(&detach(&volume, None)).await.unwrap();
    backend.delete(&volume).await.unwrap();
}

pub async fn a_device_is_made_once(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let connector = fixture.connector(&nodes[0]);
    assert_eq!(connector.find(&volume).await.unwrap(), None);
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (connector, volume, attachment) =
                (fixture.connector(&nodes[0]), volume.clone(), attachment.clone());
            tokio::spawn(async move { connector.connect(&volume, &attachment).await })
        })
        .collect();
    for task in tasks {
        let device = task.await.unwrap().unwrap();
        assert_eq!(connector.find(&volume).await.unwrap(), Some(device));
    }
    for _ in 0..2 {
        connector.disconnect(&volume).await.unwrap();
        assert_eq!(connector.find(&volume).await.unwrap(), None);
    }
    refused(connector.refresh(&volume, units(1)).await, Kind::NotFound);
}

pub async fn servers_on_one_machine_have_their_own_devices(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let mut devices = Vec::new();
    for node in &nodes[..2] {
        let many = attach(&volume, node, AccessMode::MultiNodeMultiWriter, false);
        let attachment = backend.attach(&many).await.unwrap();
        devices.push(fixture.connector(node).connect(&volume, &attachment).await.unwrap());
    }
    assert_ne!(devices[0].number, devices[1].number);
    fixture.connector(&nodes[0]).disconnect(&volume).await.unwrap();
    assert_eq!(fixture.connector(&nodes[1]).find(&volume).await.unwrap(), Some(devices[1].clone()));
    fixture.connector(&nodes[1]).disconnect(&volume).await.unwrap();
}

pub async fn a_read_only_attachment_cannot_write(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    if !backend.capabilities().readonly_attach {
        return;
    }
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    for (mode, readonly) in [(AccessMode::SingleNodeWriter, true), (AccessMode::MultiNodeReaderOnly, false)] {
        let attachment = backend.attach(&attach(&volume, &nodes[0], mode, readonly)).await.unwrap();
        assert!(attachment.readonly);
        let connector = fixture.connector(&nodes[0]);
        let device = connector.connect(&volume, &attachment).await.unwrap();
        let refused = match File::options().write(true).open(&device.path) {
            Ok(file) => file.write_all_at(b"x", 0).and_then(|()| file.sync_all()).is_err(),
            Err(_) => true,
        };
        assert!(refused);
        assert_eq!(std::fs::read(&device.path).unwrap().len(), 1 << 20);
        connector.disconnect(&volume).await.unwrap();
        backend.detach(&detach(&volume, None)).await.unwrap();
    }
}

pub async fn a_held_volume_is_taken_only_with_a_proof(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let connector = fixture.connector(&nodes[0]);
    connector.connect(&volume, &attachment).await.unwrap();
    for node in [Some(nodes[0].clone()), None] {
        let order = DetachOrder { volume: volume.clone(), node, fence: None };
        let error = backend.detach(&order).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Busy, Outcome::Unknown));
        assert!(error.to_string().contains("alpha"), "{error}");
    }
    assert_eq!(backend.get(&volume).await.unwrap().attached.len(), 1);
    connector.join().await.unwrap();
    assert!(backend.detach(&detach(&volume, None)).await.is_err(), "a restart of the node keeps what it has");

    let proof = Some(FencingProof::OutOfService);
    let order = DetachOrder { volume: volume.clone(), node: Some(nodes[0].clone()), fence: proof };
    backend.detach(&order).await.unwrap();
    backend.attach(&writer(&volume, &nodes[1])).await.unwrap();
    refused(connector.connect(&volume, &attachment).await, Kind::FailedPrecondition);
    refused(connector.refresh(&volume, units(1)).await, Kind::FailedPrecondition);
    connector.disconnect(&volume).await.unwrap();
    assert_eq!(connector.find(&volume).await.unwrap(), None);
}

pub async fn only_the_present_attachment_connects(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let connector = fixture.connector(&nodes[0]);
    let old = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let before = connector.connect(&volume, &old).await.unwrap();
    refused(fixture.connector(&nodes[1]).connect(&volume, &old).await, Kind::FailedPrecondition);
    let proof = Some(FencingProof::Operator);
    backend.detach(&DetachOrder { volume: volume.clone(), node: None, fence: proof }).await.unwrap();
    let new = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    refused(connector.connect(&volume, &old).await, Kind::FailedPrecondition);
    // The device of the old attachment may have old caches: it must not be taken over while it is open.
    let open = File::open(&before.path).unwrap();
    assert_eq!(connector.connect(&volume, &new).await.unwrap_err().kind(), Kind::Busy);
    drop(open);
    let after = connector.connect(&volume, &new).await.unwrap();
    assert_eq!(connector.find(&volume).await.unwrap(), Some(after));
    connector.disconnect(&volume).await.unwrap();
}

pub async fn a_device_grows_in_use(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    if backend.capabilities().expansion != Expansion::Online {
        return;
    }
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 4)).await.unwrap().id);
    let before = connected(fixture, backend.as_ref(), &volume, &nodes[0]).await;
    let open = File::options().read(true).write(true).open(&before.path).unwrap();
    let connector = fixture.connector(&nodes[0]);
    // The new size may show late: whoever waits for it must not be in its way.
    let expand = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        backend.expand(&volume, SizeRange::at_least(units(8))).await.unwrap();
    };
    let (device, ()) = tokio::join!(connector.refresh(&volume, units(8)), expand);
    let device = device.unwrap();
    assert_eq!((device.number, device.size), (before.number, units(8)));
    open.write_all_at(b"new end", (8 << 20) - 7).unwrap();
    drop(open);
    connector.disconnect(&volume).await.unwrap();
}

pub async fn a_device_in_use_is_kept(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let device = connected(fixture, backend.as_ref(), &volume, &nodes[0]).await;
    let connector = fixture.connector(&nodes[0]);
    let open = File::options().read(true).write(true).open(&device.path).unwrap();
    assert_eq!(connector.disconnect(&volume).await.unwrap_err().kind(), Kind::Busy);
    open.write_all_at(b"still there", 0).unwrap();
    assert_eq!(backend.detach(&detach(&volume, None)).await.unwrap_err().kind(), Kind::Busy);
    drop(open);
    connector.disconnect(&volume).await.unwrap();
    assert_eq!(connector.find(&volume).await.unwrap(), None);
    backend.detach(&detach(&volume, None)).await.unwrap();
    assert!(read(fixture, backend.as_ref(), &volume).await.starts_with(b"still there"));
}

pub async fn formatting_is_remembered(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    assert_eq!(attachment.content, Content::New);
    let connector = fixture.connector(&nodes[0]);
    let recorded = connector.content(&volume).await.unwrap();
    if recorded.is_some() {
        assert_eq!(recorded, Some(Content::New));
        for _ in 0..2 {
            connector.mark_formatting(&volume).await.unwrap();
            let other = fixture.connector(&nodes[1]);
            assert_eq!(
                other.content(&volume).await.unwrap(),
                Some(Content::Formatting),
                "every node sees it"
            );
        }
        let told = fixture.backend().await.attach(&writer(&volume, &nodes[0])).await.unwrap();
        assert_eq!((told.content, told.nonce.as_str()), (Content::Formatting, attachment.nonce.as_str()));
    }
    for _ in 0..2 {
        connector.mark_formatted(&volume).await.unwrap();
    }
    if recorded.is_some() {
        assert_eq!(connector.content(&volume).await.unwrap(), Some(Content::Data));
        refused(connector.mark_formatting(&volume).await, Kind::FailedPrecondition);
        assert_eq!(connector.content(&volume).await.unwrap(), Some(Content::Data), "never back");
    }
    let again = fixture.backend().await.attach(&writer(&volume, &nodes[0])).await.unwrap();
    assert_eq!((again.content, again.nonce), (Content::Data, attachment.nonce));
    assert_eq!(backend.get(&volume).await.unwrap().content, Content::Data);
}

pub async fn a_missing_volume_has_no_device(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let connector = fixture.connector(&nodes[0]);
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let none = id("none");
    refused(connector.connect(&none, &attachment).await, Kind::NotFound);
    refused(connector.health(&none).await, Kind::NotFound);
    refused(connector.content(&none).await, Kind::NotFound);
    refused(connector.mark_formatting(&none).await, Kind::NotFound);
    refused(connector.mark_formatted(&none).await, Kind::NotFound);
    assert_eq!(connector.find(&none).await.unwrap(), None);
    connector.disconnect(&none).await.unwrap();
    assert!(connector.health(&volume).await.unwrap().is_empty());
}
