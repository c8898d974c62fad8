//! The whole path on real block devices: created, attached, staged, written, grown, moved to another server and read there.
//!
//! Two processes of the driver are two servers' nodes. Their disks are loop devices of this machine, which tell no serial,
//! so they are found by the links that stand for udev's.

use std::fs;
use std::time::Instant;

use crate::Cloud;
use crate::driver::{Driver, Lab};
use crate::life::{Seat, mount};

const GIB: i64 = 1 << 30;

async fn node(cloud: &Cloud, lab: &Lab, number: usize) -> (Driver, Seat) {
    let (server, links) = cloud.disks(number).unwrap();
    let name = format!("node-{number}");
    let backend = format!(
        "east: {{kind: cinder, cloudsFile: {}, cloud: csi, clusterId: node-path, namePrefix: node-, \
         node: {{server: {server}, zone: nova, byId: {}}}}}",
        cloud.directory.join("clouds.yaml").display(),
        links.display()
    );
    let driver = lab.start_with("all", &name, &[], &backend).await;
    // The loop devices of this machine cannot grow an ext4 file system that is mounted.
    let seat = Seat { client: driver.client(), home: lab.root.join(name), capability: mount("xfs") };
    (driver, seat)
}

/// How long each step takes.
struct Steps(Instant, Vec<String>);

impl Steps {
    fn took(&mut self, what: &str) {
        self.1.push(format!("{what} {:.2} s", self.0.elapsed().as_secs_f64()));
        self.0 = Instant::now();
    }
}

pub async fn data_moves_between_attached_servers(cloud: Cloud) {
    let lab = Lab::new("openstack");
    let (one_driver, one) = node(&cloud, &lab, 0).await;
    let (other_driver, other) = node(&cloud, &lab, 1).await;
    assert_eq!(one.node_id().await.unwrap(), format!("node-0;nova={}", cloud.servers[0]));
    let logs = || format!("{}\n{}", one_driver.log(), other_driver.log());
    let mut steps = Steps(Instant::now(), Vec::new());

    let volume =
        one.create(&crate::name("path"), GIB, None).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("create");
    let context = one.attach(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("attach");
    one.stage(&volume, &context).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("stage");
    one.publish(&volume, &context, false).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    let target = one.target(&volume);
    let data: Vec<u8> = (0..8 << 20).map(|at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    fs::write(target.join("data"), &data).unwrap();
    steps.took("publish and write");
    one.expand(&volume, 2 * GIB).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    one.expand_node(&volume, 2 * GIB).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    let grown = nix::sys::statvfs::statvfs(&target).unwrap();
    assert!(grown.blocks() * grown.fragment_size() > 3 << 29, "{grown:?}");
    steps.took("expand");
    // Another server cannot have it meanwhile.
    other.attach(&volume).await.unwrap_err();
    one.unpublish(&volume).await.unwrap();
    one.unstage(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("refusal, unstage");
    one.detach(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("detach");

    let context = other.attach(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    other.stage(&volume, &context).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    other.publish(&volume, &context, false).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    assert!(fs::read(other.target(&volume).join("data")).unwrap() == data, "the data is another");
    steps.took("attach, stage, publish and read elsewhere");
    other.unpublish(&volume).await.unwrap();
    other.unstage(&volume).await.unwrap();
    other.detach(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    other.delete(&volume).await.unwrap_or_else(|e| panic!("{e:?}\n{}", logs()));
    steps.took("take down and delete");
    eprintln!("{}", steps.1.join(", "));
}
