//! Devices: read-only, dead, late.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use fairlead::error::Kind;
use fairlead::host::{Host, Linux, PathKind, Signature, uevent};
use fairlead::volume::FsType;

use crate::loopdev::{LoopDev, Place, sh};

const SIZE: u64 = 16 << 20;

#[tokio::test]
async fn a_read_only_device_takes_no_write_until_it_is_allowed_again() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let device = host.device(&dev.path).await.unwrap();
    assert_eq!(host.path_kind(&dev.path).await.unwrap(), PathKind::BlockDevice(device.number));
    let write = || {
        std::fs::OpenOptions::new().write(true).open(&dev.path).and_then(|file| file.write_all_at(b"x", 0))
    };
    host.set_readonly(&device, true).await.unwrap();
    write().unwrap_err();
    host.format(&device, FsType::Ext4).await.unwrap_err();
    host.set_readonly(&device, false).await.unwrap();
    write().unwrap();
}

#[tokio::test]
async fn a_disk_whose_storage_is_gone_is_an_error_and_never_blank() {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    let dev = LoopDev::attach(&image);
    let device = host.device(&dev.path).await.unwrap();
    assert_eq!(host.signature(&device).await.unwrap(), Signature::None);
    host.prove_blank(&device).await.unwrap();
    // The device still claims its size, but reads beyond the image's end fail: first only in its second half.
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(SIZE / 2).unwrap();
    for error in [host.signature(&device).await.unwrap_err(), host.prove_blank(&device).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Internal, "{error}");
        assert!(error.to_string().contains(&format!("at offset {}", SIZE - (1 << 20))), "{error}");
    }
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(0).unwrap();
    for error in [host.signature(&device).await.unwrap_err(), host.prove_blank(&device).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Internal, "{error}");
        assert!(
            error.to_string().contains("cannot read") && error.to_string().contains("at offset 0"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_device_that_is_held_can_be_formatted_but_not_become_another() {
    let (host, place) = (Linux::new(), Place::new());
    let other = place.image("other", SIZE);
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let device = host.device(&dev.path).await.unwrap();
    let held = host.hold(&device).await.unwrap();
    host.prove_blank(&device).await.unwrap();
    host.format(&device, FsType::Ext4).await.unwrap();
    assert_eq!(host.signature(&device).await.unwrap(), Signature::Fs(FsType::Ext4));
    // The kernel takes it off once nobody has it open any more.
    sh("losetup", &["-d", dev.path.to_str().unwrap()]);
    let rebind = || {
        let bound =
            std::process::Command::new("/usr/sbin/losetup").arg(&dev.path).arg(&other).output().unwrap();
        bound.status.success()
    };
    assert!(!rebind());
    drop(held);
    assert!(rebind());
}

#[tokio::test]
async fn a_device_that_is_gone_is_unavailable() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let mut device = host.device(&dev.path).await.unwrap();
    device.path = "/dev/no-such-disk".into();
    for error in [host.signature(&device).await.unwrap_err(), host.prove_blank(&device).await.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_changes_late_is_noticed_by_its_uevent() {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    let dev = LoopDev::attach(&image);
    // Well before the next turn of the poll, which comes after 1.55, 2.55 and 3.55 seconds.
    let change = async {
        tokio::time::sleep(Duration::from_millis(2700)).await;
        std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(2 * SIZE).unwrap();
        dev.refresh();
        Instant::now()
    };
    let name = dev.path.file_name().unwrap().to_str().unwrap().to_owned();
    let look = async || {
        let sectors = std::fs::read_to_string(format!("/sys/block/{name}/size")).unwrap();
        Ok((sectors.trim() == (2 * SIZE / 512).to_string()).then(Instant::now))
    };
    let (seen, changed) = tokio::join!(uevent::wait_for(Duration::from_secs(20), look), change);
    let late = seen.unwrap().expect("the change was never seen").saturating_duration_since(changed);
    println!("seen {late:?} after the change");
    assert!(late < Duration::from_millis(500));
    assert_eq!(host.device(&dev.path).await.unwrap().size.get(), 2 * SIZE);
}
