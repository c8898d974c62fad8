//! Snapshots, what is made from them, clones, and snapshots of several volumes at once.

use serde_json::json;

use crate::cluster::{BTRFS, EXT4, XFS};
use crate::crd;
use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

crate::tests![
    snapshot_keeps_what_was_and_restores_it,
    clone_has_the_data_and_goes_its_own_way,
    xfs_snapshot_is_mounted_beside_its_source,
    btrfs_snapshot_is_mounted_beside_its_source,
    group_snapshot_holds_its_members_together,
];

async fn snapshot_keeps_what_was_and_restores_it(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let pod = space.start(Draft::new("source").mount("data")).await?;
    let sum = pod.sh(WRITE).await?;
    space.snapshot("before", "data").await?;
    space.cut("before").await?;
    pod.sh("echo changed >/data/noise && sync").await?;
    space.stop("source").await?;
    // The snapshot outlives its volume, and the new volume may be larger.
    space.delete::<k8s_openapi::api::core::v1::PersistentVolumeClaim>("data").await?;
    space.claim(Claim::new("data").from("VolumeSnapshot", "before").size("128Mi")).await?;
    let pod = space.start(Draft::new("restored").mount("data")).await?;
    let verified = pod.sh(VERIFY).await?;
    ensure(verified.ends_with(&sum), || format!("cut: {sum}; restored: {verified}"))?;
    let kib: u64 = pod.sh("df -k /data | awk 'NR > 1 { print $(NF - 4) }'").await?.trim().parse()?;
    ensure(kib > 100 * 1024, || format!("the file system was not grown to 128 MiB: {kib} KiB"))
}

async fn clone_has_the_data_and_goes_its_own_way(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let source = space.start(Draft::new("source").mount("data")).await?;
    let sum = source.sh(WRITE).await?;
    space.claim(Claim::new("copy").from("PersistentVolumeClaim", "data")).await?;
    let copy = space.start(Draft::new("copy").mount("copy")).await?;
    let verify = VERIFY.replace("/data/sum", "/copy/sum");
    let verified = copy.sh(&format!("sed -i 's:/data/:/copy/:' /copy/sum && {verify}")).await?;
    ensure(verified.ends_with(&sum.replace("/data/", "/copy/")), || {
        format!("source: {sum}; clone: {verified}")
    })?;
    copy.sh("echo changed >/copy/noise && sync").await?;
    source.sh(VERIFY).await?;
    Ok(())
}

async fn xfs_snapshot_is_mounted_beside_its_source(space: &Space) -> Result {
    beside(space, XFS).await
}

async fn btrfs_snapshot_is_mounted_beside_its_source(space: &Space) -> Result {
    beside(space, BTRFS).await
}

/// Both file systems have the same UUID, and one node mounts them.
async fn beside(space: &Space, class: &str) -> Result {
    space.claim(Claim::new("data").class(class).size("320Mi")).await?;
    let source = space.start(Draft::new("source").mount("data")).await?;
    let sum = source.sh(WRITE).await?;
    space.snapshot("before", "data").await?;
    space.cut("before").await?;
    space.claim(Claim::new("copy").class(class).size("320Mi").from("VolumeSnapshot", "before")).await?;
    let copy = space.start(Draft::new("copy").mount("copy").on(&source.node().await?)).await?;
    let found = copy.sh("sed 's:/data/:/copy/:' /copy/sum | sha256sum -c && cat /copy/sum").await?;
    ensure(found.ends_with(&sum), || format!("source: {sum}; copy: {found}"))?;
    copy.sh("echo changed >/copy/noise && sync").await?;
    source.sh(VERIFY).await?;
    Ok(())
}

/// Numbers go to one volume, then to the other. At every moment the second lags by at most one.
const IN_TURNS: &str = "n=0; while :; do n=$((n + 1)); echo $n | dd of=/one/n conv=fsync 2>/dev/null || exit 1; \
    echo $n | dd of=/two/n conv=fsync 2>/dev/null || exit 1; done";

async fn group_snapshot_holds_its_members_together(space: &Space) -> Result {
    for name in ["one", "two"] {
        space
            .claim(Claim::new(name).class(EXT4).with(json!({"metadata": {"labels": {"group": "both"}}})))
            .await?;
    }
    let pod = space.start(Draft::new("writer").mount("one").mount("two").script(IN_TURNS)).await?;
    until("the writer to begin", PATIENCE, async || {
        let (begun, told) = pod.try_sh("cat /two/n").await?;
        Ok(if begun { Seen::Done(()) } else { Seen::NotYet(told) })
    })
    .await?;
    space.stop("writer").await?;
    space.group_snapshot("both", "both").await?;
    let members = space.snapshots().await?;
    ensure(members.len() == 2, || format!("members: {members:?}"))?;
    for (index, snapshot) in members.iter().enumerate() {
        space.claim(Claim::new(&format!("copy-{index}")).from("VolumeSnapshot", snapshot)).await?;
    }
    let copies = space.start(Draft::new("copies").mount("copy-0").mount("copy-1")).await?;
    let told = copies.sh("cat /copy-0/n /copy-1/n").await?;
    let numbers: Vec<u64> = told.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    let close = matches!(numbers[..], [one, two] if one.abs_diff(two) <= 1 && one > 0);
    ensure(close, || format!("the members are not of one moment: {told}"))?;
    // Members of a group go with it, and only with it.
    let groups = space.objects(&crd::groups());
    groups.delete("both", &kube::api::DeleteParams::default()).await?;
    until("the members to go with their group", PATIENCE, async || {
        let left = space.snapshots().await?;
        Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("{left:?}")) })
    })
    .await
}
