//! On made-up trees; whole disks in a virtual machine are tested in tests/vm.

pub(super) mod rig;

use std::os::unix::fs::OpenOptionsExt as _;

use super::finder::{Found, Wanted};
use super::*;
use crate::backend::cinder::dialect::Dialect;
use crate::host::disks::Identifier;

const VOLUME: &str = "cb49b381-9012-40cb-b8ee-80c19a4801b5";
/// Another volume with the same first 20 characters.
const TWIN: &str = "cb49b381-9012-40cb-b000-000000000000";
const OTHER: &str = "11111111-9012-40cb-b8ee-80c19a4801b5";

fn disk(name: &str, says: &[&str]) -> Disk {
    Disk {
        name: name.to_owned(),
        path: format!("/dev/{name}").into(),
        number: 0,
        size: 1 << 30,
        sequence: Some(1),
        bus: Bus::Virtio,
        identifiers: says
            .iter()
            .map(|text| Identifier { source: "serial", text: (*text).to_owned() })
            .collect(),
        silent: None,
        fault: None,
        partitions: false,
    }
}

fn id(text: &str) -> NativeId {
    text.parse().unwrap()
}

/// The names of the disks that are found.
fn found(volume: &str, disks: Vec<Disk>) -> Vec<String> {
    taken(volume, disks, "")
}

fn taken(volume: &str, disks: Vec<Disk>, taken: &str) -> Vec<String> {
    let volume = id(volume);
    match Wanted::new(&volume).choose(disks, |disk| disk.name == taken) {
        Found::None { .. } => Vec::new(),
        Found::One(disk) => vec![disk.name],
        Found::Several(disks) => disks.into_iter().map(|disk| disk.name).collect(),
    }
}

#[test]
fn a_disk_is_told_by_what_it_says_of_itself() {
    let short = &VOLUME[..20];
    let binary = VOLUME.replace('-', "");
    for says in [VOLUME, short, binary.as_str()] {
        assert_eq!(
            found(VOLUME, vec![disk("vda", &[]), disk("vdb", &[says]), disk("vdc", &[OTHER])]),
            ["vdb"]
        );
    }
    for says in [&VOLUME[..19], &VOLUME[..21], OTHER, "", "QM00001"] {
        assert!(found(VOLUME, vec![disk("vdb", &[says])]).is_empty(), "{says:?}");
    }
    // Ids that are not OpenStack's, such as numbers, are compared whole.
    assert_eq!(found("44", vec![disk("vdb", &["44"]), disk("vdc", &["440"])]), ["vdb"]);
}

#[test]
fn a_shared_beginning_is_told_apart_or_refused() {
    let short = &VOLUME[..20];
    // Two disks that show the beginning alone.
    assert_eq!(found(VOLUME, vec![disk("vdb", &[short]), disk("vdc", &[short])]), ["vdb", "vdc"]);
    // One of them is known to be the other volume's.
    assert_eq!(taken(VOLUME, vec![disk("vdb", &[short]), disk("vdc", &[short])], "vdb"), ["vdc"]);
    assert!(taken(VOLUME, vec![disk("vdb", &[short])], "vdb").is_empty());
    // One of them says the whole.
    assert_eq!(found(VOLUME, vec![disk("vdb", &[short]), disk("sda", &[VOLUME, short])]), ["sda"]);
    // A disk that says the whole of another id is that one's, whatever else it says.
    assert!(found(VOLUME, vec![disk("sda", &[TWIN, short])]).is_empty());
    assert!(found(VOLUME, vec![disk("sda", &[short, TWIN])]).is_empty());
    // Nothing that is known makes two whole ids one.
    assert_eq!(found(VOLUME, vec![disk("sda", &[VOLUME]), disk("sdb", &[VOLUME])]), ["sda", "sdb"]);
}

#[test]
fn links_are_believed_unless_their_disk_contradicts() {
    let volume = id(VOLUME);
    let wanted = Wanted::new(&volume);
    let names = wanted.links();
    let short = format!("virtio-{}", &VOLUME[..20]);
    assert!(
        names.contains(&short) && names.contains(&format!("wwn-0x{}", VOLUME.replace('-', ""))),
        "{names:?}"
    );
    let link = std::path::Path::new("/by-id/x");
    for says in [&[][..], &["QM00001"], &[VOLUME], &[&VOLUME[..20]]] {
        wanted.linked(disk("loop3", says), link).unwrap();
    }
    for says in [OTHER, &OTHER[..20], TWIN] {
        assert_eq!(wanted.linked(disk("vdb", &[says]), link).unwrap_err().kind(), Kind::FailedPrecondition);
    }
}

#[test]
fn serials_of_volumes_are_told_from_others() {
    let binary = VOLUME.replace('-', "");
    for text in [VOLUME, &VOLUME[..20], binary.as_str()] {
        assert!(finder::is_volume(text), "{text}");
    }
    for text in ["", "QM00001", "cb49b381-9012-40cb-", "0123456789abcdef0123", "zb49b381-9012-40cb-b"] {
        assert!(!finder::is_volume(text), "{text}");
    }
}

#[test]
fn a_disk_is_replaced_only_by_one_that_says_so() {
    let binary = VOLUME.replace('-', "");
    let says = |texts: &[&str]| disk("sda", texts).identifiers;
    for (was, now, replaced) in [
        (&[VOLUME][..], &[OTHER][..], true),
        (&[VOLUME, "QM1"], &["QM1", TWIN], true),
        (&[&VOLUME[..20]], &[&OTHER[..20]], true),
        (&["QM1"], &[OTHER], true),
        (&[VOLUME], &[VOLUME], false),
        (&[VOLUME], &[], false),
        (&[VOLUME], &["QM2"], false),
        // Part of what it said, more than it said, or the same in another form.
        (&[VOLUME, "QM1"], &[VOLUME], false),
        (&[VOLUME], &[VOLUME, "QM1", OTHER], false),
        (&[VOLUME], &[&VOLUME[..20]], false),
        (&[VOLUME], &[&binary], false),
    ] {
        assert_eq!(finder::is_replaced(&disk("sda", was), &says(now)), replaced, "{was:?} {now:?}");
    }
}

/// A node of OpenStack's, or of another kind of cloud, on a made-up sysfs.
struct Rig {
    place: rig::Rig,
    connector: CinderConnector,
}

impl Rig {
    fn new() -> Self {
        Self::of(Dialect::OPENSTACK)
    }

    fn of(dialect: &'static Dialect) -> Self {
        let place = rig::Rig::new();
        let source = crate::backend::cinder::config::Source::Clouds { file: "/c.yaml".into(), cloud: None };
        let mut connector = CinderConnector::new(CinderConfig::of(dialect, source), Arc::default());
        connector.disks = place.disks();
        connector.patience = Duration::from_secs(2);
        Self { place, connector }
    }

    /// Plugs in a disk of virtio that tells this serial.
    fn plug(&mut self, name: &str, serial: &str) {
        self.place.plug(name, serial);
    }

    /// Plugs in a disk of a bus, the kernel's so manieth.
    fn plug_on(&mut self, bus: &str, name: &str, sequence: u64) {
        self.place.plug_on(bus, name, sequence, 16 << 20);
    }

    fn unplug(&self, name: &str) {
        self.place.unplug(name);
    }

    /// The same node after a restart of the driver: the kernel's memory is all that is left.
    fn restarted(&self) -> CinderConnector {
        CinderConnector { known: Arc::default(), ..self.connector.clone() }
    }
}

fn attachment(volume: &str) -> Attachment {
    Attachment {
        nonce: "1".into(),
        size: Bytes::mib(16),
        content: Content::New,
        readonly: false,
        connection: Connection::Disk { serial: volume.into(), device: Some("/dev/vdz".into()) },
    }
}

#[tokio::test]
async fn a_disk_is_connected_found_and_let_go_of() {
    let mut rig = Rig::new();
    rig.plug("vdb", &VOLUME[..20]);
    rig.plug("vdc", &OTHER[..20]);
    let (volume, connector) = (id(VOLUME), rig.connector.clone());
    let device = connector.connect(&volume, &attachment(VOLUME)).await.unwrap();
    assert_eq!((device.path, device.size), (rig.place.path().join("dev/vdb"), Bytes::mib(16)));
    assert_eq!(connector.find(&volume).await.unwrap().unwrap().number, device.number);
    assert_eq!(connector.refresh(&volume, Bytes::mib(16)).await.unwrap().number, device.number);
    let small = connector.refresh(&volume, Bytes::mib(17)).await.unwrap_err();
    assert_eq!(small.kind(), Kind::Unavailable, "{small:?}");
    assert!(connector.health(&volume).await.unwrap().is_empty());
    // While somebody has it, it is not let go of.
    let held = std::fs::File::options()
        .read(true)
        .custom_flags(nix::libc::O_EXCL)
        .open(rig.place.path().join("dev/vdb"))
        .unwrap();
    assert_eq!(connector.disconnect(&volume).await.unwrap_err().kind(), Kind::Busy);
    drop(held);
    connector.disconnect(&volume).await.unwrap();
    connector.disconnect(&volume).await.unwrap();
    // A disk that goes while it is connected is told; one that was let go of is not missed.
    connector.connect(&volume, &attachment(VOLUME)).await.unwrap();
    rig.unplug("vdb");
    assert_eq!(connector.health(&volume).await.unwrap()[0].reason, "DiskGone");
    connector.disconnect(&volume).await.unwrap();
    assert!(connector.health(&volume).await.unwrap().is_empty());
    assert!(connector.find(&volume).await.unwrap().is_none());
    assert!(connector.refresh(&volume, Bytes::ZERO).await.unwrap_err().is_not_found());
    assert_eq!(connector.content(&volume).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let mut rig = Rig::new();
    rig.plug("vdc", &OTHER[..20]);
    let error = rig.connector.connect(&id(VOLUME), &attachment(VOLUME)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    for part in [VOLUME, "cb49b381-9012-40cb-b\"", "vdc (16 MiB, serial \"11111111-9012-40cb-b\")"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for wrong in [
        attachment(OTHER),
        Attachment { connection: Connection::Loop { image: "x".into() }, ..attachment(VOLUME) },
    ] {
        let error = rig.connector.connect(&id(VOLUME), &wrong).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
}

#[tokio::test]
async fn two_disks_of_one_beginning_are_refused_until_one_is_known() {
    let mut rig = Rig::new();
    let (first, second) = (id(VOLUME), id(TWIN));
    rig.plug("vdb", &VOLUME[..20]);
    let one = rig.connector.connect(&first, &attachment(VOLUME)).await.unwrap();
    rig.plug("vdc", &TWIN[..20]);
    let other = rig.connector.connect(&second, &attachment(TWIN)).await.unwrap();
    assert!(one.number != other.number);
    assert_eq!(rig.connector.find(&first).await.unwrap().unwrap().number, one.number);
    // Another process has connected neither.
    rig.connector.known = Arc::default();
    let error = rig.connector.connect(&second, &attachment(TWIN)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("vdb") && error.to_string().contains("vdc"), "{error}");
    for result in [rig.connector.find(&first).await.map(drop), rig.connector.disconnect(&first).await] {
        assert_eq!(result.unwrap_err().kind(), Kind::FailedPrecondition);
    }
    assert_eq!(rig.connector.health(&first).await.unwrap()[0].reason, "DiskAmbiguous");
}

#[tokio::test]
async fn links_lead_to_disks_that_tell_nothing() {
    let mut rig = Rig::new();
    rig.plug("vdb", "");
    rig.plug("vdc", &OTHER[..20]);
    let links = rig.place.path().join("by-id");
    let mut config = (*rig.connector.config).clone();
    config.node.by_id = Some(links.clone());
    rig.connector.config = Arc::new(config);
    let link = links.join(format!("virtio-{}", &VOLUME[..20]));
    let dev = rig.place.path().join("dev");
    std::os::unix::fs::symlink(dev.join("vdb"), &link).unwrap();
    let device = rig.connector.connect(&id(VOLUME), &attachment(VOLUME)).await.unwrap();
    assert_eq!(device.number, rig.place.number(0));
    rig.connector.disconnect(&id(VOLUME)).await.unwrap();
    // One that leads to another volume's disk is not followed, nor one to nothing.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(dev.join("vdc"), &link).unwrap();
    let error = rig.connector.connect(&id(VOLUME), &attachment(VOLUME)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(dev.join("gone"), &link).unwrap();
    let error = rig.connector.connect(&id(VOLUME), &attachment(VOLUME)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("nor a link of that name in"), "{error}");
}

/// As the cloud tells it where names are right.
fn named(volume: &str, device: &str) -> Attachment {
    let connection = Connection::Disk { serial: volume.into(), device: Some(device.into()) };
    Attachment { connection, ..attachment(volume) }
}

#[tokio::test]
async fn on_xen_the_name_that_the_cloud_tells_is_the_volumes_as_long_as_the_disk_is_there() {
    let mut rig = Rig::of(Dialect::RACKSPACE);
    rig.plug_on("xen", "xvdb", 7);
    rig.plug_on("xen", "xvdc", 8);
    let (volume, other) = (id(VOLUME), id(OTHER));
    assert!(rig.connector.find(&volume).await.unwrap().is_none(), "nobody has told yet");
    let device = rig.connector.connect(&volume, &named(VOLUME, "/dev/xvdb")).await.unwrap();
    assert_eq!((device.path, device.size), (rig.place.path().join("dev/xvdb"), Bytes::mib(16)));
    let restarted = rig.restarted();
    assert_eq!(restarted.find(&volume).await.unwrap().unwrap().number, device.number);
    assert_eq!(
        restarted.connect(&volume, &named(VOLUME, "/dev/xvdb")).await.unwrap().number,
        device.number,
        "it may be told again"
    );
    // The cloud changes its mind, or means another volume's disk.
    let error = restarted.connect(&volume, &named(VOLUME, "/dev/xvdc")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    let error = restarted.connect(&other, &named(OTHER, "/dev/xvdb")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("no other volume's"), "{error}");
    // It is let go of, unplugged, and another one comes in its place.
    restarted.disconnect(&volume).await.unwrap();
    rig.unplug("xvdb");
    assert!(rig.connector.find(&volume).await.unwrap().is_none());
    rig.plug_on("xen", "xvdb", 9);
    assert!(rig.connector.find(&volume).await.unwrap().is_none(), "another disk of that name is another's");
    let device = rig.connector.connect(&other, &named(OTHER, "/dev/xvdb")).await.unwrap();
    assert_eq!(rig.connector.find(&other).await.unwrap().unwrap().number, device.number);
    let links = crate::host::files::names(&rig.place.path().join("dev/fairlead")).unwrap();
    assert_eq!(links, [format!("{OTHER}@9")], "what is gone is forgotten");
}

#[tokio::test]
async fn a_name_is_not_believed_where_anything_speaks_against_it() {
    let mut rig = Rig::of(Dialect::RACKSPACE);
    rig.plug_on("virtio", "xvdb", 1);
    rig.plug_on("xen", "xvdc", 2);
    rig.plug_on("xen", "xvdd", 3);
    let volume = id(VOLUME);
    let large = Attachment { size: Bytes::gib(75), ..named(VOLUME, "/dev/xvdc") };
    let _held = std::fs::File::options()
        .read(true)
        .custom_flags(nix::libc::O_EXCL)
        .open(rig.place.path().join("dev/xvdd"))
        .unwrap();
    for (told, part) in [
        (named(VOLUME, "/dev/xvdb"), "none of Xen's disks"),
        (large, "the volume has 75 GiB"),
        (named(VOLUME, "/dev/xvdd"), "in use here for something else"),
        (named(VOLUME, "/dev/vdb"), "only one of Xen's"),
        (named(VOLUME, "/dev/xvda"), "only one of Xen's"),
    ] {
        let error = rig.connector.connect(&volume, &told).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
        assert!(error.to_string().contains(part) && error.to_string().contains(VOLUME), "{part}: {error}");
    }
    assert!(rig.connector.find(&volume).await.unwrap().is_none());
    // A kernel that does not count disks.
    std::fs::remove_file(rig.place.path().join("sys/block/xvdc/diskseq")).unwrap();
    let error = rig.connector.connect(&volume, &named(VOLUME, "/dev/xvdc")).await.unwrap_err();
    assert!(error.to_string().contains("does not count its disks"), "{error}");
}
