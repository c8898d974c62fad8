//! Random and hostile requests over the real socket: the driver must answer each with a status, must not crash, and
//! must not touch anything outside the paths that it was given.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "test code")]

#[path = "common/driver.rs"]
mod driver;
#[path = "common/life.rs"]
mod life;

use std::fs;
use std::path::{Path, PathBuf};

use driver::Lab;
use fairlead::proto::csi;
use life::{Seat, mount, text};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tonic::Code;

/// How many requests of each RPC.
const ROUNDS: usize = 200;

/// All that a directory tree holds: paths, kinds, link targets, contents and modes.
fn picture(root: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut lines = Vec::new();
    let mut stack = vec![root.to_path_buf()];
    while let Some(path) = stack.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content =
            if meta.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let link = fs::read_link(&path).unwrap_or_default();
        lines.push(format!(
            "{} {:o} {content:?} {}",
            path.display(),
            meta.permissions().mode(),
            link.display()
        ));
        if meta.is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// Text that a careless server trips over, and paths that try to get at the canary.
fn hostile(canary: &Path, good: Vec<String>) -> impl Strategy<Value = String> + use<> {
    let canary = text(canary);
    let tricks = vec![
        String::new(),
        "\0".into(),
        "a\0b".into(),
        "..".into(),
        "/".into(),
        "//".into(),
        "here/..".into(),
        "here/../../etc".into(),
        "here/\u{202e}pvc".into(),
        "relative/path".into(),
        "/proc/self/root/etc".into(),
        format!("{canary}/../{}", "x".repeat(300)),
        format!("{canary}/file"),
        format!("{canary}/dir"),
        format!("{canary}/link/x"),
        canary,
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ✓ ñ".into(),
        "x".repeat(100_000),
        "%s%n{}${HOME}`id`;$(id)".into(),
        "-rf".into(),
        "--help".into(),
    ];
    prop_oneof![
        3 => prop::sample::select(tricks),
        2 => prop::sample::select(good),
        1 => any::<String>(),
        1 => "[a-z0-9/.;=~-]{0,40}",
    ]
}

fn capability(mode: i32, fs_type: String, flags: Vec<String>, block: Option<bool>) -> csi::VolumeCapability {
    use csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
    csi::VolumeCapability {
        access_type: match block {
            None => None,
            Some(true) => Some(AccessType::Block(BlockVolume {})),
            Some(false) => Some(AccessType::Mount(MountVolume {
                fs_type,
                mount_flags: flags,
                volume_mount_group: String::new(),
            })),
        },
        access_mode: Some(AccessMode { mode }),
    }
}

struct Fuzz {
    runner: TestRunner,
    text: BoxedStrategy<String>,
}

impl Fuzz {
    fn text(&mut self) -> String {
        self.text.new_tree(&mut self.runner).unwrap().current()
    }

    fn pick<T: std::fmt::Debug>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn capability(&mut self) -> Option<csi::VolumeCapability> {
        let mode = self.pick(-1..10_i32);
        let fs_type = if self.pick(any::<bool>()) { "ext4".into() } else { self.text() };
        let flags = if self.pick(0..4) == 0 { vec![self.text()] } else { vec![] };
        let block = self.pick(any::<Option<bool>>());
        self.pick(any::<bool>()).then(|| capability(mode, fs_type, flags, block))
    }

    fn range(&mut self) -> Option<csi::CapacityRange> {
        let number = prop_oneof![
            Just(0),
            Just(-1),
            Just(1),
            Just(i64::MAX),
            Just(i64::MIN),
            Just(16 << 20),
            any::<i64>()
        ];
        let (required_bytes, limit_bytes) = (self.pick(number.clone()), self.pick(number));
        // Sparse images of any size cost nothing, so huge orders may well succeed.
        self.pick(any::<bool>()).then_some(csi::CapacityRange { required_bytes, limit_bytes })
    }

    fn map(&mut self) -> std::collections::BTreeMap<String, String> {
        let count = self.pick(0..3_usize);
        (0..count).map(|_| (self.text(), self.text())).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_are_answered_and_reach_nothing_else() {
    let lab = Lab::new("protocol");
    let canary = lab.root.join("canary");
    fs::create_dir_all(canary.join("dir/inner")).unwrap();
    fs::write(canary.join("file"), "keep me").unwrap();
    fs::write(canary.join("dir/inner/file"), "keep me too").unwrap();
    std::os::unix::fs::symlink("/etc", canary.join("link")).unwrap();
    let kubelet = lab.root.join("kubelet");
    fs::create_dir_all(&kubelet).unwrap();
    std::os::unix::fs::symlink(canary.join("dir"), kubelet.join("link-to-dir")).unwrap();
    let before = picture(&canary);

    let mut driver = lab.start("all", "server", &[]).await;
    let seat = Seat { client: driver.client(), home: kubelet.clone(), capability: mount("ext4") };
    let volume = seat.create("real", 16 << 20, None).await.unwrap();
    let context = seat.attach(&volume).await.unwrap();
    let node_id = seat.node_id().await.unwrap();
    let good = vec![
        volume.clone(),
        node_id,
        text(&kubelet.join("stage")),
        text(&kubelet.join("target")),
        text(&kubelet.join("link-to-dir")),
        text(&kubelet.join("link-to-dir/inner")),
        text(&PathBuf::from(&kubelet).join("../canary/dir")),
    ];
    let mut fuzz = Fuzz {
        runner: TestRunner::new(Config { failure_persistence: None, ..Config::default() }),
        text: hostile(&canary, good).boxed(),
    };
    let (mut answers, mut accepted) = (0_usize, 0_usize);
    let mut count = |result: Result<(), tonic::Status>| {
        answers += 1;
        match result {
            Ok(()) => accepted += 1,
            Err(status) => {
                // A crash, a panic or a broken stream would show as one of these.
                assert!(
                    !matches!(status.code(), Code::Unknown | Code::Cancelled | Code::DataLoss),
                    "{status:?}"
                );
                assert!(status.details().is_empty(), "{status:?}");
                assert!(!status.message().is_empty(), "{status:?}");
            }
        }
    };
    let (mut controller, mut node) = (seat.client.controller(), seat.client.node());
    let mut group = seat.client.group();
    for _ in 0..ROUNDS {
        let request = csi::CreateVolumeRequest {
            name: fuzz.text(),
            capacity_range: fuzz.range(),
            volume_capabilities: fuzz.capability().into_iter().collect(),
            parameters: fuzz.map(),
            secrets: fuzz.map(),
            mutable_parameters: fuzz.map(),
            ..Default::default()
        };
        count(controller.create_volume(request).await.map(|_| ()));
        let request = csi::ControllerPublishVolumeRequest {
            volume_id: fuzz.text(),
            node_id: fuzz.text(),
            volume_capability: fuzz.capability(),
            volume_context: fuzz.map(),
            ..Default::default()
        };
        count(controller.controller_publish_volume(request).await.map(|_| ()));
        let request = csi::CreateSnapshotRequest {
            source_volume_id: fuzz.text(),
            name: fuzz.text(),
            parameters: fuzz.map(),
            ..Default::default()
        };
        count(controller.create_snapshot(request).await.map(|_| ()));
        let request =
            csi::ListVolumesRequest { max_entries: fuzz.pick(any::<i32>()), starting_token: fuzz.text() };
        count(controller.list_volumes(request).await.map(|_| ()));
        let request = csi::ListSnapshotsRequest {
            max_entries: fuzz.pick(any::<i32>()),
            starting_token: fuzz.text(),
            source_volume_id: fuzz.text(),
            snapshot_id: fuzz.text(),
            ..Default::default()
        };
        count(controller.list_snapshots(request).await.map(|_| ()));
        let request = csi::ControllerExpandVolumeRequest {
            volume_id: fuzz.text(),
            capacity_range: fuzz.range(),
            volume_capability: fuzz.capability(),
            ..Default::default()
        };
        count(controller.controller_expand_volume(request).await.map(|_| ()));
        let request = csi::ControllerModifyVolumeRequest {
            volume_id: fuzz.text(),
            mutable_parameters: fuzz.map(),
            ..Default::default()
        };
        count(controller.controller_modify_volume(request).await.map(|_| ()));
        let request = csi::CreateVolumeGroupSnapshotRequest {
            name: fuzz.text(),
            source_volume_ids: vec![fuzz.text(), fuzz.text()],
            ..Default::default()
        };
        count(group.create_volume_group_snapshot(request).await.map(|_| ()));
        let publish_context = if fuzz.pick(any::<bool>()) { context.clone() } else { fuzz.map() };
        let request = csi::NodeStageVolumeRequest {
            volume_id: fuzz.text(),
            publish_context: publish_context.clone(),
            staging_target_path: fuzz.text(),
            volume_capability: fuzz.capability(),
            ..Default::default()
        };
        count(node.node_stage_volume(request).await.map(|_| ()));
        let request = csi::NodePublishVolumeRequest {
            volume_id: fuzz.text(),
            publish_context,
            staging_target_path: fuzz.text(),
            target_path: fuzz.text(),
            volume_capability: fuzz.capability(),
            readonly: fuzz.pick(any::<bool>()),
            ..Default::default()
        };
        count(node.node_publish_volume(request).await.map(|_| ()));
        let request = csi::NodeUnpublishVolumeRequest { volume_id: fuzz.text(), target_path: fuzz.text() };
        count(node.node_unpublish_volume(request).await.map(|_| ()));
        let request =
            csi::NodeUnstageVolumeRequest { volume_id: fuzz.text(), staging_target_path: fuzz.text() };
        count(node.node_unstage_volume(request).await.map(|_| ()));
        let request = csi::NodeGetVolumeStatsRequest {
            volume_id: fuzz.text(),
            volume_path: fuzz.text(),
            staging_target_path: fuzz.text(),
        };
        count(node.node_get_volume_stats(request).await.map(|_| ()));
        let request = csi::NodeExpandVolumeRequest {
            volume_id: fuzz.text(),
            volume_path: fuzz.text(),
            capacity_range: fuzz.range(),
            ..Default::default()
        };
        count(node.node_expand_volume(request).await.map(|_| ()));
        assert!(!driver.ended(), "the driver died\n{}", driver.log());
    }
    // A stage at a path that was given, however odd, may rightly have mounted there.
    for mount in driver::mounts_below(&canary).iter().rev() {
        nix::mount::umount(mount).unwrap();
    }
    assert_eq!(picture(&canary), before, "something outside the given paths was touched");
    assert!(accepted < answers, "every hostile request was accepted");
    // It still works.
    seat.stage(&volume, &context).await.unwrap();
    seat.unstage(&volume).await.unwrap();
    println!("{answers} requests, {accepted} accepted");
}
