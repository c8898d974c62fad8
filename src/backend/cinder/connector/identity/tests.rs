use super::*;
use crate::http::fake::{Fake, Reply};

const SERVER: &str = "8c1e7a52-0f2d-4c3b-9a51-6d2f1e0b7c44";
/// The same bytes, shown the other way round.
const SWAPPED: &str = "527a1e8c-2d0f-3b4c-9a51-6d2f1e0b7c44";
const OTHER: &str = "0a1b2c3d-0f2d-4c3b-9a51-6d2f1e0b7c44";

fn settings() -> NodeSettings {
    NodeSettings::default()
}

fn firmware(uuid: &str, product: &str) -> Firmware {
    Firmware { uuid: Some(uuid.to_owned()), words: vec!["QEMU".to_owned(), product.to_owned()] }
}

fn drive(uuid: &str, zone: &str) -> Answer {
    said(
        Source::ConfigDrive,
        Document { uuid: Some(uuid.to_owned()), availability_zone: Some(zone.to_owned()) },
    )
    .unwrap()
}

fn told(answers: Vec<Answer>) -> Told {
    Told { answers, silent: vec!["metadata: nobody answers".to_owned()] }
}

#[test]
fn the_firmware_is_believed_where_it_names_openstack() {
    for (shown, expected) in [(SERVER, SERVER), (&*SERVER.to_uppercase(), SERVER), (SWAPPED, SERVER)] {
        let told = told(vec![judge(&firmware(shown, "OpenStack Nova")).unwrap()]);
        assert_eq!(told.conclude(&settings(), false).unwrap().server, expected, "{shown}");
    }
    let doubtful = told(vec![judge(&firmware(SERVER, "Standard PC (Q35 + ICH9, 2009)")).unwrap()]);
    let error = doubtful.conclude(&settings(), false).unwrap_err().to_string();
    for part in [SERVER, "does not name OpenStack", "metadata: nobody answers", "node.server"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let only = NodeSettings { sources: vec![Source::Dmi], ..settings() };
    assert_eq!(doubtful.conclude(&only, false).unwrap().server, SERVER);
}

#[test]
fn nonsense_of_the_firmware_is_no_id() {
    for nonsense in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "Not Settable",
        "44444444-4444-4444-4444-444444444444",
    ] {
        judge(&firmware(nonsense, "OpenStack Nova")).unwrap_err();
    }
    assert!(judge(&Firmware::default()).unwrap_err().is_not_found());
}

#[test]
fn sources_must_agree() {
    // Read the other way round, the firmware says the same; what does not name OpenStack is no contradiction.
    let both_random = "52004e8c-0f2d-4c4b-9a51-6d2f1e0b7c44";
    let turned = ServerId::parse(both_random).unwrap().swapped();
    for (shown, product, drive_says) in [
        (SERVER, "OpenStack Nova", SERVER),
        (SWAPPED, "OpenStack Nova", SERVER),
        (both_random, "OpenStack Nova", turned.as_str()),
        (OTHER, "PowerEdge R640", SERVER),
    ] {
        let told = told(vec![judge(&firmware(shown, product)).unwrap(), drive(drive_says, "az1")]);
        let found = told.conclude(&settings(), true).unwrap();
        assert_eq!((found.server.as_str(), found.zone.as_deref()), (drive_says, Some("az1")), "{shown}");
    }
    let told = told(vec![judge(&firmware(OTHER, "OpenStack Nova")).unwrap(), drive(SERVER, "az1")]);
    let error = told.conclude(&settings(), false).unwrap_err().to_string();
    for part in ["contradict", "dmi: 0a1b2c3d", "configDrive: 8c1e7a52", "node.sources"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let set = NodeSettings { server: Some(SERVER.to_owned()), ..settings() };
    assert_eq!(told.conclude(&set, false).unwrap().server, SERVER);
    assert!(told.denies(SERVER), "what is set stands, and the firmware's word against it is logged");
}

#[test]
fn what_is_set_is_denied_only_by_who_knows() {
    let told = |shown, product| told(vec![judge(&firmware(shown, product)).unwrap()]);
    assert!(told(OTHER, "OpenStack Nova").denies(SERVER));
    assert!(!told(SWAPPED, "OpenStack Nova").denies(SERVER));
    assert!(!told(OTHER, "PowerEdge R640").denies(SERVER));
}

#[test]
fn the_zone_is_one_or_an_error() {
    assert_eq!(told(vec![drive(SERVER, "az1")]).conclude(&settings(), false).unwrap().zone, None);
    let two = told(vec![drive(SERVER, "az1"), drive(SERVER, "az2")]);
    assert!(two.conclude(&settings(), true).unwrap_err().to_string().contains("contradict"));
    let none = told(vec![judge(&firmware(SERVER, "OpenStack Nova")).unwrap()]);
    assert!(none.conclude(&settings(), true).unwrap_err().to_string().contains("node.zone"));
    let set = NodeSettings { zone: Some("az9".to_owned()), ..settings() };
    assert_eq!(none.conclude(&set, true).unwrap().zone.as_deref(), Some("az9"));
}

/// A sysfs without disks.
fn tree(uuid: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let dmi = tree.path().join("class/dmi/id");
    std::fs::create_dir_all(&dmi).unwrap();
    std::fs::write(dmi.join("product_uuid"), format!("{uuid}\n")).unwrap();
    std::fs::write(dmi.join("product_name"), "OpenStack Nova\n").unwrap();
    tree
}

#[tokio::test]
async fn the_metadata_service_is_asked_only_for_what_is_not_known() {
    let document = format!(r#"{{"uuid":"{SERVER}","availability_zone":"az1","name":"x"}}"#);
    let server = Fake::start(move |_| Reply::json(200, &document)).await;
    let settings = NodeSettings {
        metadata_url: server.url("/openstack/latest/meta_data.json").to_string(),
        ..settings()
    };
    let tree = tree(SERVER);
    let disks = Disks::at(tree.path(), tree.path());
    let metrics = std::sync::Arc::default();
    let found = learn(&settings, &disks, &metrics, false).await.unwrap();
    assert_eq!((found.server.as_str(), found.zone), (SERVER, None));
    assert_eq!(server.seen().len(), 0);
    let found = learn(&settings, &disks, &metrics, true).await.unwrap();
    assert_eq!(found.zone.as_deref(), Some("az1"));
    assert_eq!(server.seen().len(), 1);
}
