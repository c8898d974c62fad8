//! Making, checking and growing file systems.

use std::os::unix::fs::FileExt;
use std::path::Path;

use fairlead::error::Kind;
use fairlead::host::{Host, Linux, Signature};
use fairlead::volume::{FsType, Mark};

use crate::loopdev::{LoopDev, Place, sh};

const SIZE: u64 = 512 << 20;

fn resize(image: &Path, size: u64) {
    std::fs::OpenOptions::new().write(true).open(image).unwrap().set_len(size).unwrap();
}

#[test]
fn nothing_is_missing_here() {
    assert_eq!(Linux::new().missing_tools(&FsType::ALL), Vec::<String>::new());
}

/// Whether this process has CAP_SYS_RESOURCE (24), which the kernel wants for growing a mounted ext4.
fn may_resize_mounted_ext4() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() >> 24 & 1 == 1
}

async fn made_mounted_grown(fs: FsType) {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    let dev = LoopDev::attach(&image);
    let directory = place.directory("mnt");
    let device = host.device(&dev.path).await.unwrap();
    host.prove_blank(&device).await.unwrap();
    host.format(&device, fs).await.unwrap();
    assert_eq!(host.signature(&device).await.unwrap(), Signature::Fs(fs));
    assert_eq!(host.prove_blank(&device).await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert!(!host.needs_growth(&device, fs).await.unwrap(), "{fs} fills its device");
    host.check(&device, fs).await.unwrap();
    host.mount(&dev.path, &directory, fs, &[]).await.unwrap();
    std::fs::write(directory.join("data"), "kept").unwrap();
    let before = host.usage(&directory).await.unwrap();
    let mount = host.mounts().await.unwrap().into_iter().find(|mount| mount.target == directory).unwrap();
    assert_eq!((mount.fs_type.as_str(), Path::new(&mount.source)), (fs.as_str(), dev.path.as_path()));

    resize(&image, 2 * SIZE);
    dev.refresh();
    let device = host.device(&dev.path).await.unwrap();
    assert_eq!(device.size.get(), 2 * SIZE);
    assert!(host.needs_growth(&device, fs).await.unwrap(), "{fs} is smaller than its device");
    let grown = host.grow(&device, fs, &directory).await;
    if fs == FsType::Ext4 && !may_resize_mounted_ext4() {
        // Without the capability the refusal must say so, and growing must work unmounted.
        let error = grown.unwrap_err();
        assert_eq!(error.kind(), Kind::PermissionDenied, "{error}");
        assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
        println!("SKIPPED growth of a mounted ext4: {error}");
        host.unmount(&directory).await.unwrap();
        for _ in 0..2 {
            host.grow(&device, fs, &directory).await.unwrap();
        }
        host.mount(&dev.path, &directory, fs, &[]).await.unwrap();
    } else {
        grown.unwrap();
        host.grow(&device, fs, &directory).await.unwrap();
    }
    let after = host.usage(&directory).await.unwrap();
    assert!(after.total > before.total * 3 / 2, "{fs}: {before:?} {after:?}");
    assert_eq!(std::fs::read_to_string(directory.join("data")).unwrap(), "kept");
    host.unmount(&directory).await.unwrap();
    assert!(!host.needs_growth(&device, fs).await.unwrap(), "{fs} fills its device again");
}

#[tokio::test]
async fn a_file_system_bears_the_mark_that_it_is_made_with() {
    let (host, place) = (Linux::new(), Place::new());
    let mark = Mark::of(&"44".parse().unwrap());
    for fs in FsType::ALL {
        let dev = LoopDev::attach(&place.image(fs.as_str(), SIZE));
        let device = host.device(&dev.path).await.unwrap();
        host.format_marked(&device, fs, mark).await.unwrap();
        assert_eq!(host.signature(&device).await.unwrap(), Signature::Fs(fs));
        let told = sh("blkid", &["-p", "-o", "value", "-s", "UUID", dev.name()]);
        assert_eq!(told.trim(), mark.to_string(), "{fs}");
    }
}

#[tokio::test]
async fn ext4_is_made_mounted_and_grown() {
    made_mounted_grown(FsType::Ext4).await;
}

#[tokio::test]
async fn xfs_is_made_mounted_and_grown() {
    made_mounted_grown(FsType::Xfs).await;
}

#[tokio::test]
async fn btrfs_is_made_mounted_and_grown() {
    made_mounted_grown(FsType::Btrfs).await;
}

#[tokio::test]
async fn growing_never_touches_what_else_is_mounted_at_the_path() {
    let (host, place) = (Linux::new(), Place::new());
    let (one, two) = (LoopDev::attach(&place.image("1", SIZE)), LoopDev::attach(&place.image("2", SIZE)));
    let directory = place.directory("mnt");
    for fs in [FsType::Xfs, FsType::Btrfs] {
        let (first, second) = (host.device(&one.path).await.unwrap(), host.device(&two.path).await.unwrap());
        host.format(&first, fs).await.unwrap();
        host.format(&second, fs).await.unwrap();
        assert_eq!(host.grow(&first, fs, &directory).await.unwrap_err().kind(), Kind::FailedPrecondition);
        host.mount(&two.path, &directory, fs, &[]).await.unwrap();
        let error = host.grow(&first, fs, &directory).await.unwrap_err();
        assert!(error.to_string().contains("is mounted at"), "{error}");
        host.unmount(&directory).await.unwrap();
    }
}

#[tokio::test]
async fn an_unclean_ext4_is_repaired_and_a_broken_one_is_left_to_the_operator() {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    let directory = place.directory("mnt");
    {
        let dev = LoopDev::attach(&image);
        let device = host.device(&dev.path).await.unwrap();
        host.format(&device, FsType::Ext4).await.unwrap();
        host.mount(&dev.path, &directory, FsType::Ext4, &[]).await.unwrap();
        std::fs::write(directory.join("data"), "kept").unwrap();
        sh("sync", &["-f", directory.to_str().unwrap()]);
        // What a switched-off server leaves: a copy of the disk while it is mounted.
        sh("cp", &["--sparse=always", dev.name(), place.path("crashed").to_str().unwrap()]);
        host.unmount(&directory).await.unwrap();
    }
    let crashed = place.path("crashed");
    let dev = LoopDev::attach(&crashed);
    let device = host.device(&dev.path).await.unwrap();
    assert!(
        sh("dumpe2fs", &["-h", dev.name()]).contains("needs_recovery"),
        "the copy is clean: nothing is tested"
    );
    host.check(&device, FsType::Ext4).await.unwrap();
    assert!(!sh("dumpe2fs", &["-h", dev.name()]).contains("needs_recovery"));
    host.mount(&dev.path, &directory, FsType::Ext4, &[]).await.unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("data")).unwrap(), "kept");
    host.unmount(&directory).await.unwrap();

    // The root directory's inode becomes noise, and the superblock says that there are errors.
    sh("debugfs", &["-w", "-R", "clri <2>", dev.name()]);
    sh("debugfs", &["-w", "-R", "set_super_value state 2", dev.name()]);
    let error = host.check(&device, FsType::Ext4).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    assert!(error.to_string().contains("e2fsck"), "{error}");
}

#[tokio::test]
async fn a_superblock_that_is_not_there_is_an_error() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let device = host.device(&dev.path).await.unwrap();
    for fs in FsType::ALL {
        assert_eq!(host.needs_growth(&device, fs).await.unwrap_err().kind(), Kind::FailedPrecondition);
    }
    let mut byte = [1];
    std::fs::File::open(&dev.path).unwrap().read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [0]);
}

#[tokio::test]
async fn a_tool_that_refuses_is_quoted() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", 8 << 20));
    let device = host.device(&dev.path).await.unwrap();
    let error = host.format(&device, FsType::Xfs).await.unwrap_err();
    assert!(error.to_string().starts_with("mkfs.xfs failed (exit code 1)"), "{error}");
}
