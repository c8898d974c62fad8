//! Mounts, binds and their ends.

use std::fs::File;
use std::os::unix::fs::symlink;

use fairlead::error::Kind;
use fairlead::host::{Host, Linux, PathKind};
use fairlead::volume::FsType;

use crate::loopdev::{LoopDev, Place, sh};

const SIZE: u64 = 512 << 20;

fn options(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_read_only_bind_of_a_writable_mount_keeps_its_flags_and_takes_no_write() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let (staging, target) = (place.directory("staging"), place.path("target"));
    host.format(&host.device(&dev.path).await.unwrap(), FsType::Ext4).await.unwrap();
    host.mount(&dev.path, &staging, FsType::Ext4, &options(&["nosuid,noatime", "discard"])).await.unwrap();
    host.make_directory(&target).await.unwrap();
    host.bind(&staging, &target, true, &options(&["noexec", "discard"])).await.unwrap();
    let mounts = host.mounts().await.unwrap();
    let find = |path| mounts.iter().find(|mount| mount.target == path).unwrap();
    for flag in ["ro", "nosuid", "noexec", "noatime"] {
        assert!(find(target.clone()).options.iter().any(|option| option == flag), "{flag}");
    }
    assert!(find(staging.clone()).super_options.iter().any(|option| option == "discard"));
    std::fs::write(staging.join("x"), "x").unwrap();
    let refused = std::fs::write(target.join("y"), "y").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(host.remove_empty(&target).await.unwrap_err().kind(), Kind::Busy);

    let open = File::open(target.join("x")).unwrap();
    let error = host.unmount(&target).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "a live file system in use is not detached: {error}");
    drop(open);
    for _ in 0..2 {
        host.unmount(&target).await.unwrap();
        host.remove_empty(&target).await.unwrap();
    }
    host.unmount(&staging).await.unwrap();
}

#[tokio::test]
async fn a_read_only_bind_is_never_seen_writable() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let (staging, target) = (place.directory("staging"), place.path("target"));
    host.format(&host.device(&dev.path).await.unwrap(), FsType::Ext4).await.unwrap();
    host.mount(&dev.path, &staging, FsType::Ext4, &[]).await.unwrap();
    host.make_directory(&target).await.unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watch = std::thread::spawn({
        let (done, target) = (std::sync::Arc::clone(&done), target.clone());
        move || {
            let (mut seen, mut writable) = (0, 0);
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
                let here = table.lines().filter(|line| line.split(' ').nth(4) == target.to_str());
                for line in here {
                    seen += 1;
                    writable += usize::from(!line.split(' ').nth(5).unwrap().split(',').any(|o| o == "ro"));
                }
            }
            (seen, writable)
        }
    });
    for _ in 0..500 {
        host.bind(&staging, &target, true, &options(&["noexec"])).await.unwrap();
        host.unmount(&target).await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let (seen, writable) = watch.join().unwrap();
    host.unmount(&staging).await.unwrap();
    assert!(seen > 100, "the bind was seen only {seen} times");
    assert_eq!(writable, 0, "of {seen}");
}

#[tokio::test]
async fn a_device_is_bound_onto_a_file() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let device = host.device(&dev.path).await.unwrap();
    let target = place.path("target");
    host.make_file(&target).await.unwrap();
    host.bind(&dev.path, &target, false, &[]).await.unwrap();
    assert_eq!(host.path_kind(&target).await.unwrap(), PathKind::BlockDevice(device.number));
    assert_eq!(host.device(&target).await.unwrap().size, device.size);
    host.unmount(&target).await.unwrap();
    host.remove_empty(&target).await.unwrap();
    assert_eq!(host.path_kind(&target).await.unwrap(), PathKind::Missing);
}

#[tokio::test]
async fn stacked_mounts_all_go_and_the_neighbours_stay() {
    let (host, place) = (Linux::new(), Place::new());
    let (source, target, neighbour) =
        (place.directory("s"), place.directory("t with space"), place.directory("t"));
    for onto in [&target, &target, &target, &neighbour] {
        host.bind(&source, onto, false, &[]).await.unwrap();
    }
    let count = async |path| host.mounts().await.unwrap().iter().filter(|mount| mount.target == path).count();
    assert_eq!((count(target.clone()).await, count(neighbour.clone()).await), (3, 1));
    host.unmount(&target).await.unwrap();
    assert_eq!((count(target.clone()).await, count(neighbour.clone()).await), (0, 1));
    host.unmount(&neighbour).await.unwrap();
    host.unmount(&place.path("missing/x")).await.unwrap();
}

#[tokio::test]
async fn no_link_is_mounted_on_and_no_link_is_unmounted() {
    let (host, place) = (Linux::new(), Place::new());
    let (source, real, link) = (place.directory("s"), place.directory("real"), place.path("link"));
    symlink(&real, &link).unwrap();
    let error = host.bind(&source, &link, false, &[]).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    host.bind(&source, &real, false, &[]).await.unwrap();
    host.unmount(&link).await.unwrap();
    assert!(host.mounts().await.unwrap().iter().any(|mount| mount.target == real), "the link was followed");
    host.unmount(&real).await.unwrap();
}

#[tokio::test]
async fn a_refused_mount_names_the_file_system_but_no_option() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let target = place.directory("mnt");
    host.format(&host.device(&dev.path).await.unwrap(), FsType::Ext4).await.unwrap();
    for (fs, option) in [(FsType::Ext4, "secretoption=1"), (FsType::Ext4, "remount"), (FsType::Xfs, "nouuid")]
    {
        let error = host.mount(&dev.path, &target, fs, &options(&[option])).await.unwrap_err();
        assert!(!error.chain().contains(option), "{error:?}");
        assert!(error.to_string().contains(fs.as_str()), "{error}");
    }
    assert!(host.mounts().await.unwrap().iter().all(|mount| mount.target != target));
}

#[tokio::test]
async fn a_dead_file_system_in_use_is_detached() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let target = place.directory("mnt");
    host.format(&host.device(&dev.path).await.unwrap(), FsType::Xfs).await.unwrap();
    host.mount(&dev.path, &target, FsType::Xfs, &[]).await.unwrap();
    std::fs::write(target.join("x"), "x").unwrap();
    let user = File::open(target.join("x")).unwrap();
    sh("xfs_io", &["-x", "-c", "shutdown", target.to_str().unwrap()]);
    assert_eq!(host.path_kind(&target).await.unwrap(), PathKind::Dead);
    host.unmount(&target).await.unwrap();
    assert_eq!(host.path_kind(&target).await.unwrap(), PathKind::Directory);
    drop(user);
}
