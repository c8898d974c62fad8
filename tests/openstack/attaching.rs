//! Attaching against the cloud: what is answered is so on both sides, whatever goes wrong on the way.
//!
//! The faults are ordered in the cloud's `faults` directory, which a real cloud does not have. Nobody else may attach
//! while these run.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use fairlead::backend::cinder::IDENTITY;
use fairlead::backend::cinder::model::Status;
use fairlead::backend::{AttachOrder, Backend, DetachOrder};
use fairlead::error::{Kind, Outcome};
use fairlead::volume::{Access, AccessKind, AccessMode, Connection, FsType, MountFlags, NativeId, NodeId};

use crate::Cloud;
use crate::volumes::{House, order, parameters, since};

fn node(server: &str) -> NodeId {
    NodeId::new("worker-1", [(IDENTITY.to_owned(), server.to_owned())].into()).unwrap()
}

fn attach(volume: &NativeId, server: &str) -> AttachOrder {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    let access = Access { kind, mode: AccessMode::SingleNodeWriter };
    AttachOrder { volume: volume.clone(), node: node(server), access, readonly: false }
}

fn detach(volume: &NativeId, server: &str) -> DetachOrder {
    DetachOrder { volume: volume.clone(), node: Some(node(server)), fence: None }
}

/// An ordered fault, taken back when it is dropped.
struct Fault(PathBuf);

impl Fault {
    fn order(cloud: &Cloud, operation: &str, times: u32) -> Self {
        let file = cloud.directory.join("faults").join(operation).join("fail");
        std::fs::write(&file, times.to_string()).unwrap();
        Self(file)
    }

    /// Whether it has happened as often as it was ordered.
    fn happened(&self) -> bool {
        !self.0.exists()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // It removes itself when it has happened.
        if self.0.exists() {
            std::fs::remove_file(&self.0).unwrap();
        }
    }
}

/// Reserves a volume for a server in Cinder alone, as an attach that broke off leaves it.
#[allow(clippy::disallowed_methods, reason = "the cloud's own client, for what the driver never does")]
fn reserve(cloud: &Cloud, volume: &NativeId, server: &str) {
    let output = Command::new(cloud.directory.join("../venv/bin/openstack"))
        .env("OS_CLIENT_CONFIG_FILE", cloud.directory.join("clouds.yaml"))
        .args(["--os-cloud", "csi", "--os-volume-api-version", "3.54", "volume", "attachment", "create"])
        .args([volume.as_str(), "--server", server, "--mode", "rw"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl House {
    /// What Cinder and Nova say.
    async fn sides(&self, volume: &NativeId, server: &str) -> (Status, usize, bool) {
        let seen = self.client.volume(volume.as_str()).await.unwrap();
        let listed = self.client.server_volumes(server).await.unwrap();
        let listed = listed.iter().any(|one| one.volume_id == volume.as_str());
        (seen.status, seen.attachments.len(), listed)
    }
}

pub async fn a_volume_is_attached_once_and_found_again(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let volume = house.backend.create(&order("att-1", 1)).await.unwrap().id;
    let before = house.requests();
    let first = house.backend.attach(&attach(&volume, &server)).await.unwrap();
    let (count, calls) = since(&before, &house.requests());
    println!("attach: {count} requests ({calls})");
    assert_eq!(house.sides(&volume, &server).await, (Status::InUse, 1, true));
    let Connection::Disk { serial, .. } = &first.connection else { panic!("{first:?}") };
    assert_eq!(serial, volume.as_str());

    let before = house.requests();
    assert_eq!(house.backend.attach(&attach(&volume, &server)).await.unwrap(), first);
    assert_eq!(since(&before, &house.requests()).0, 1);
    // Another process knows nothing, and asks both sides.
    assert_eq!(house.again().await.attach(&attach(&volume, &server)).await.unwrap().nonce, first.nonce);
    let none = "11111111-2222-3333-4444-555555555555";
    let error = house.backend.attach(&attach(&volume, none)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    assert!(error.to_string().contains("worker-1"), "{error}");

    house.backend.detach(&detach(&volume, none)).await.unwrap();
    assert_eq!(house.sides(&volume, &server).await, (Status::InUse, 1, true));
    let before = house.requests();
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    let (count, calls) = since(&before, &house.requests());
    println!("detach: {count} requests ({calls})");
    assert_eq!(house.sides(&volume, &server).await, (Status::Available, 0, false));
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    let error = house.backend.attach(&attach(&volume, none)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::NotFound, Outcome::Refused), "{error}");
    house.backend.delete(&volume).await.unwrap();
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    house.end().await;
}

pub async fn a_volume_that_is_not_attached_at_once_is_attached_again(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let volume = house.backend.create(&order("att-2", 1)).await.unwrap().id;
    for operation in ["nova_attach", "initialize_connection"] {
        let fault = Fault::order(&cloud, operation, 1);
        let began = Instant::now();
        house.backend.attach(&attach(&volume, &server)).await.unwrap();
        println!("{operation} failed once: attached after {:?}", began.elapsed());
        assert!(fault.happened(), "{operation}");
        assert_eq!(house.sides(&volume, &server).await, (Status::InUse, 1, true));
        house.backend.detach(&detach(&volume, &server)).await.unwrap();
    }
    let fault = Fault::order(&cloud, "nova_attach", 9);
    let error = house.backend.attach(&attach(&volume, &server)).await.unwrap_err();
    drop(fault);
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
    assert!(error.to_string().contains("failed 4 times"), "{error}");
    assert_eq!(house.sides(&volume, &server).await, (Status::Available, 0, false));
    house.backend.delete(&volume).await.unwrap();
    house.end().await;
}

pub async fn a_volume_that_stays_attached_is_detached_again(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let volume = house.backend.create(&order("att-3", 1)).await.unwrap().id;
    house.backend.attach(&attach(&volume, &server)).await.unwrap();
    let fault = Fault::order(&cloud, "nova_detach", 1);
    let began = Instant::now();
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    println!("nova_detach failed once: detached after {:?}", began.elapsed());
    assert!(fault.happened());
    assert_eq!(house.sides(&volume, &server).await, (Status::Available, 0, false));
    house.backend.delete(&volume).await.unwrap();
    house.end().await;
}

pub async fn a_server_is_attached_no_more_than_it_may_hold(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let there = house.client.server_volumes(&server).await.unwrap().len();
    let limit = u32::try_from(there).unwrap() + 2;
    let full = House::open(&cloud, "csi", |config| {
        config.per_server = Some(limit);
        config.cluster = house.config.cluster.clone();
    })
    .await;
    let mut volumes = Vec::new();
    for n in 0..4 {
        volumes.push(house.backend.create(&order(&format!("att-4-{n}"), 1)).await.unwrap().id);
    }
    let attach = |volume: NativeId| {
        let (backend, server) = (std::sync::Arc::clone(&full.backend), server.clone());
        tokio::spawn(async move { backend.attach(&attach(&volume, &server)).await })
    };
    let mut refused = 0;
    for attached in volumes.iter().cloned().map(attach).collect::<Vec<_>>() {
        if let Err(error) = attached.await.unwrap() {
            assert_eq!(
                (error.kind(), error.outcome()),
                (Kind::ResourceExhausted, Outcome::Refused),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("holds {limit} of {limit} volumes")), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    for volume in volumes {
        full.backend.detach(&DetachOrder { volume: volume.clone(), node: None, fence: None }).await.unwrap();
        house.backend.delete(&volume).await.unwrap();
    }
    house.end().await;
}

pub async fn a_left_over_attachment_is_removed_and_the_volume_attached(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let volume = house.backend.create(&order("att-5", 1)).await.unwrap().id;
    reserve(&cloud, &volume, &server);
    assert_eq!(house.sides(&volume, &server).await, (Status::Reserved, 0, false));
    let began = Instant::now();
    let attachment = house.backend.attach(&attach(&volume, &server)).await.unwrap();
    println!("attached over a left-over after {:?}", began.elapsed());
    assert!(!attachment.nonce.is_empty());
    assert_eq!(house.sides(&volume, &server).await, (Status::InUse, 1, true));
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    reserve(&cloud, &volume, &server);
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    assert_eq!(house.sides(&volume, &server).await, (Status::Available, 0, false));
    house.backend.delete(&volume).await.unwrap();
    house.end().await;
}

pub async fn a_shared_volume_is_attached_where_both_may_have_it(cloud: Cloud) {
    let server = cloud.servers[0].clone();
    let house = House::open(&cloud, "csi", |_| {}).await;
    let mut wanted = order("att-6", 1);
    wanted.parameters = parameters("type", "multiattach");
    wanted.access = vec![Access { kind: AccessKind::Block, mode: AccessMode::MultiNodeMultiWriter }];
    let volume = house.backend.create(&wanted).await.unwrap().id;
    let shared = AttachOrder { access: wanted.access[0].clone(), ..attach(&volume, &server) };
    let first = house.backend.attach(&shared).await.unwrap();
    assert_eq!(house.backend.attach(&shared).await.unwrap(), first);
    let seen = house.client.volume(volume.as_str()).await.unwrap();
    assert!(
        seen.multiattach && seen.metadata.values().any(|note| note == "multi-node-multi-writer"),
        "{seen:?}"
    );
    // For one node alone it is not given to a second one.
    let error =
        house.backend.attach(&attach(&volume, "11111111-2222-3333-4444-555555555555")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    house.backend.detach(&detach(&volume, &server)).await.unwrap();
    house.backend.delete(&volume).await.unwrap();
    house.end().await;
}
