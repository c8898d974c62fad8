//! Fairlead's own pods end and come back: volumes stay, and what was begun is finished.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};

use crate::cluster::XFS;
use crate::expansion::{ask_for, granted};
use crate::harness::{Doing, Result, ensure, seconds};
use crate::manifest::{Claim, Draft};
use crate::pod;
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, at_once, until};
use crate::writer::{goes_on, undisturbed, writer};

crate::tests![
    node_plugin_restarts_under_a_writer: alone,
    controller_restarts_under_a_writer: alone,
    controller_killed_during_each_operation: alone,
    another_sidecar_leads_when_the_leader_dies: alone,
];

/// To the second, and more than a busy machine's scheduler takes.
const PAUSE: Duration = Duration::from_secs(4);

async fn node_plugin_restarts_under_a_writer(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;
    let before = replace(space, "node", &DeleteParams::default()).await?;
    all_ready(space, "node", &before).await?;
    undisturbed(&pod, PAUSE).await?;
    // The new process knows the old one's volume.
    let second = space.start(Draft::new("second").mount("data").on(&pod.node().await?)).await?;
    goes_on(&second, 3).await?;
    space.stop("second").await?;
    undisturbed(&pod, PAUSE).await?;
    space.stop("writer").await
}

async fn controller_restarts_under_a_writer(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;
    let before = replace(space, "controller", &DeleteParams::default()).await?;
    space.claim(Claim::new("meanwhile")).await?;
    let meanwhile = space.start(
        Draft::new("meanwhile")
            .volume("data", serde_json::json!({"persistentVolumeClaim": {"claimName": "meanwhile"}})),
    );
    let meanwhile = meanwhile.await?;
    meanwhile.sh(&format!("{WRITE} && {VERIFY}")).await?;
    all_ready(space, "controller", &before).await?;
    undisturbed(&pod, PAUSE).await.map(|_| ())
}

/// In every operation of a volume's life the controllers are killed, as soon as the operation is seen to have begun, and it
/// ends well.
async fn controller_killed_during_each_operation(space: &Space) -> Result {
    space.claim(Claim::new("data").class(XFS).size("320Mi")).await?;
    let pod = space.begin(Draft::new("pod").mount("data")).await?;
    cut_off(space, "provision", async || being_made(space, &["data"]).await).await?;
    cut_off(space, "attach", async || Ok(attachment(space, "data").await?.is_some())).await?;
    pod.wait().await?;
    pod.sh(WRITE).await?;

    ask_for(space, "data", "640Mi").await?;
    cut_off(space, "expand", async || {
        let status = space.get_claim("data").await?.status.unwrap_or_default();
        let resizing = status.conditions.is_some_and(|all| all.iter().any(|one| one.type_.contains("Resiz")));
        Ok(resizing || status.allocated_resource_statuses.is_some())
    })
    .await?;
    granted(space, "data", "640Mi").await?;

    space.snapshot("cut", "data").await?;
    cut_off(space, "snapshot", async || space.is_being_cut("cut").await).await?;
    space.cut("cut").await?;

    space.claim(Claim::new("restored").class(XFS).size("640Mi").from("VolumeSnapshot", "cut")).await?;
    space.claim(Claim::new("copy").class(XFS).size("640Mi").from("PersistentVolumeClaim", "data")).await?;
    let copies = space.begin(Draft::new("copies").mount("restored").mount("copy")).await?;
    cut_off(space, "restore and clone", async || being_made(space, &["restored", "copy"]).await).await?;
    copies.wait().await?;
    for place in ["restored", "copy"] {
        copies.sh(&format!("sed 's:/data/:/{place}/:' /{place}/sum | sha256sum -c")).await?;
    }
    pod.sh(VERIFY).await?;

    let pods = space.api::<Pod>();
    pods.delete("pod", &DeleteParams::default()).await.doing("delete the pod")?;
    cut_off(space, "detach", async || {
        let attachment = attachment(space, "data").await?;
        Ok(attachment.is_none_or(|attachment| attachment.metadata.deletion_timestamp.is_some()))
    })
    .await?;
    let pod = space.begin(Draft::new("again").mount("data")).await?;
    pod.wait().await?;
    pod.sh(VERIFY).await?;

    for name in ["copies", "again"] {
        space.stop(name).await?;
    }
    let claims = space.api::<PersistentVolumeClaim>();
    let volume = space.volume_of("data").await?.name_any();
    claims
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .doing("delete claims")?;
    // That the volumes go is checked when the namespace is removed, and once more when all tests have ended.
    cut_off(space, "delete", async || {
        let volume = space.global::<PersistentVolume>().get_opt(&volume).await.doing("get the volume")?;
        let phase = volume.and_then(|volume| volume.status).and_then(|status| status.phase);
        Ok(phase.is_none_or(|phase| phase == "Released"))
    })
    .await
}

/// Kills the controllers as soon as an operation has begun.
async fn cut_off(space: &Space, what: &str, begun: impl AsyncFn() -> Result<bool>) -> Result {
    at_once(format!("{what} to begin"), async || {
        Ok(if begun().await? { Seen::Done(()) } else { Seen::NotYet("no sign of it".to_owned()) })
    })
    .await?;
    replace(space, "controller", &DeleteParams::default().grace_period(0)).await?;
    eprintln!("killed the controllers once they had begun to {what}");
    Ok(())
}

/// Whether the driver is being asked for the volumes of all these claims, or was. The sidecar says so before it does.
async fn being_made(space: &Space, claims: &[&str]) -> Result<bool> {
    let events = space.api::<Event>().list(&ListParams::default()).await.doing("list events")?;
    let told = |claim: &&str| {
        events.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(claim)
                && event.reason.as_deref().is_some_and(|reason| reason.starts_with("Provisioning"))
        })
    };
    Ok(claims.iter().all(told))
}

/// The attachment of a claim's volume, `None` also where there is no volume yet.
async fn attachment(space: &Space, claim: &str) -> Result<Option<VolumeAttachment>> {
    let volume = space.get_claim(claim).await?.spec.and_then(|spec| spec.volume_name);
    let all = space.global::<VolumeAttachment>().list(&ListParams::default()).await;
    let mut all = all.doing("list attachments")?.items.into_iter();
    Ok(all.find(|one| volume.is_some() && one.spec.source.persistent_volume_name == volume))
}

async fn another_sidecar_leads_when_the_leader_dies(space: &Space) -> Result {
    let leases: Api<Lease> = Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    let holder = async || -> Result<String> {
        let all = leases.list(&ListParams::default()).await.doing("list leases")?;
        // external-provisioner's lease has the driver's name, its punctuation made plain.
        let name = space.cluster.driver.replace('.', "-");
        let lease =
            all.iter().find(|lease| lease.name_any() == name).ok_or_else(|| format!("no lease {name}"))?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        Ok(holder)
    };
    let first = holder().await?;
    let controllers = space.cluster.pods("controller").await?;
    ensure(controllers.len() > 1, || "with one replica nobody can take over".to_owned())?;
    // The holder's identity ends in the pod's name.
    let leader = controllers.iter().find(|pod| first.contains(&pod.name_any()));
    let leader = leader.ok_or_else(|| format!("no controller pod is {first}"))?;
    let pods: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    let began = Instant::now();
    pods.delete(&leader.name_any(), &DeleteParams::default().grace_period(0))
        .await
        .doing("kill the leader")?;
    let next = until("another leader", PATIENCE, async || {
        let now = holder().await?;
        Ok(if now != first && !now.is_empty() { Seen::Done(now) } else { Seen::NotYet(now) })
    })
    .await?;
    eprintln!("{next} leads {:.1} s after its predecessor was killed", seconds(began.elapsed()));
    space.claim(Claim::new("data")).await?;
    let pod = space.start(Draft::new("pod").mount("data")).await?;
    eprintln!("a pod runs {:.1} s after the kill", seconds(began.elapsed()));
    pod.sh(&format!("{WRITE} && {VERIFY}")).await?;
    let before =
        controllers.iter().map(ResourceExt::name_any).filter(|name| *name == leader.name_any()).collect();
    all_ready(space, "controller", &before).await
}

/// Deletes the driver's pods of one part, and gives their names.
async fn replace(space: &Space, part: &str, how: &DeleteParams) -> Result<BTreeSet<String>> {
    let pods: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    let names: BTreeSet<_> = space.cluster.pods(part).await?.iter().map(ResourceExt::name_any).collect();
    ensure(!names.is_empty(), || format!("there are no {part} pods"))?;
    for name in &names {
        match pods.delete(name, how).await {
            // It may be on its way out already.
            Ok(_) | Err(kube::Error::Api(_)) => {}
            Err(error) => return Err(error).doing(format!("delete {name}")),
        }
    }
    Ok(names)
}

/// Waits until all pods of a part are others than those, and ready.
async fn all_ready(space: &Space, part: &str, than: &BTreeSet<String>) -> Result {
    until(format!("new {part} pods to be ready"), PATIENCE, async || {
        let pods = space.cluster.pods(part).await?;
        let new = pods.iter().all(|one| pod::ready(one) && !than.contains(&one.name_any()));
        let enough = !pods.is_empty() && (part != "node" || pods.len() >= space.cluster.nodes.len());
        if new && enough {
            return Ok(Seen::Done(()));
        }
        let states: Vec<_> =
            pods.iter().map(|one| format!("{}: {}", one.name_any(), pod::state(one))).collect();
        Ok(Seen::NotYet(states.join("; ")))
    })
    .await
}
