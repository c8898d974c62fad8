//! The ways of using a volume: as a device, by many, by one pod alone, in parts, by other users than root.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

use crate::cluster::{EXT4, XFS};
use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::condition;
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

crate::tests![
    raw_block_keeps_data_on_both_nodes: two_nodes,
    many_nodes_read_one_volume: two_nodes,
    one_pod_alone_has_a_read_write_once_pod_volume,
    two_nodes_write_one_raw_block_volume: two_nodes,
    many_nodes_cannot_write_one_file_system,
    fs_group_owns_the_files,
    sub_paths_are_apart,
    ephemeral_volume_goes_with_its_pod,
];

async fn raw_block_keeps_data_on_both_nodes(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    space.claim(Claim::new("disk").block()).await?;
    let pod = space.start(Draft::new("first").device("disk").on(one)).await?;
    let bytes = pod.sh("blockdev --getsize64 /dev/disk").await?;
    ensure(bytes.trim() == "67108864", || format!("64 MiB were asked for, the device has {bytes}"))?;
    let sum = pod
        .sh("dd if=/dev/urandom of=/dev/disk bs=1M count=64 conv=fsync 2>/dev/null; sha256sum /dev/disk")
        .await?;
    space.stop("first").await?;
    let pod = space.start(Draft::new("second").device("disk").on(other)).await?;
    let found = pod.sh("sha256sum /dev/disk").await?;
    ensure(found == sum, || format!("written: {sum}; found: {found}"))
}

async fn many_nodes_read_one_volume(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    for class in [EXT4, XFS] {
        space.claim(Claim::new("data").class(class).size("320Mi")).await?;
        let pod = space.start(Draft::new("source").mount("data")).await?;
        let sum = pod.sh(WRITE).await?;
        space.stop("source").await?;
        space.snapshot(class, "data").await?;
        space.cut(class).await?;
        space.delete::<PersistentVolumeClaim>("data").await?;
        let claim = Claim::new("data").class(class).size("320Mi").mode("ReadOnlyMany");
        space.claim(claim.from("VolumeSnapshot", class)).await?;
        for (name, node) in [("one", one), ("other", other)] {
            let reader = space.start(Draft::new(name).mount_read_only("data").on(node)).await?;
            let verified = reader.sh(VERIFY).await?;
            ensure(verified.ends_with(&sum), || {
                format!("{class} on {node}: written {sum}; found {verified}")
            })?;
            let refused = reader.sh_fails("echo changed >/data/noise").await?;
            ensure(refused.contains("Read-only file system"), || format!("{class} on {node}: {refused}"))?;
        }
        for name in ["one", "other"] {
            space.stop(name).await?;
        }
        space.delete::<PersistentVolumeClaim>("data").await?;
    }
    Ok(())
}

async fn one_pod_alone_has_a_read_write_once_pod_volume(space: &Space) -> Result {
    space.claim(Claim::new("data").mode("ReadWriteOncePod")).await?;
    let first = space.start(Draft::new("first").mount("data")).await?;
    let sum = first.sh(WRITE).await?;
    let second = space.begin(Draft::new("second").mount("data")).await?;
    until("the scheduler to refuse the second pod", PATIENCE, async || {
        let pod = second.get().await?;
        let told = condition(&pod, "PodScheduled")
            .and_then(|condition| condition.message.clone())
            .unwrap_or_default();
        Ok(if told.contains("ReadWriteOncePod") { Seen::Done(()) } else { Seen::NotYet(told) })
    })
    .await?;
    space.stop("first").await?;
    second.wait().await?;
    let verified = second.sh(VERIFY).await?;
    ensure(verified.ends_with(&sum), || format!("written: {sum}; found: {verified}"))
}

async fn two_nodes_write_one_raw_block_volume(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    space.claim(Claim::new("disk").block().mode("ReadWriteMany")).await?;
    let first = space.start(Draft::new("first").device("disk").on(one)).await?;
    let second = space.start(Draft::new("second").device("disk").on(other)).await?;
    // Past the caches of both nodes, as a cluster file system or a database does it.
    let write = "dd if=/dev/urandom of=/dev/disk bs=1M count=4 conv=notrunc,fsync iflag=fullblock oflag=direct 2>/dev/null";
    let sum = "dd if=/dev/disk bs=1M count=4 iflag=direct 2>/dev/null";
    first.sh(write).await?;
    second.sh(&format!("{write} seek=8")).await?;
    for area in ["", " skip=8"] {
        let script = format!("{sum}{area} | sha256sum");
        let (here, there) = (first.sh(&script).await?, second.sh(&script).await?);
        ensure(here == there, || format!("{one} reads{area} {here}, {other} {there}"))?;
    }
    let areas = first
        .sh(&format!("{sum} | sha256sum; {sum} skip=8 | sha256sum; head -c 4194304 /dev/zero | sha256sum"))
        .await?;
    let different: std::collections::BTreeSet<_> = areas.lines().collect();
    ensure(different.len() == 3, || format!("a node's writes are missing: {areas}"))
}

/// A file system is not made for two writers: the claim is refused with words that say what to do.
async fn many_nodes_cannot_write_one_file_system(space: &Space) -> Result {
    space.claim(Claim::new("data").mode("ReadWriteMany")).await?;
    space.begin(Draft::new("pod").mount("data")).await?;
    space.told("ProvisioningFailed", &["volumeMode Block"]).await.map(|_| ())
}

async fn fs_group_owns_the_files(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let user = json!({"spec": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}}});
    let pod = space.start(Draft::new("pod").mount("data").with(user)).await?;
    let owner = pod.sh("echo mine >/data/file && stat -c '%u %g' /data/file").await?;
    ensure(owner.trim() == "1000 2000", || format!("a new file belongs to {owner}"))?;
    let root = pod.sh("stat -c '%g %A' /data").await?;
    ensure(root.starts_with("2000 drwxrws"), || format!("the volume's root is {root}"))
}

async fn sub_paths_are_apart(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let parts = json!({"volumeMounts": [
        {"name": "data", "mountPath": "/left", "subPath": "left"},
        {"name": "data", "mountPath": "/right", "subPath": "deep/right"},
    ]});
    let pod = space.start(Draft::new("pod").mount("data").container(parts)).await?;
    pod.sh("echo left >/left/file && echo right >/right/file").await?;
    let found = pod.sh("cat /data/left/file /data/deep/right/file").await?;
    ensure(found == "left\nright\n", || format!("found: {found}"))?;
    pod.sh_fails("ls /left/deep").await.map(|_| ())
}

async fn ephemeral_volume_goes_with_its_pod(space: &Space) -> Result {
    let template = json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": EXT4,
        "resources": {"requests": {"storage": "64Mi"}},
    }}}});
    let pod = space.start(Draft::new("pod").volume("data", template)).await?;
    pod.sh(&format!("{WRITE} && {VERIFY}")).await?;
    space.volume_of("pod-data").await?;
    space.stop("pod").await?;
    let claims = space.api::<PersistentVolumeClaim>();
    until("the claim to go with its pod", PATIENCE, async || {
        Ok(match claims.get_opt("pod-data").await? {
            None => Seen::Done(()),
            Some(_) => Seen::NotYet("it is there".to_owned()),
        })
    })
    .await
}
