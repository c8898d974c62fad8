//! What the scheduler is told of room and of caps, and what a user reads who asks for more.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::cluster::{BTRFS, CAPPED, EXT4, XFS};
use crate::harness::{Doing, Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::{Running, condition};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

crate::tests![capacity_is_published_and_kept_to, cap_per_server_keeps_a_pod_pending: two_nodes];

async fn capacity_is_published_and_kept_to(space: &Space) -> Result {
    let objects: Api<CSIStorageCapacity> =
        Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    until("a CSIStorageCapacity for each class", PATIENCE, async || {
        let all = objects.list(&ListParams::default()).await.doing("list CSIStorageCapacity")?.items;
        let told = |class: &&str| {
            all.iter().any(|one| {
                one.storage_class_name == **class
                    && one.node_topology.is_some()
                    && one.capacity.as_ref().is_some_and(|room| room.0 != "0")
                    && one.maximum_volume_size.is_some()
            })
        };
        let missing: Vec<_> = [EXT4, XFS, BTRFS].into_iter().filter(|class| !told(class)).collect();
        Ok(if missing.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("none for {missing:?}")) })
    })
    .await?;
    // Smaller than the largest volume, and more than any test machine has.
    space.claim(Claim::new("huge").size("15Ti")).await?;
    let pod = space.begin(Draft::new("pod").mount("huge")).await?;
    unschedulable(&pod, &["did not have enough free storage"]).await
}

/// Waits until the scheduler has said all these words about a pod.
async fn unschedulable(pod: &Running<'_>, words: &[&str]) -> Result {
    until(format!("{} to stay pending because of {words:?}", pod.name), PATIENCE, async || {
        let found = pod.get().await?;
        if found.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return Ok(Seen::Never("it has a node".to_owned()));
        }
        let told = condition(&found, "PodScheduled").and_then(|one| one.message.clone()).unwrap_or_default();
        Ok(if words.iter().all(|word| told.contains(word)) { Seen::Done(()) } else { Seen::NotYet(told) })
    })
    .await
}

/// The class is of a driver with `limits.perServer: 3`.
const CAP: usize = 3;

async fn cap_per_server_keeps_a_pod_pending(space: &Space) -> Result {
    let fits = CAP * space.cluster.nodes.len();
    let name = |index: usize| format!("pod-{index}");
    for index in 0..=fits {
        space.claim(Claim::new(&format!("data-{index}")).class(CAPPED)).await?;
    }
    let pod = |index: usize| Draft::new(&name(index)).volume("data", claim_volume(index));
    let mut running = Vec::new();
    for index in 0..fits {
        running.push(space.begin(pod(index)).await?);
    }
    for pod in &running {
        pod.wait().await?;
        pod.sh(WRITE).await?;
    }
    let one_more = space.begin(pod(fits)).await?;
    unschedulable(&one_more, &["max volume count"]).await?;
    // It is not that the scheduler was only slow.
    tokio::time::sleep(Duration::from_secs(5)).await;
    unschedulable(&one_more, &["max volume count"]).await?;
    let pods = space.api::<Pod>().list(&ListParams::default()).await.doing("list pods")?;
    let on = |node: &String| {
        pods.iter()
            .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(node))
            .count()
    };
    let each: Vec<_> = space.cluster.nodes.iter().map(on).collect();
    ensure(each.iter().all(|count| *count == CAP), || format!("pods of each node: {each:?}"))?;

    space.stop(&name(0)).await?;
    one_more.wait().await?;
    one_more.sh(&format!("{WRITE} && {VERIFY}")).await?;
    for pod in &running[1..] {
        pod.sh(VERIFY).await?;
    }
    ensure(one_more.get().await?.name_any() == name(fits), || "another pod than asked for".to_owned())
}

fn claim_volume(index: usize) -> serde_json::Value {
    serde_json::json!({"persistentVolumeClaim": {"claimName": format!("data-{index}")}})
}
