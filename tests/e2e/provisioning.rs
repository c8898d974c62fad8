//! A claim becomes a volume with a file system, and keeps what is written to it.

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;

use crate::cluster::{BTRFS, EXT4, XFS};
use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::space::Space;

crate::tests![
    ext4_keeps_data_over_a_pod_restart,
    xfs_keeps_data_over_a_pod_restart,
    btrfs_keeps_data_over_a_pod_restart
];

async fn ext4_keeps_data_over_a_pod_restart(space: &Space) -> Result {
    keeps_data(space, EXT4, "ext4").await
}

async fn xfs_keeps_data_over_a_pod_restart(space: &Space) -> Result {
    keeps_data(space, XFS, "xfs").await
}

async fn btrfs_keeps_data_over_a_pod_restart(space: &Space) -> Result {
    keeps_data(space, BTRFS, "btrfs").await
}

/// Fills a file with noise and keeps its checksum beside it.
pub const WRITE: &str = "dd if=/dev/urandom of=/data/noise bs=1M count=8 2>/dev/null && \
    sha256sum /data/noise >/data/sum && sync && cat /data/sum";
pub const VERIFY: &str = "sha256sum -c /data/sum && cat /data/sum";

async fn keeps_data(space: &Space, class: &str, fs: &str) -> Result {
    space.claim(Claim::new("data").class(class).size("320Mi")).await?;
    let pod = space.start(Draft::new("first").mount("data")).await?;
    let mounted = pod.sh("grep ' /data ' /proc/mounts").await?;
    ensure(mounted.contains(&format!(" /data {fs} rw")), || format!("not {fs}, or not writable: {mounted}"))?;
    let kib: u64 = pod.sh("df -k /data | awk 'NR > 1 { print $(NF - 4) }'").await?.trim().parse()?;
    ensure((250 * 1024..=320 * 1024).contains(&kib), || format!("of 320 MiB, {kib} KiB show"))?;
    let sum = pod.sh(WRITE).await?;
    space.stop("first").await?;

    let pod = space.start(Draft::new("second").mount("data")).await?;
    let verified = pod.sh(VERIFY).await?;
    ensure(verified.ends_with(&sum), || format!("written: {sum}; found: {verified}"))?;
    space.stop("second").await?;

    // A claim that is deleted takes its volume with it.
    let volume = space.volume_of("data").await?.name_any();
    space.delete::<k8s_openapi::api::core::v1::PersistentVolumeClaim>("data").await?;
    let volumes = space.global::<PersistentVolume>();
    crate::wait::until(format!("volume {volume} to be gone"), crate::wait::PATIENCE, async || {
        Ok(match volumes.get_opt(&volume).await? {
            None => crate::wait::Seen::Done(()),
            Some(_) => crate::wait::Seen::NotYet("it is there".to_owned()),
        })
    })
    .await
}
