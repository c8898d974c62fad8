//! What the scheduler is told of room and of caps, and what a user reads who asks for more.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{BTRFS, CAPPED, EXT4, XFS};
use crate::harness::{Doing, Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::{Running, condition};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

crate::tests![
    capacity_is_published_and_kept_to,
    cap_per_server_keeps_a_pod_pending: two_nodes,
    kubelet_learns_the_cap_anew_after_a_refused_attach: alone two_nodes slow,
];

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

/// The API server is told of more room than there is, as it may be where disks are attached by other hands. The scheduler
/// believes it; the driver refuses, and the kubelet asks the driver for its cap as soon as it gives the pod up (two minutes).
async fn kubelet_learns_the_cap_anew_after_a_refused_attach(space: &Space) -> Result {
    let node = space.cluster.two_nodes()[0];
    let class = space.global::<StorageClass>().get(CAPPED).await.doing("get the class")?;
    let (driver, drivers) = (class.provisioner, space.global::<CSIDriver>());
    let period =
        drivers.get(&driver).await.doing("get the CSIDriver")?.spec.node_allocatable_update_period_seconds;
    let ask_every = async |seconds: Option<i64>| {
        let patch = Patch::Merge(json!({"spec": {"nodeAllocatableUpdatePeriodSeconds": seconds}}));
        drivers.patch(&driver, &PatchParams::default(), &patch).await.doing("change the CSIDriver")
    };
    // Otherwise it would be asked soon anyway.
    ask_every(Some(3600)).await?;
    let learnt = learns(space, node, &driver).await;
    ask_every(period).await?;
    learnt
}

async fn learns(space: &Space, node: &str, driver: &str) -> Result {
    let name = |index: usize| format!("pod-{index}");
    for index in 0..=CAP {
        space.claim(Claim::new(&format!("data-{index}")).class(CAPPED)).await?;
    }
    let pod = |index: usize| Draft::new(&name(index)).volume("data", claim_volume(index)).on(node);
    for index in 0..CAP {
        space.start(pod(index)).await?;
    }
    let nodes = space.global::<CSINode>();
    let mut told = nodes.get(node).await.doing("get the CSINode")?;
    let ours = told.spec.drivers.iter_mut().find(|one| one.name == driver);
    let room = ours.and_then(|one| one.allocatable.as_mut()).ok_or("the CSINode tells no cap")?;
    ensure(room.count == Some(3), || format!("the cap is told as {:?}", room.count))?;
    room.count = Some(10);
    nodes.replace(node, &kube::api::PostParams::default(), &told).await.doing("tell of more room")?;
    space.begin(pod(CAP)).await?;
    space.told("FailedAttachVolume", &["3 of 3 volumes"]).await?;
    until("the cap to be told as 3 again", Duration::from_secs(400), async || {
        let told = nodes.get(node).await?;
        let ours = told.spec.drivers.into_iter().find(|one| one.name == driver);
        Ok(match ours.and_then(|one| one.allocatable).and_then(|room| room.count) {
            Some(3) => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await
}

fn claim_volume(index: usize) -> serde_json::Value {
    json!({"persistentVolumeClaim": {"claimName": format!("data-{index}")}})
}
