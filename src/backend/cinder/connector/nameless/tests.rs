//! On made-up trees whose disks are loop devices.

use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use super::super::tests::rig::Rig;
use super::*;
use crate::host::{Host as _, Linux};
use crate::volume::FsType;

const MIB: u64 = 1 << 20;

fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

/// A new process on the node.
fn process(rig: &Rig) -> NamelessConnector {
    let source = crate::backend::cinder::config::Source::Clouds { file: "/c.yaml".into(), cloud: None };
    let mut config = CinderConfig::new(source);
    config.node.state = Some(rig.path().join("state"));
    let mut connector = NamelessConnector::new(config, "snf-42".to_owned());
    connector.disks = rig.disks();
    connector.patience = Duration::from_secs(1);
    connector
}

fn attachment(volume: &str, content: Content, disks: u32) -> Attachment {
    Attachment {
        nonce: "1".into(),
        size: Bytes::mib(16),
        content,
        readonly: false,
        connection: Connection::Nameless { volume: volume.into(), disks },
    }
}

fn new(volume: &str, disks: u32) -> Attachment {
    attachment(volume, Content::New, disks)
}

/// The server's own disk.
fn root(rig: &mut Rig) {
    rig.plug_sized("vda", "", 8 * MIB);
    std::fs::create_dir(rig.sys("vda").join("vda1")).unwrap();
    std::fs::write(rig.sys("vda").join("vda1/partition"), "1").unwrap();
}

fn write(rig: &Rig, name: &str, offset: u64, bytes: &[u8]) {
    let file = std::fs::File::options().write(true).open(rig.dev(name)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_all().unwrap();
}

/// Somebody who has the disk for itself.
fn hold(rig: &Rig, name: &str) -> std::fs::File {
    std::fs::File::options().read(true).custom_flags(nix::libc::O_EXCL).open(rig.dev(name)).unwrap()
}

/// Goes the way of a first stage.
async fn format(rig: &Rig, connector: &NamelessConnector, volume: &str, disks: u32) -> Device {
    let host = Linux::new();
    let device = connector.connect(&id(volume), &new(volume, disks)).await.unwrap();
    host.prove_blank(&device).await.unwrap();
    connector.mark_formatting(&id(volume)).await.unwrap();
    assert_eq!(connector.content(&id(volume)).await.unwrap(), Some(Content::Formatting));
    let mark = connector.mark(&id(volume)).unwrap();
    host.format_marked(&device, FsType::Ext4, mark).await.unwrap();
    connector.mark_formatted(&id(volume)).await.unwrap();
    assert_eq!(connector.content(&id(volume)).await.unwrap(), None);
    assert_eq!(std::fs::read_dir(rig.path().join("state")).unwrap().count(), 0, "nothing is left");
    device
}

#[tokio::test]
async fn a_blank_disk_is_taken_once_and_known_by_its_mark_from_then_on() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    assert!(connector.find(&id("44")).await.unwrap().is_none());
    let device = format(&rig, &connector, "44", 2).await;
    assert_eq!((device.number, device.size), (rig.number(1), Bytes::mib(16)));
    connector.disconnect(&id("44")).await.unwrap();
    for connector in [connector, process(&rig)] {
        assert_eq!(connector.find(&id("44")).await.unwrap().unwrap().number, device.number);
        let again = connector.connect(&id("44"), &attachment("44", Content::Data, 2)).await.unwrap();
        assert_eq!(again.number, device.number);
        assert_eq!(connector.refresh(&id("44"), Bytes::mib(16)).await.unwrap().number, device.number);
        assert!(connector.health(&id("44")).await.unwrap().is_empty());
        let held = hold(&rig, "vdb");
        assert_eq!(connector.disconnect(&id("44")).await.unwrap_err().kind(), Kind::Busy);
        drop(held);
        // It is nobody else's, also where it would be the only one.
        let error = connector.connect(&id("45"), &new("45", 2)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        for part in [&*Mark::of(&id("45")).to_string(), "nor is there a blank disk of 16 MiB", "vdb (16 MiB"]
        {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    rig.unplug("vdb");
    assert!(process(&rig).find(&id("44")).await.unwrap().is_none());
}

#[tokio::test]
async fn two_blank_disks_of_one_size_are_told_apart_once_one_bears_its_mark() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    rig.plug_sized("vdc", "", 24 * MIB);
    let connector = process(&rig);
    // One of another size is no doubt.
    let first = connector.connect(&id("44"), &new("44", 3)).await.unwrap();
    assert_eq!(first.number, rig.number(1));
    connector.disconnect(&id("44")).await.unwrap();
    rig.plug("vdd", "");
    for volume in ["44", "45"] {
        let error = connector.connect(&id(volume), &new(volume, 4)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        for part in ["vdb (16 MiB", "vdd (16 MiB", "empty", "delete the pods of all but one"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(!error.to_string().contains("vdc"), "{error}");
    }
    rig.unplug("vdd");
    format(&rig, &connector, "44", 3).await;
    rig.plug("vdd", "");
    let second = connector.connect(&id("45"), &new("45", 4)).await.unwrap();
    assert_eq!(second.number, rig.number(4));
    assert_eq!(connector.find(&id("44")).await.unwrap().unwrap().number, rig.number(1));
}

#[tokio::test]
async fn two_volumes_never_get_one_disk() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    let (one, other) = (id("44"), id("45"));
    let (a, b) = (new("44", 2), new("45", 2));
    let (first, second) = tokio::join!(connector.connect(&one, &a), connector.connect(&other, &b));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_blank_disk_is_taken_only_where_all_are_there() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    // The volume's own disk may be the one that is late.
    let error = connector.connect(&id("44"), &new("44", 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    for part in ["the cloud had 3 at the server", "and there are 2", "attached again"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let wanted = new("44", 3);
    let volume = id("44");
    let (found, ()) = tokio::join!(connector.connect(&volume, &wanted), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.plug_sized("vdc", "", 24 * MIB);
    });
    assert_eq!(found.unwrap().number, rig.number(1));
}

#[tokio::test]
async fn what_may_hold_something_is_never_taken() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    // A volume with data is known by its mark alone.
    let error = connector.connect(&id("44"), &attachment("44", Content::Data, 2)).await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.to_string().contains("by hand"), "{error}");
    for (offset, what) in [(4096, "in the head"), (16 * MIB - 512, "in the tail")] {
        write(&rig, "vdb", offset, b"x");
        let error = connector.connect(&id("44"), &new("44", 2)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{what}");
        assert!(error.to_string().contains("not blank") && error.to_string().contains("vdb"), "{error}");
        write(&rig, "vdb", offset, b"\0");
    }
    // Beside a blank one it may be the volume's, with an interrupted mkfs.
    write(&rig, "vdb", 0, b"x");
    rig.plug("vdc", "");
    let error = connector.connect(&id("44"), &new("44", 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("not empty"), "{error}");
    // One that somebody uses is not the volume's.
    let held = hold(&rig, "vdb");
    assert_eq!(connector.connect(&id("44"), &new("44", 3)).await.unwrap().number, rig.number(2));
    drop(held);
}

#[tokio::test]
async fn an_interrupted_mkfs_goes_on_on_the_same_disk_alone() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    connector.connect(&id("44"), &new("44", 2)).await.unwrap();
    connector.mark_formatting(&id("44")).await.unwrap();
    write(&rig, "vdb", 0, b"half a file system");
    // Another process finds it by the note, also beside a blank one.
    rig.plug("vdc", "");
    let second = process(&rig);
    let device = second.connect(&id("44"), &new("44", 3)).await.unwrap();
    assert_eq!(device.number, rig.number(1));
    assert_eq!(second.content(&id("44")).await.unwrap(), Some(Content::Formatting));
    assert_eq!(second.content(&id("45")).await.unwrap(), None);
    // It went and came back as another disk: what was done to it meanwhile nobody knows.
    std::fs::write(rig.sys("vdb").join("diskseq"), "17").unwrap();
    let third = process(&rig);
    assert_eq!(third.content(&id("44")).await.unwrap(), None);
    let error = third.connect(&id("44"), &new("44", 3)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    assert_eq!(third.mark_formatting(&id("44")).await.unwrap_err().kind(), Kind::Internal);
}

#[tokio::test]
async fn a_copy_is_not_its_source() {
    let mut rig = Rig::new();
    root(&mut rig);
    rig.plug("vdb", "");
    let connector = process(&rig);
    format(&rig, &connector, "44", 2).await;
    let copied = std::fs::read(rig.path().join("vdb.img")).unwrap();
    rig.plug_sized("vdc", "", 24 * MIB);
    write(&rig, "vdc", 0, &copied);
    // Whose disk is whose was known before the copy came.
    assert_eq!(connector.find(&id("44")).await.unwrap().unwrap().number, rig.number(1));
    let other = process(&rig);
    for error in [
        other.connect(&id("44"), &new("44", 3)).await.unwrap_err(),
        other.find(&id("44")).await.unwrap_err(),
        other.disconnect(&id("44")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(error.to_string().contains("vdb") && error.to_string().contains("vdc"), "{error}");
    }
    assert_eq!(other.health(&id("44")).await.unwrap()[0].reason, "DiskAmbiguous");
    rig.unplug("vdb");
    let error = process(&rig).connect(&id("44"), &new("44", 2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("copied from this one"), "{error}");
}

#[tokio::test]
async fn a_disk_that_goes_while_it_is_connected_is_told() {
    let mut rig = Rig::new();
    rig.plug("vdb", "");
    let connector = process(&rig);
    format(&rig, &connector, "44", 1).await;
    rig.unplug("vdb");
    assert_eq!(connector.health(&id("44")).await.unwrap()[0].reason, "DiskGone");
    connector.disconnect(&id("44")).await.unwrap();
    assert!(connector.health(&id("44")).await.unwrap().is_empty());
    assert!(connector.refresh(&id("44"), Bytes::ZERO).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn attachments_of_others_are_refused() {
    let connector = process(&Rig::new());
    for wrong in [
        Connection::Nameless { volume: "45".into(), disks: 1 },
        Connection::Disk { serial: "44".into(), device: None },
        Connection::Loop { image: "x".into() },
    ] {
        let wrong = Attachment { connection: wrong, ..new("44", 1) };
        let error = connector.connect(&id("44"), &wrong).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_node_tells_its_server_and_its_room() {
    let mut rig = Rig::new();
    root(&mut rig);
    let mut connector = process(&rig);
    let presence = connector.join().await.unwrap();
    assert_eq!(presence.identity, Some((IDENTITY.to_owned(), "42".to_owned())));
    assert_eq!((presence.topology, presence.max_volumes), (Default::default(), Some(7)));
    // Another disk that is none of ours.
    rig.plug("vdb", "");
    std::fs::create_dir(rig.sys("vdb").join("vdb1")).unwrap();
    std::fs::write(rig.sys("vdb").join("vdb1/partition"), "1").unwrap();
    assert_eq!(connector.join().await.unwrap().max_volumes, Some(6));
    let mut config = (*connector.config).clone();
    config.per_server = Some(3);
    config.node.server = Some("17".to_owned());
    config.server_key = Some("k/server".to_owned());
    config.zone_key = Some("k/zone".to_owned());
    connector = NamelessConnector { config: Arc::new(config), server: Arc::default(), ..connector };
    let presence = connector.join().await.unwrap();
    assert_eq!((presence.identity.unwrap().1.as_str(), presence.max_volumes), ("17", Some(3)));
    assert_eq!(presence.topology.0["k/server"], "17");
}
