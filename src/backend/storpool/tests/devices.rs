//! The node's side, on links to loop devices.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::world::{id, told};
use crate::backend::Connector;
use crate::backend::storpool::{StorpoolConfig, StorpoolConnector};
use crate::error::{Kind, Outcome};
use crate::host::loopdev::{self, LoopDevice};
use crate::volume::{Attachment, Bytes, Connection, Content};

/// A node's links, and loop devices that they can lead to.
struct Node {
    directory: tempfile::TempDir,
    devices: Vec<LoopDevice>,
}

impl Node {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for kind in ["byid", "byname"] {
            std::fs::create_dir(directory.path().join(kind)).unwrap();
        }
        Self { directory, devices: Vec::new() }
    }

    /// A device of so many bytes.
    fn device(&mut self, size: u64) -> PathBuf {
        let image = self.directory.path().join(format!("{}.img", self.devices.len()));
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        self.devices.push(loopdev::attach(&image, false, "fairlead-test").unwrap());
        self.devices.last().unwrap().path.clone()
    }

    fn link(&self, place: &str, to: &Path) {
        let link = self.directory.path().join(place);
        if link.is_symlink() {
            std::fs::remove_file(&link).unwrap();
        }
        symlink(to, link).unwrap();
    }

    fn connector(&self) -> StorpoolConnector {
        let conf_file = self.directory.path().join("storpool.conf");
        let mut config = StorpoolConfig { conf_file, ..StorpoolConfig::default() };
        config.node.by_id = self.directory.path().join("byid");
        config.node.by_name = self.directory.path().join("byname");
        StorpoolConnector::new(config, "node12".to_owned()).with_patience(Duration::from_millis(300))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for device in &self.devices {
            loopdev::detach(device, Duration::from_secs(5)).unwrap();
        }
    }
}

fn attachment(size: u64) -> Attachment {
    Attachment {
        nonce: "12-x".into(),
        size: Bytes::new(size),
        content: Content::New,
        readonly: false,
        connection: Connection::Storpool { global_id: "d.n.a1".into(), name: Some("csi--v".into()) },
    }
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[tokio::test]
async fn a_device_is_found_by_both_links_and_proved_by_its_size() {
    if !root() {
        return eprintln!("SKIPPED: devices need root");
    }
    let mut node = Node::new();
    let (device, volume) = (node.device(1 << 20), id("csi--v"));
    let connector = node.connector();
    assert_eq!(connector.find(&volume).await.unwrap(), None);
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(1 << 20)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("byid/d.n.a1") && text.contains("storpool_block"), "{text}");
    // It comes while it is waited for.
    let connecting = connector.clone().with_patience(Duration::from_secs(10));
    let order = attachment(1 << 20);
    let (found, ()) = tokio::join!(connecting.connect(&volume, &order), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        node.link("byid/d.n.a1", &device);
        node.link("byname/csi--v", &device);
    });
    let found = found.unwrap();
    assert_eq!((found.path.clone(), found.size), (device.clone(), Bytes::mib(1)));
    assert_eq!(connector.find(&volume).await.unwrap(), Some(found));
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(2 << 20)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("1 MiB") && text.contains("2 MiB"), "{text}");
    // A link that an earlier volume left.
    let other = node.device(1 << 20);
    node.link("byname/csi--v", &other);
    let (kind, outcome, text) = told(connector.connect(&volume, &attachment(1 << 20)).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("earlier volume"), "{text}");
    for wrong in [id("csi--w"), id("d.n.a2")] {
        assert_eq!(told(connector.connect(&wrong, &attachment(1 << 20)).await).0, Kind::InvalidArgument);
    }
}

#[tokio::test]
async fn a_link_that_leads_nowhere_or_to_no_device_is_no_device() {
    let node = Node::new();
    let connector = node.connector();
    node.link("byname/csi--v", Path::new("/dev/no-such"));
    assert_eq!(connector.find(&id("csi--v")).await.unwrap(), None);
    connector.disconnect(&id("csi--v")).await.unwrap();
    assert_eq!(told(connector.refresh(&id("csi--v"), Bytes::mib(1)).await).0, Kind::NotFound);
    node.link("byname/csi--v", Path::new("/dev/null"));
    assert_eq!(told(connector.find(&id("csi--v")).await).0, Kind::FailedPrecondition);
}

#[tokio::test]
async fn a_node_tells_its_number_and_no_more() {
    let node = Node::new();
    let connector = node.connector();
    let (kind, _, text) = told(connector.join().await);
    assert!(
        kind == Kind::FailedPrecondition && text.contains("SP_OURID") && text.contains("node12"),
        "{text}"
    );
    let conf = "SP_AUTH_TOKEN=1\nSP_CLUSTER_ID=d.N\n[node11]\nSP_OURID=11\n[node12]\nSP_OURID=12\n";
    std::fs::write(node.directory.path().join("storpool.conf"), conf).unwrap();
    let presence = connector.join().await.unwrap();
    assert_eq!(presence.identity, Some(("storpool".to_owned(), "d.n.12".to_owned())));
    assert_eq!(presence.max_volumes, Some(1024));
}
