//! On made-up trees; whole disks in a virtual machine are tested in tests/vm.

use super::finder::{Found, Wanted};
use super::*;
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
