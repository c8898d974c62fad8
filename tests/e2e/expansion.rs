//! A claim that asks for more gets it, while its pod goes on writing.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use crate::cluster::{BTRFS, EXT4, XFS};
use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::Running;
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};
use crate::writer::{goes_on, undisturbed, writer};

crate::tests![
    xfs_grows_while_it_is_written,
    btrfs_grows_while_it_is_written,
    ext4_grows_while_it_is_written_or_says_why_not,
    block_volume_grows_while_it_is_used,
];

/// A pause that a person would notice.
const PAUSE: Duration = Duration::from_secs(5);

async fn xfs_grows_while_it_is_written(space: &Space) -> Result {
    grows(space, XFS).await
}

async fn btrfs_grows_while_it_is_written(space: &Space) -> Result {
    grows(space, BTRFS).await
}

async fn grows(space: &Space, class: &str) -> Result {
    space.claim(Claim::new("data").class(class).size("320Mi")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;
    ask_for(space, "data", "640Mi").await?;
    granted(space, "data", "640Mi").await?;
    shows(&pod, 500).await?;
    undisturbed(&pod, PAUSE).await?;
    // The new room is there.
    pod.sh("dd if=/dev/zero of=/data/big bs=1M count=400 2>/dev/null && sync").await?;
    Ok(())
}

/// The kernel lets only a process with CAP_SYS_RESOURCE grow an ext4 that is mounted. Some virtual machines take that
/// capability from everyone; there the user is told, and the next start of the pod grows it.
async fn ext4_grows_while_it_is_written_or_says_why_not(space: &Space) -> Result {
    space.claim(Claim::new("data").class(EXT4).size("64Mi")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;
    ask_for(space, "data", "256Mi").await?;
    if may_grow(space).await? {
        granted(space, "data", "256Mi").await?;
        shows(&pod, 200).await?;
    } else {
        space.told("VolumeResizeFailed", &["CAP_SYS_RESOURCE"]).await?;
    }
    undisturbed(&pod, PAUSE).await?;
    space.stop("writer").await?;
    let pod = space.start(writer("again")).await?;
    granted(space, "data", "256Mi").await?;
    shows(&pod, 200).await?;
    undisturbed(&pod, Duration::from_secs(120)).await?;
    Ok(())
}

/// Whether a privileged container has CAP_SYS_RESOURCE (24, include/uapi/linux/capability.h).
async fn may_grow(space: &Space) -> Result<bool> {
    let root = space.start(Draft::new("root").privileged()).await?;
    let mask = root.sh("awk '/^CapEff/ { print $2 }' /proc/self/status").await?;
    Ok(u64::from_str_radix(mask.trim(), 16)? & (1 << 24) != 0)
}

async fn block_volume_grows_while_it_is_used(space: &Space) -> Result {
    space.claim(Claim::new("disk").block().size("64Mi")).await?;
    let pod = space.start(Draft::new("pod").device("disk")).await?;
    pod.sh("echo before | dd of=/dev/disk conv=fsync 2>/dev/null").await?;
    ask_for(space, "disk", "128Mi").await?;
    granted(space, "disk", "128Mi").await?;
    until("the device to show its new size", PATIENCE, async || {
        let bytes = pod.sh("blockdev --getsize64 /dev/disk").await?;
        Ok(if bytes.trim() == "134217728" { Seen::Done(()) } else { Seen::NotYet(bytes) })
    })
    .await?;
    let kept = pod.sh("head -c 6 /dev/disk").await?;
    ensure(kept == "before", || format!("the data is now {kept:?}"))?;
    pod.sh("echo after | dd of=/dev/disk bs=1M seek=127 conv=fsync 2>/dev/null").await?;
    Ok(())
}

pub async fn ask_for(space: &Space, claim: &str, size: &str) -> Result {
    let more = json!({"spec": {"resources": {"requests": {"storage": size}}}});
    space.patch::<PersistentVolumeClaim>(claim, more).await.map(|_| ())
}

/// Waits until the claim says that it has the size.
pub async fn granted(space: &Space, claim: &str, size: &str) -> Result {
    until(format!("claim {claim} to have {size}"), PATIENCE, async || {
        let status = space.get_claim(claim).await?.status.unwrap_or_default();
        let has =
            status.capacity.as_ref().and_then(|capacity| capacity.get("storage")).map(|size| size.0.clone());
        if has.as_deref() == Some(size) {
            return Ok(Seen::Done(()));
        }
        Ok(Seen::NotYet(format!(
            "{has:?}, {:?}, {:?}",
            status.allocated_resource_statuses, status.conditions
        )))
    })
    .await
}

/// Waits until the file system in /data has at least so many MiB.
async fn shows(pod: &Running<'_>, mib: u64) -> Result {
    until(format!("/data of {} to have {mib} MiB", pod.name), PATIENCE, async || {
        let kib = pod.sh("df -k /data | awk 'NR > 1 { print $(NF - 4) }'").await?;
        Ok(if kib.trim().parse::<u64>()? >= mib * 1024 {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("{kib} KiB"))
        })
    })
    .await
}
