//! The node on real loop devices, with the real `file` back end and the real Linux. Needs root.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "node/bench.rs"]
mod bench;
#[cfg(feature = "failpoints")]
#[path = "node/crash.rs"]
mod crash;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bench::{Bench, SIZE, has_sys_resource, mount};
use fairlead::error::{Kind, Outcome};
use fairlead::host::Usage;
use fairlead::node::{Expand, Publish, Stage, Stats};
use fairlead::volume::{AccessKind, AccessMode, Bytes, Content, FsType, HealthStatus, SizeRange, Source};

fn total(stats: Stats) -> u64 {
    match stats {
        Stats::FileSystem(Usage { total, .. }) => total,
        Stats::Block(size) => size.get(),
    }
}

async fn life(fs: FsType) {
    let bench = Bench::new().await;
    let kind = mount(fs, &["noatime"]);
    let stage = bench.volume("v", kind.clone()).await;
    for _ in 0..2 {
        bench.node.stage(&stage).await.unwrap();
    }
    let publish = bench.publish(&stage, "p");
    for _ in 0..2 {
        bench.node.publish(&publish).await.unwrap();
    }
    fs::write(publish.target.join("file"), "kept").unwrap();
    let before = total(bench.node.stats(&stage.volume, &publish.target).await.unwrap());
    assert!(before > SIZE.get() / 2 && before <= SIZE.get(), "{before}");
    assert_eq!(bench.node.health(&stage.volume).await.unwrap(), []);

    let size = SizeRange::at_least(Bytes::mib(512));
    bench.expand(&stage.volume, size).await;
    let order = Expand { volume: stage.volume.clone(), path: publish.target.clone(), size };
    if fs == FsType::Ext4 && !has_sys_resource() {
        eprintln!("SKIPPED: growing a mounted ext4 needs CAP_SYS_RESOURCE, which this process lacks");
        assert_eq!(bench.node.expand(&order).await.unwrap_err().kind(), Kind::PermissionDenied);
    } else {
        for _ in 0..2 {
            assert_eq!(bench.node.expand(&order).await.unwrap(), Bytes::mib(512));
        }
        let after = total(bench.node.stats(&stage.volume, &publish.target).await.unwrap());
        assert!(after > before + (100 << 20), "{before} {after}");
    }

    let refused = bench.node.unstage(&stage.volume, &stage.path).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::FailedPrecondition, "{refused}");
    for _ in 0..2 {
        bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
    }
    assert!(!publish.target.exists());
    for _ in 0..2 {
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    }
    assert_eq!(bench.mounts(), 0);
    assert_eq!(bench.loops(), 0);
    assert_eq!(fs::read_dir(&stage.path).unwrap().count(), 0, "kubelet wants the staging directory empty");

    // The same attachment still says that the volume is new; the file system says otherwise.
    assert_eq!(stage.attachment.content, Content::New);
    bench.node.stage(&stage).await.unwrap();
    assert_eq!(fs::read_to_string(stage.path.join("file")).unwrap(), "kept");
    let after = total(bench.node.stats(&stage.volume, &stage.path).await.unwrap());
    assert!(after > before + (100 << 20), "grown at the latest when it is staged again: {before} {after}");
    bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    bench.remove(&stage.volume).await;
}

#[tokio::test]
async fn ext4_lives_its_life_with_each_call_made_twice() {
    life(FsType::Ext4).await;
}

#[tokio::test]
async fn xfs_lives_its_life_with_each_call_made_twice() {
    life(FsType::Xfs).await;
}

#[tokio::test]
async fn btrfs_lives_its_life_with_each_call_made_twice() {
    life(FsType::Btrfs).await;
}

#[tokio::test]
async fn a_raw_device_lives_its_life_with_each_call_made_twice() {
    let bench = Bench::new().await;
    let stage = bench.volume("v", AccessKind::Block).await;
    let publish = bench.publish(&stage, "p");
    for _ in 0..2 {
        bench.node.stage(&stage).await.unwrap();
    }
    assert_eq!(bench.mounts(), 0, "nothing is mounted where kubelet removes recursively");
    for _ in 0..2 {
        bench.node.publish(&publish).await.unwrap();
    }
    let device = fs::OpenOptions::new().read(true).write(true).open(&publish.target).unwrap();
    device.write_all_at(b"raw", 4096).unwrap();
    device.sync_all().unwrap();
    drop(device);
    assert_eq!(bench.node.stats(&stage.volume, &publish.target).await.unwrap(), Stats::Block(SIZE));
    let size = SizeRange::at_least(Bytes::mib(512));
    bench.expand(&stage.volume, size).await;
    let order = Expand { volume: stage.volume.clone(), path: publish.target.clone(), size };
    for _ in 0..2 {
        assert_eq!(bench.node.expand(&order).await.unwrap(), Bytes::mib(512));
    }
    let opposite = Publish { readonly: true, ..bench.publish(&stage, "q") };
    assert_eq!(bench.node.publish(&opposite).await.unwrap_err().kind(), Kind::FailedPrecondition);
    for _ in 0..2 {
        bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
    }
    assert!(!publish.target.exists());
    bench.node.publish(&opposite).await.unwrap();
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&opposite.target)
        .and_then(|device| device.write_all_at(b"no", 4096).and_then(|()| device.sync_all()));
    written.unwrap_err();
    bench.node.unpublish(&stage.volume, &opposite.target).await.unwrap();
    let device = bench.device();
    assert_eq!(fs::read_to_string(device.join("ro")).unwrap().trim(), "1");
    bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    assert_eq!(
        fs::read_to_string(device.join("ro")).unwrap().trim(),
        "0",
        "the next volume there is another's"
    );
    bench.node.stage(&stage).await.unwrap();
    bench.node.publish(&publish).await.unwrap();
    let device = fs::OpenOptions::new().read(true).write(true).open(&publish.target).unwrap();
    let mut read = [0; 3];
    device.read_exact_at(&mut read, 4096).unwrap();
    assert_eq!(&read, b"raw");
    device.write_all_at(b"new", 4096).unwrap();
    drop(device);
    bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
    for _ in 0..2 {
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    }
    assert_eq!((bench.mounts(), bench.loops()), (0, 0));
    // What a workload wrote is data, although no file system was ever made.
    let as_mount = Stage { access: bench.access(mount(FsType::Ext4, &[])), ..stage };
    let error = bench.node.stage(&as_mount).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    assert_eq!(bench.loops(), 0);
}

#[tokio::test]
async fn readers_cannot_write_whatever_the_file_system() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let stage = bench.volume("v", mount(fs, &[])).await;
        bench.node.stage(&stage).await.unwrap();
        let writer = bench.publish(&stage, "w");
        bench.node.publish(&writer).await.unwrap();
        let reader = Publish { readonly: true, ..bench.publish(&stage, "r") };
        for _ in 0..2 {
            bench.node.publish(&reader).await.unwrap();
        }
        fs::write(writer.target.join("file"), "x").unwrap();
        assert_eq!(fs::read_to_string(reader.target.join("file")).unwrap(), "x");
        let error = fs::write(reader.target.join("file"), "y").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        let again = Publish { readonly: false, ..reader.clone() };
        assert_eq!(bench.node.publish(&again).await.unwrap_err().kind(), Kind::AlreadyExists);
        for target in [&writer.target, &reader.target] {
            bench.node.unpublish(&stage.volume, target).await.unwrap();
        }
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();

        // Attached read-only: the device itself refuses writes, also those of a journal.
        bench.detach(&stage.volume).await;
        let stage = bench.attach("v", mount(fs, &[]), true).await;
        for _ in 0..2 {
            bench.node.stage(&stage).await.unwrap();
        }
        assert_eq!(fs::read_to_string(stage.path.join("file")).unwrap(), "x");
        fs::write(stage.path.join("file"), "y").unwrap_err();
        assert_eq!(bench.node.health(&stage.volume).await.unwrap(), [], "read-only as asked is no fault");
        let writer = bench.publish(&stage, "w");
        assert_eq!(bench.node.publish(&writer).await.unwrap_err().kind(), Kind::FailedPrecondition);
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_target_is_as_the_access_mode_allows() {
    for kind in [mount(FsType::Ext4, &[]), AccessKind::Block] {
        let bench = Bench::new().await;
        let stage = bench.volume("v", kind).await;
        bench.node.stage(&stage).await.unwrap();
        let with = |name: &str, mode| {
            let mut order = bench.publish(&stage, name);
            order.access.mode = mode;
            order
        };
        bench.node.publish(&with("p", AccessMode::SingleNodeSingleWriter)).await.unwrap();
        for mode in [AccessMode::SingleNodeSingleWriter, AccessMode::SingleNodeWriter] {
            let error = bench.node.publish(&with("q", mode)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::FailedPrecondition);
            assert!(error.to_string().contains("/p"), "{error}");
            assert!(!with("q", mode).target.exists());
        }
        bench.node.publish(&with("q", AccessMode::SingleNodeMultiWriter)).await.unwrap();
    }
}

#[tokio::test]
async fn a_clone_in_a_larger_volume_grows_when_it_is_staged() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let stage = bench.volume("v", mount(fs, &[])).await;
        bench.node.stage(&stage).await.unwrap();
        fs::write(stage.path.join("file"), "source").unwrap();
        let small = total(bench.node.stats(&stage.volume, &stage.path).await.unwrap());
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        bench.create("c", Bytes::mib(640), Some(Source::Volume("v".parse().unwrap()))).await;
        let copy = bench.attach("c", mount(fs, &[]), false).await;
        assert_eq!(copy.attachment.content, Content::Data);
        bench.node.stage(&copy).await.unwrap();
        assert_eq!(fs::read_to_string(copy.path.join("file")).unwrap(), "source");
        let large = total(bench.node.stats(&copy.volume, &copy.path).await.unwrap());
        assert!(large > small + (250 << 20), "{fs}: {small} {large}");
        // The source beside its clone, with the same UUID.
        let beside = bench.node.stage(&stage).await;
        match (fs, beside) {
            (FsType::Btrfs, Err(error)) => {
                eprintln!("btrfs beside its clone: {error}");
                assert_eq!(bench.mounts(), 1);
            }
            (_, result) => {
                result.unwrap();
                fs::write(stage.path.join("file"), "changed").unwrap();
                assert_eq!(fs::read_to_string(copy.path.join("file")).unwrap(), "source");
                bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
            }
        }
        bench.node.unstage(&copy.volume, &copy.path).await.unwrap();
        assert_eq!((bench.mounts(), bench.loops()), (0, 0), "{fs}");
    }
}

#[tokio::test]
async fn unstage_cleans_up_after_a_volume_that_vanished() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let stage = bench.volume("v", mount(fs, &[])).await;
        bench.node.stage(&stage).await.unwrap();
        let publish = bench.publish(&stage, "p");
        bench.node.publish(&publish).await.unwrap();
        fs::remove_file(bench.image(&stage)).unwrap();
        bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        assert_eq!((bench.mounts(), bench.loops()), (0, 0));
    }
}

#[tokio::test]
async fn only_a_new_and_blank_volume_is_formatted() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let mut stage = bench.volume("v", mount(fs, &[])).await;
        stage.attachment.content = Content::Data;
        let error = bench.node.stage(&stage).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
        stage.attachment.content = Content::New;
        for offset in [0, 4096, SIZE.get() - 512] {
            let image = fs::OpenOptions::new().write(true).open(bench.image(&stage)).unwrap();
            image.write_all_at(b"x", offset).unwrap();
            let error = bench.node.stage(&stage).await.unwrap_err();
            assert_eq!(error.kind(), Kind::FailedPrecondition, "{offset}: {error}");
            assert_eq!((bench.mounts(), bench.loops()), (0, 0));
            image.write_all_at(b"\0", offset).unwrap();
        }
        bench.node.stage(&stage).await.unwrap();
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        let other = if fs == FsType::Ext4 { FsType::Xfs } else { FsType::Ext4 };
        let otherwise = Stage { access: bench.access(mount(other, &[])), ..stage.clone() };
        let error = bench.node.stage(&otherwise).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(
            error.to_string().contains(fs.as_str()) && error.to_string().contains(other.as_str()),
            "{error}"
        );
        bench.node.stage(&stage).await.unwrap();
    }
}

#[tokio::test]
async fn an_interrupted_mkfs_is_made_again_but_only_for_its_own_attachment() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let stage = bench.volume("v", mount(fs, &[])).await;
        let intent = |nonce: &str, size: Bytes, fs: FsType| {
            let text = format!(
                r#"{{"volume":"{}","nonce":"{nonce}","size":{},"fs":"{fs}"}}"#,
                stage.volume,
                size.get()
            );
            fs::write(stage.path.join(".fairlead-formatting"), text).unwrap();
        };
        let image = fs::OpenOptions::new().write(true).open(bench.image(&stage)).unwrap();
        for offset in [64 << 10, 100 << 20] {
            image.write_all_at(&[7; 4096], offset).unwrap();
        }
        let other = if fs == FsType::Ext4 { FsType::Xfs } else { FsType::Ext4 };
        let nonce = stage.attachment.nonce.as_str();
        for (nonce, size, fs) in [("another", SIZE, fs), (nonce, Bytes::mib(1), fs), (nonce, SIZE, other)] {
            intent(nonce, size, fs);
            let error = bench.node.stage(&stage).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (Kind::FailedPrecondition, Outcome::Refused),
                "{error}"
            );
        }
        intent(nonce, SIZE, fs);
        bench.node.stage(&stage).await.unwrap();
        fs::write(stage.path.join("file"), "x").unwrap();
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        assert_eq!(fs::read_dir(&stage.path).unwrap().count(), 0);
        bench.node.stage(&stage).await.unwrap();
        assert_eq!(fs::read_to_string(stage.path.join("file")).unwrap(), "x");
    }
}

#[tokio::test]
async fn an_interrupted_mkfs_that_was_unstaged_is_made_again_on_any_node() {
    for fs in FsType::ALL {
        for server in ["worker-1", "worker-2"] {
            let bench = Bench::new().await;
            let stage = bench.volume("v", mount(fs, &[])).await;
            let image = fs::OpenOptions::new().write(true).open(bench.image(&stage)).unwrap();
            for offset in [64 << 10, 100 << 20] {
                image.write_all_at(&[7; 4096], offset).unwrap();
            }
            let error = bench.node.stage(&stage).await.unwrap_err();
            assert_eq!(error.kind(), Kind::FailedPrecondition, "without the record it may be data: {error}");
            bench.mark_formatting(&stage.volume).await;
            bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
            bench.detach(&stage.volume).await;

            let node = bench.other_node().await;
            let node = if server == "worker-2" { &node } else { &bench.node };
            let mut stage = bench.attach_to(server, "v", mount(fs, &[]), false).await;
            stage.path = bench.staging(server);
            assert_eq!(stage.attachment.content, Content::Formatting);
            node.stage(&stage).await.unwrap();
            assert_eq!(bench.content(&stage.volume).await, Content::Data);
            fs::write(stage.path.join("file"), "kept").unwrap();
            for _ in 0..2 {
                node.unstage(&stage.volume, &stage.path).await.unwrap();
                // The attachment still tells of the interrupted try.
                node.stage(&stage).await.unwrap();
                assert_eq!(fs::read_to_string(stage.path.join("file")).unwrap(), "kept");
            }
            node.unstage(&stage.volume, &stage.path).await.unwrap();
            image.write_all_at(&vec![0; 4 << 20], 0).unwrap();
            let error = node.stage(&stage).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (Kind::FailedPrecondition, Outcome::Refused),
                "{error}"
            );
            assert_eq!((bench.mounts(), bench.loops()), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_raw_device_is_data_as_soon_as_it_is_staged_for_writing() {
    for begun in [false, true] {
        let bench = Bench::new().await;
        let stage = bench.volume("v", AccessKind::Block).await;
        if begun {
            bench.mark_formatting(&stage.volume).await;
        }
        bench.node.stage(&stage).await.unwrap();
        assert_eq!(bench.content(&stage.volume).await, Content::Data);
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        let as_mount = Stage { access: bench.access(mount(FsType::Ext4, &[])), ..stage };
        let error = bench.node.stage(&as_mount).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
    }
}

#[tokio::test]
async fn flags_are_in_force_and_other_flags_already_exist() {
    for fs in FsType::ALL {
        let bench = Bench::new().await;
        let stage = bench.volume("v", mount(fs, &["noexec,nosuid", "discard"])).await;
        for _ in 0..2 {
            bench.node.stage(&stage).await.unwrap();
        }
        for flags in [&[][..], &["noexec", "nosuid", "noatime"], &["noexec", "nosuid", "ro"]] {
            let order = Stage { access: bench.access(mount(fs, flags)), ..stage.clone() };
            let error = bench.node.stage(&order).await.unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (Kind::AlreadyExists, Outcome::Refused), "{error}");
        }
        let mut publish = bench.publish(&stage, "p");
        publish.access = stage.access.clone();
        for _ in 0..2 {
            bench.node.publish(&publish).await.unwrap();
        }
        let bad =
            Stage { path: bench.staging("b"), ..bench.volume("b", mount(fs, &["no-such-option"])).await };
        let error = bench.node.stage(&bad).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused), "{error}");
        assert!(!error.chain().contains("no-such-option"), "{}", error.chain());
        assert_eq!(bench.loops(), 1, "the refused volume is let go of");
    }
}

#[tokio::test]
async fn a_kubelet_directory_behind_a_link_is_the_same() {
    let bench = Bench::new().await;
    let stage = bench.volume("v", mount(FsType::Ext4, &[])).await;
    let link = bench.directory().join("link");
    std::os::unix::fs::symlink(stage.path.parent().unwrap(), &link).unwrap();
    let through = Stage { path: link.join(stage.path.file_name().unwrap()), ..stage.clone() };
    for _ in 0..2 {
        bench.node.stage(&through).await.unwrap();
    }
    assert_eq!(bench.mounts(), 1);
    bench.node.stats(&stage.volume, &through.path).await.unwrap();
    bench.node.unstage(&stage.volume, &through.path).await.unwrap();
    assert_eq!((bench.mounts(), bench.loops()), (0, 0));
}

#[tokio::test]
async fn an_unpublished_directory_with_content_is_left_alone() {
    let bench = Bench::new().await;
    let stage = bench.volume("v", mount(FsType::Ext4, &[])).await;
    let target = bench.publish(&stage, "p").target;
    fs::create_dir(&target).unwrap();
    fs::write(target.join("precious"), "x").unwrap();
    bench.node.unpublish(&stage.volume, &target).await.unwrap_err();
    assert_eq!(fs::read_to_string(target.join("precious")).unwrap(), "x");
    let gone = "elsewhere/v".parse().unwrap();
    bench.node.unstage(&gone, &stage.path).await.unwrap();
    for path in ["some/path", "/proc", "/"] {
        let error = bench.node.stats(&stage.volume, Path::new(path)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{path}");
        bench.node.unpublish(&stage.volume, Path::new(path)).await.unwrap_err();
    }
    assert!(Path::new("/proc/self").exists());
}

#[tokio::test]
async fn health_tells_of_a_file_system_that_fell_to_read_only() {
    let bench = Bench::new().await;
    let stage = bench.volume("v", mount(FsType::Ext4, &["errors=remount-ro"])).await;
    bench.node.stage(&stage).await.unwrap();
    bench.abort(&stage);
    let faults = bench.node.health(&stage.volume).await.unwrap();
    assert!(
        faults
            .iter()
            .any(|fault| fault.status != HealthStatus::DataLoss && fault.reason.starts_with("FileSystem")),
        "{faults:?}"
    );
    bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
    assert_eq!((bench.mounts(), bench.loops()), (0, 0));
}

#[tokio::test]
async fn a_kubelet_directory_that_is_seen_twice_counts_once() {
    for kind in [mount(FsType::Ext4, &[]), mount(FsType::Btrfs, &[]), AccessKind::Block] {
        let bench = Bench::new().await;
        let stage = bench.volume("v", kind).await;
        bench.second_view();
        let before = bench.mounts();
        bench.node.stage(&stage).await.unwrap();
        let mut publish = bench.publish(&stage, "p");
        publish.access.mode = AccessMode::SingleNodeSingleWriter;
        for _ in 0..2 {
            bench.node.publish(&publish).await.unwrap();
        }
        assert!(bench.mounts() - before >= 2, "each mount has a twin");
        let second = Publish { target: bench.publish(&stage, "q").target, ..publish.clone() };
        assert_eq!(bench.node.publish(&second).await.unwrap_err().kind(), Kind::FailedPrecondition);
        bench.node.unpublish(&stage.volume, &publish.target).await.unwrap();
        bench.node.publish(&second).await.unwrap();
        bench.node.unpublish(&stage.volume, &second.target).await.unwrap();
        bench.node.unstage(&stage.volume, &stage.path).await.unwrap();
        assert_eq!((bench.mounts(), bench.loops()), (before, 0));
    }
}
