//! Nodes and the API server fail or are taken away: running pods do not notice, and no volume has two writers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::harness::{Doing, Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::{self, Running};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};
use crate::writer::{goes_on, undisturbed, writer, written};

crate::tests![
    drained_node_gives_its_volumes_to_the_other: alone two_nodes,
    kubelet_restarts_under_a_writer: alone scripts,
    api_server_is_away_for_a_minute: alone scripts slow,
    dead_node_loses_its_volume_and_no_writer_is_doubled: alone scripts,
];

const PAUSE: Duration = Duration::from_secs(4);

async fn drained_node_gives_its_volumes_to_the_other(space: &Space) -> Result {
    let [one, _] = space.cluster.two_nodes();
    space.claim(Claim::new("data")).await?;
    let template = writer("writer").manifest(&space.cluster.image);
    let mut spec = template["spec"].clone();
    spec["restartPolicy"] = json!("Always");
    let set = json!({
        "metadata": {"name": "writer"},
        "spec": {
            "serviceName": "writer",
            "selector": {"matchLabels": {"app": "writer"}},
            "template": {"metadata": {"labels": {"app": "writer"}}, "spec": spec},
        },
    });
    cordon(space, &space.cluster.nodes[1..], true).await?;
    let begun = async {
        space.create::<k8s_openapi::api::apps::v1::StatefulSet>(set).await?;
        let pod = Running { space, name: "writer-0".to_owned() };
        pod.wait().await?;
        goes_on(&pod, 10).await.map(|written| (pod, written))
    };
    let begun = begun.await;
    cordon(space, &space.cluster.nodes[1..], false).await?;
    let (pod, before) = begun?;
    ensure(pod.node().await? == one, || "the writer is on a cordoned node".to_owned())?;

    cordon(space, &space.cluster.nodes[..1], true).await?;
    let drained = async {
        evict_all(space, one).await?;
        until("the writer to run elsewhere", PATIENCE, async || {
            let now = pod.get().await?;
            let node = now.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
            let there = pod::ready(&now) && node != one;
            Ok(if there {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("on {node:?}: {}", pod::state(&now)))
            })
        })
        .await?;
        goes_on(&pod, 10).await
    };
    let drained = drained.await;
    cordon(space, &space.cluster.nodes[..1], false).await?;
    let after = drained?;
    ensure(after.lines > before.lines, || format!("before the drain {before:?}, after it {after:?}"))
}

async fn cordon(space: &Space, nodes: &[String], on: bool) -> Result {
    let api = space.global::<Node>();
    for node in nodes {
        let patch = Patch::Merge(json!({"spec": {"unschedulable": on}}));
        api.patch(node, &PatchParams::default(), &patch).await.doing(format!("cordon {node}: {on}"))?;
    }
    Ok(())
}

/// As `kubectl drain --ignore-daemonsets` does it: again where a disruption budget says "not now".
async fn evict_all(space: &Space, node: &str) -> Result {
    let all: Api<Pod> = Api::all(space.cluster.client.clone());
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    until(format!("node {node} to be empty"), PATIENCE, async || {
        let mut left = Vec::new();
        for one in all.list(&here).await? {
            if one.owner_references().iter().any(|owner| owner.kind == "DaemonSet") {
                continue;
            }
            let pods: Api<Pod> =
                Api::namespaced(space.cluster.client.clone(), &one.namespace().unwrap_or_default());
            let evicted = pods.evict(&one.name_any(), &EvictParams::default()).await;
            left.push(format!(
                "{} ({})",
                one.name_any(),
                evicted.map_or_else(|error| error.to_string(), |_| "going".to_owned())
            ));
        }
        Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(left.join(", ")) })
    })
    .await
}

async fn kubelet_restarts_under_a_writer(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    space.claim(Claim::new("data")).await?;
    space.claim(Claim::new("disk").block()).await?;
    let pod = space.start(writer("writer").device("disk").on(one)).await?;
    goes_on(&pod, 3).await?;
    space.cluster.script("node.sh", &["restart", Cluster::number(one)?, "kubelet"]).await?;
    undisturbed(&pod, PAUSE).await?;
    // What the new kubelet finds mounted it can also unmount.
    space.stop("writer").await?;
    let pod = space.start(writer("again").on(other)).await?;
    goes_on(&pod, 3).await?;
    space.stop("again").await
}

async fn api_server_is_away_for_a_minute(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;
    let before = restarts(space).await?;
    space.cluster.script("control.sh", &["stop", "kube-apiserver"]).await?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    space.cluster.script("control.sh", &["start", "kube-apiserver"]).await?;
    until("the API server to answer", PATIENCE, async || {
        space.global::<Node>().list(&ListParams::default()).await?;
        Ok(Seen::Done(()))
    })
    .await?;
    let written = undisturbed(&pod, PAUSE).await?;
    ensure(written.lines > 300, || format!("a minute's lines are missing: {written:?}"))?;
    space.claim(Claim::new("after")).await?;
    let volume = json!({"persistentVolumeClaim": {"claimName": "after"}});
    let after = space.start(Draft::new("after").volume("data", volume)).await?;
    after.sh(&format!("{WRITE} && {VERIFY}")).await?;
    // A sidecar that cannot renew its lease ends; the driver does not.
    let after = restarts(space).await?;
    ensure(after == before, || {
        format!("restarts of the driver's containers: before {before:?}, after {after:?}")
    })
}

/// How often the driver's own containers were started again, by pod.
async fn restarts(space: &Space) -> Result<Vec<(String, i32)>> {
    let mut pods = space.cluster.pods("controller").await?;
    pods.extend(space.cluster.pods("node").await?);
    let count = |one: &Pod| {
        let statuses = one.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let driver = statuses.into_iter().flatten().find(|status| status.name == "fairlead");
        (one.name_any(), driver.map_or(0, |status| status.restart_count))
    };
    Ok(pods.iter().map(count).collect())
}

/// First only the kubelet is gone: its node looks dead and its writer goes on. Whatever the cluster tries, nobody else gets
/// the volume. Then the node has no power and is said to be out of service: now the volume moves, with all that was written.
async fn dead_node_loses_its_volume_and_no_writer_is_doubled(space: &Space) -> Result {
    let [one, other] = space.cluster.two_nodes();
    let number = Cluster::number(other)?;
    space.claim(Claim::new("data")).await?;
    let pod = space.start(writer("writer").on(other)).await?;
    goes_on(&pod, 10).await?;
    space.cluster.script("node.sh", &["stop", number, "kubelet"]).await?;
    let outcome = dies(space, one, other).await;
    // Whatever came of it, the others need the node.
    let node = space.global::<Node>();
    let clean = Patch::Merge(json!({"spec": {"taints": null}}));
    node.patch(other, &PatchParams::default(), &clean).await.doing("take the taint away")?;
    space.cluster.script("node.sh", &["up", number]).await?;
    until(format!("{other} to be back"), PATIENCE, async || {
        let there = is_ready(&node.get(other).await?);
        let driver = space.cluster.pods("node").await?;
        let driver = driver.iter().filter(|one| pod::ready(one)).count() >= space.cluster.nodes.len();
        Ok(if there && driver {
            Seen::Done(())
        } else {
            Seen::NotYet(format!("ready: {there}, driver: {driver}"))
        })
    })
    .await?;
    outcome?;
    space.stop("heir").await?;
    let back = space.start(writer("back").on(other)).await?;
    goes_on(&back, 10).await.map(|_| ())
}

async fn dies(space: &Space, one: &str, other: &str) -> Result {
    let number = Cluster::number(other)?;
    let now = DeleteParams::default().grace_period(0);
    space.api::<Pod>().delete("writer", &now).await.doing("forget the writer")?;
    let heir = space.begin(writer("heir").on(one)).await?;
    let volume = space.volume_of("data").await?.name_any();
    let attachments = space.global::<VolumeAttachment>();
    let all = attachments.list(&ListParams::default()).await.doing("list attachments")?;
    let old = all.iter().find(|one| one.spec.source.persistent_volume_name.as_ref() == Some(&volume));
    let old = old.ok_or("the writer's volume is not attached")?.name_any();
    attachments.delete(&old, &DeleteParams::default()).await.doing("force a detach")?;
    let refused = until("the driver to refuse the detach", PATIENCE, async || {
        let Some(attachment) = attachments.get_opt(&old).await? else {
            return Ok(Seen::Never("the volume was taken from a node that writes to it".to_owned()));
        };
        let error = attachment.status.and_then(|status| status.detach_error).and_then(|error| error.message);
        Ok(error.map_or_else(|| Seen::NotYet("no error yet".to_owned()), Seen::Done))
    })
    .await?;
    ensure(refused.contains(other), || format!("the node is not named: {refused}"))?;
    space.told("DetachBlocked", &[other]).await?;
    let first = last_number(space, number).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let second = last_number(space, number).await?;
    ensure(second > first, || format!("the old writer should go on: {first}, then {second}"))?;
    ensure(pod::phase(&heir.get().await?) == "Pending", || "two writers at once".to_owned())?;

    space.cluster.script("node.sh", &["kill", number]).await?;
    let acknowledged = last_number(space, number).await?;
    let node = space.global::<Node>();
    until(format!("{other} to be taken for dead"), PATIENCE, async || {
        Ok(if is_ready(&node.get(other).await?) {
            Seen::NotYet("it is Ready".to_owned())
        } else {
            Seen::Done(())
        })
    })
    .await?;
    ensure(pod::phase(&heir.get().await?) == "Pending", || {
        "moved without a proof that the node is off".to_owned()
    })?;
    let taint =
        json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]);
    let mut taints = node.get(other).await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.extend(serde_json::from_value::<Vec<_>>(taint)?);
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    node.patch(other, &PatchParams::default(), &patch).await.doing("say that the node is out of service")?;
    heir.wait().await?;
    space.told("VolumeFenced", &[other]).await?;
    goes_on(&heir, 10).await?;
    let by_old = heir.sh(&format!("grep -c ' {other}$' /data/log")).await?;
    let by_old: u64 = by_old.trim().parse()?;
    ensure(by_old >= acknowledged, || {
        format!("{acknowledged} writes were acknowledged, {by_old} are there")
    })?;
    written(&heir).await.map(|_| ())
}

/// The last write that the pod `writer` had acknowledged, from its log on the node: its kubelet gives none.
async fn last_number(space: &Space, node: &str) -> Result<u64> {
    // The node's files are the test cluster's, also when the node is off.
    let log = space.cluster.script("node.sh", &["logs", node, &space.name, "writer"]).await?;
    let last = log.lines().next_back().unwrap_or_default();
    // TIME STREAM FLAG NUMBER ... (the format of the container runtime interface)
    last.split_whitespace().nth(3).unwrap_or_default().parse().doing(format!("read {last:?}"))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
}
