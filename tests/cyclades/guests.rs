//! Nodes whose disks say nothing of themselves: real loop devices and mounts (root).

use std::path::Path;
use std::sync::Arc;

use cloudsim::LoopDisks;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::connector::NamelessConnector;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::backend::{Backend, Connector};
use fairlead::error::{Error, Kind};
use fairlead::host::Linux;
use fairlead::node::{Node, NodeConfig, Stage};
use fairlead::volume::{Attachment, NativeId, Topology, VolumeId};

use crate::sky::{Sky, access, off, refused, writer};

/// A server of the cloud that is this machine: its disks are loop devices that say nothing.
fn guest(sky: &Sky, disks: &Path, node: usize) -> Node {
    let source = Source::Clouds { file: "/none".into(), cloud: None };
    let mut config = CinderConfig::of(Dialect::CYCLADES, source);
    config.node.by_id = Some(disks.join("nodes").join(sky.server(node)));
    config.node.state = Some(sky.directory.path().to_owned());
    config.node.server = Some(sky.server(node));
    let connector: Arc<dyn Connector> = Arc::new(NamelessConnector::new(config, format!("worker-{node}")));
    let config = NodeConfig {
        name: format!("worker-{node}"),
        topology: Topology::default(),
        max_volumes: None,
        foreign: None,
    };
    let connectors = [("sky".parse().unwrap(), connector)].into();
    Node::new(config, Arc::new(Linux::new()), connectors, Arc::default())
}

async fn stage(node: &Node, id: &NativeId, attachment: Attachment, path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).unwrap();
    let volume = format!("sky/{id}").parse().unwrap();
    node.stage(&Stage { volume, attachment, path: path.to_owned(), access: access() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_wrote_another_reads_although_disks_say_nothing() {
    assert!(nix::unistd::geteuid().is_root(), "this test uses loop devices and mounts: run it as root");
    let mut sky = Sky::new(2).await;
    let disks = tempfile::tempdir().unwrap();
    sky.sim.show_disks(LoopDisks::new(disks.path()).unwrap().without_serials());
    let guests = [guest(&sky, disks.path(), 0), guest(&sky, disks.path(), 1)];
    let staging = |name: &str| sky.directory.path().join(name);
    let (one, two) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    let of = |id: &NativeId| format!("sky/{id}").parse::<VolumeId>().unwrap();

    let first = sky.backend.attach(&writer(&one, &sky.nodes[0])).await.unwrap();
    stage(&guests[0], &one, first.clone(), &staging("one")).await.unwrap();
    std::fs::write(staging("one").join("data"), "of the first").unwrap();
    // Another new one beside it, which is as large.
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    stage(&guests[0], &two, second, &staging("two")).await.unwrap();
    std::fs::write(staging("two").join("data"), "of the second").unwrap();
    stage(&guests[0], &one, first, &staging("one")).await.unwrap();

    for (id, place) in [(&one, "one"), (&two, "two")] {
        guests[0].unstage(&of(id), &staging(place)).await.unwrap();
        sky.backend.detach(&off(id, Some(&sky.nodes[0]))).await.unwrap();
    }
    // In the other order, so that the disks have other names than before.
    for (id, place, text) in [(&two, "three", "of the second"), (&one, "four", "of the first")] {
        let attachment = sky.backend.attach(&writer(id, &sky.nodes[1])).await.unwrap();
        stage(&guests[1], id, attachment, &staging(place)).await.unwrap();
        assert_eq!(std::fs::read_to_string(staging(place).join("data")).unwrap(), text);
    }
    for (id, place) in [(&two, "three"), (&one, "four")] {
        guests[1].unstage(&of(id), &staging(place)).await.unwrap();
        sky.backend.detach(&off(id, None)).await.unwrap();
        sky.backend.delete(id).await.unwrap();
    }
    sky.check(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_new_volumes_of_one_size_that_come_at_once_are_refused_until_one_is_gone() {
    assert!(nix::unistd::geteuid().is_root(), "this test uses loop devices and mounts: run it as root");
    let mut sky = Sky::new(1).await;
    let disks = tempfile::tempdir().unwrap();
    sky.sim.show_disks(LoopDisks::new(disks.path()).unwrap().without_serials());
    let guest = guest(&sky, disks.path(), 0);
    let (one, two) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    let first = sky.backend.attach(&writer(&one, &sky.nodes[0])).await.unwrap();
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    let place = sky.directory.path().join("one");
    for (id, attachment) in [(&one, &first), (&two, &second)] {
        let error = refused(stage(&guest, id, attachment.clone(), &place).await, Kind::FailedPrecondition);
        assert!(
            error.contains("several disks") && error.contains("delete the pods of all but one"),
            "{error}"
        );
    }
    sky.backend.detach(&off(&two, Some(&sky.nodes[0]))).await.unwrap();
    // What it was told is that one disk is enough, and that is the one that is left.
    stage(&guest, &one, first, &place).await.unwrap();
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    let other = sky.directory.path().join("two");
    stage(&guest, &two, second, &other).await.unwrap();
    for (id, place) in [(&one, place), (&two, other)] {
        guest.unstage(&format!("sky/{id}").parse().unwrap(), &place).await.unwrap();
        sky.backend.detach(&off(id, None)).await.unwrap();
    }
    sky.check(&[&one, &two]);
}
