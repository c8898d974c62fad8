//! Ends the process at every named step of the `file` back end, as `kill -9` would, and shows that the next start finds
//! nothing half-made and that the same calls then succeed. Needs the feature `failpoints`.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends by panicking, and shares a fixture that it uses in part"
)]

#[path = "contract/file.rs"]
mod file;
#[path = "contract/fixture.rs"]
mod fixture;
#[path = "contract/storage.rs"]
mod storage;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use fairlead::backend::GroupOrder;
use fairlead::volume::{Bytes, Content, Parameters, SizeRange, Source};
use file::FileFixture;
use fixture::{Fixture, cut, detach, from, order, runtime, writer};
use storage::Storage;

/// The steps on the controller's side.
const CONTROLLER: [&str; 17] = [
    "file.begun",
    "file.image-made",
    "file.image-synced",
    "file.renamed",
    "file.committed",
    "file.image-filled",
    "file.image-grown",
    "file.grown",
    "file.attached",
    "file.detached",
    "file.unlisted",
    "file.image-removed",
    "file.discarded",
    "file.group-begun",
    "file.member-cut",
    "file.group-unlisted",
    "file.member-removed",
];
/// The steps on the node's side, which need root.
const NODE: [&str; 6] = [
    "file.hold-written",
    "file.connected",
    "file.formatting-marked",
    "file.marked",
    "file.disconnected",
    "file.hold-removed",
];

/// One of everything, so that every step is passed.
async fn scenario(fixture: &FileFixture, root: bool) {
    fixture.start().await;
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 2)).await.unwrap().id;
    let node = &fixture.nodes()[0];
    let attachment = backend.attach(&writer(&volume, node)).await.unwrap();
    if root {
        let connector = fixture.connector(node);
        let device = connector.connect(&volume, &attachment).await.unwrap();
        assert_eq!(connector.find(&volume).await.unwrap(), Some(device));
        // A try that was killed may have got past it.
        if connector.content(&volume).await.unwrap() != Some(Content::Data) {
            connector.mark_formatting(&volume).await.unwrap();
        }
        connector.mark_formatted(&volume).await.unwrap();
        connector.disconnect(&volume).await.unwrap();
    }
    backend.detach(&detach(&volume, Some(node))).await.unwrap();
    backend.expand(&volume, SizeRange::at_least(Bytes::mib(4))).await.unwrap();
    let snapshot = backend.create_snapshot(&cut("s", &volume)).await.unwrap().id;
    let clone = backend.create(&from("c", 0, Source::Volume(volume.clone()))).await.unwrap().id;
    let volumes = vec![volume.clone(), clone.clone()];
    let group = GroupOrder { name: "g".into(), volumes, parameters: Parameters::default() };
    let group = backend.create_group(&group).await.unwrap();
    assert_eq!(group.members.len(), 2);
    let members: Vec<_> = group.members.into_iter().map(|member| member.id).collect();
    backend.delete_group(&group.id, &members).await.unwrap();
    backend.delete_snapshot(&snapshot).await.unwrap();
    backend.delete(&clone).await.unwrap();
    backend.delete(&volume).await.unwrap();
}

/// Every object is whole, and nothing else is there.
async fn check(fixture: &FileFixture, step: &str) {
    let backend = fixture.backend().await;
    for class in ["volumes", "snapshots", "groups"] {
        let names = names(&fixture.config.directory.join(class));
        let stems = |suffix: &str| -> BTreeSet<_> {
            names.iter().filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
        };
        let (records, images) = (stems(".json"), stems(".img"));
        assert_eq!(records.len() + images.len(), names.len(), "{step}: leftovers among {names:?}");
        if class != "groups" {
            assert_eq!(records, images, "{step}: {class}");
        }
    }
    for volume in backend.list(&Default::default()).await.unwrap().items {
        assert!(backend.health(&volume.id).await.unwrap().is_empty(), "{step}: {volume:?}");
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
#[ignore = "the child of the walk: works in its working directory and is killed"]
fn child() {
    if Path::new("Cargo.toml").exists() {
        eprintln!("SKIPPED: the walk starts this in a directory of its own");
        return;
    }
    let mut fixture = FileFixture::new(&Storage::plain());
    fixture.config.directory = std::env::current_dir().unwrap().join("d");
    fs::create_dir_all(&fixture.config.directory).unwrap();
    runtime(Bytes::mib(1)).block_on(scenario(&fixture, nix::unistd::geteuid().is_root()));
}

#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
#[allow(clippy::disallowed_methods, reason = "the process to be killed is this test's own program")]
fn every_step_may_be_the_last() {
    let root = nix::unistd::geteuid().is_root();
    let mut steps = CONTROLLER.to_vec();
    if root {
        steps.extend(NODE);
    } else {
        eprintln!("SKIPPED: the steps with devices need root: {NODE:?}");
    }
    for step in steps {
        let place = tempfile::tempdir().unwrap();
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored"])
            .current_dir(place.path())
            .env("FAIRLEAD_FAILPOINT", step)
            // What the child makes for itself goes with the directory.
            .env("TMPDIR", place.path())
            .output()
            .unwrap();
        // Also where an assertion below fails, its devices are unbound before the directory goes.
        let mut fixture = FileFixture::new(&Storage::plain());
        fixture.config.directory = place.path().join("d");
        let output = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.status.signal(), Some(9), "{step} is not passed: {} {output}", ended.status);
        runtime(Bytes::mib(1)).block_on(async {
            check(&fixture, step).await;
            scenario(&fixture, root).await;
            check(&fixture, step).await;
            let left: Vec<_> = ["volumes", "snapshots", "groups", "holds/alpha", "attachments/alpha"]
                .into_iter()
                .flat_map(|class| names(&fixture.config.directory.join(class)))
                .collect();
            assert!(left.is_empty(), "{step}: {left:?}");
        });
    }
}
