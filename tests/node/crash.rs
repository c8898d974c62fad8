//! `kill -9` at every step of a volume's life on the node: the next process completes it, and no data is lost.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use fairlead::node::{Expand, Publish, STEPS};
use fairlead::volume::{AccessKind, Bytes, FsType, SizeRange};

use crate::bench::{Bench, mount};

const DIRECTORY: &str = "NODE_CRASH_DIRECTORY";
const KIND: &str = "NODE_CRASH_KIND";
const KINDS: [&str; 4] = ["ext4", "xfs", "btrfs", "block"];

/// A whole life, whatever an earlier process already did of it.
async fn live(directory: &Path, kind: &str) {
    let bench = Bench::within(directory.to_owned()).await;
    let fs_type = kind.parse::<FsType>().ok();
    let kind = fs_type.map_or(AccessKind::Block, |fs| mount(fs, &["noatime"]));
    let stage = bench.volume("v", kind).await;
    bench.node.stage(&stage).await.unwrap();
    let marker = directory.join("written");
    if fs_type.is_some() {
        let file = stage.path.join("file");
        if marker.exists() {
            assert_eq!(fs::read_to_string(&file).unwrap(), "kept", "data is lost");
        } else {
            fs::write(&file, "kept").unwrap();
            fs::File::open(&file).unwrap().sync_all().unwrap();
            fs::write(&marker, "").unwrap();
        }
    }
    let publish = Publish { readonly: true, ..bench.publish(&stage, "p") };
    bench.node.publish(&publish).await.unwrap();
    // An ext4 that is mounted can be grown by few: it grows when it is staged again.
    let size = SizeRange::at_least(Bytes::mib(640));
    bench.expand(&stage.volume, size).await;
    if fs_type != Some(FsType::Ext4) {
        let order = Expand { volume: stage.volume.clone(), path: publish.target.clone(), size };
        assert_eq!(bench.node.expand(&order).await.unwrap(), Bytes::mib(640));
    }
    bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
    bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    bench.node.stage(&stage).await.unwrap();
    bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
}

#[tokio::test]
#[ignore = "the body of the processes that the walk kills"]
#[allow(clippy::disallowed_methods, reason = "how the walk tells its processes what to do")]
async fn life() {
    let directory = std::env::var(DIRECTORY).expect("only the walk runs this");
    live(Path::new(&directory), &std::env::var(KIND).unwrap()).await;
}

#[allow(clippy::disallowed_methods, reason = "the process that is to be killed is this program again")]
fn process(bench: &Bench, kind: &str, step: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::life", "--ignored", "--nocapture"])
        .env(DIRECTORY, bench.directory())
        .env(KIND, kind)
        .env("FAIRLEAD_FAILPOINT", step)
        .stdout(Stdio::null())
        .status()
        .unwrap()
}

#[tokio::test]
async fn the_next_process_completes_what_a_killed_one_began() {
    let mut reached = BTreeSet::new();
    for kind in KINDS {
        for step in STEPS {
            let bench = Bench::new().await;
            let status = process(&bench, kind, step);
            if status.signal() == Some(9) {
                reached.insert(*step);
            } else {
                assert!(status.success(), "{kind} {step}: {status}");
            }
            let status = process(&bench, kind, "");
            assert!(status.success(), "{kind}, killed at {step}: the next process fails: {status}");
            assert_eq!((bench.mounts(), bench.loops()), (0, 0), "{kind}, killed at {step}");
        }
    }
    let all: BTreeSet<_> = STEPS.iter().copied().collect();
    assert_eq!(reached, all, "steps that no life reaches prove nothing");
}

/// The pod is gone before the next process comes up: the volume is unstaged instead of staged, and goes elsewhere.
#[tokio::test]
async fn what_a_killed_process_began_another_node_completes() {
    for kind in &KINDS[..3] {
        for step in [
            "stage.intent-begun",
            "stage.intent",
            "stage.formatting-marked",
            "stage.formatted",
            "stage.marked",
        ] {
            let bench = Bench::new().await;
            let status = process(&bench, kind, step);
            assert_eq!(status.signal(), Some(9), "{kind} {step}: {status}");
            let kind = mount(kind.parse().unwrap(), &["noatime"]);
            let stage = bench.attach("v", kind.clone(), false).await;
            if step == "stage.formatting-marked" {
                let image = fs::OpenOptions::new().write(true).open(bench.image(&stage)).unwrap();
                image.write_all_at(&[7; 4096], 100 << 20).unwrap();
            }
            bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
            assert_eq!(fs::read_dir(&stage.path).unwrap().count(), 0);
            bench.detach(&stage.volume).await;
            let node = bench.other_node().await;
            let mut stage = bench.attach_to("worker-2", "v", kind, false).await;
            stage.path = bench.staging("elsewhere");
            node.stage(&stage).await.unwrap();
            assert_eq!(bench.mounts(), 1);
            node.unstage(&stage.volume, &stage.path).await.unwrap();
            assert_eq!((bench.mounts(), bench.loops()), (0, 0), "{step}");
        }
    }
}
