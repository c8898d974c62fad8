//! The release is upgraded and rolled back while a pod writes.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::writer::{goes_on, undisturbed, writer};

crate::tests![upgrade_and_rollback_under_a_writer: alone scripts];

const PAUSE: Duration = Duration::from_secs(4);
/// Not in tests/cluster/values.yaml.
const CLASS: &str = "fairlead-e2e-upgrade";

async fn upgrade_and_rollback_under_a_writer(space: &Space) -> Result {
    let chart = async |arguments: &[&str]| space.cluster.script("chart.sh", arguments).await;
    chart(&["test"]).await?;
    let revision = chart(&["revision"]).await?.trim().to_owned();
    space.claim(Claim::new("data")).await?;
    let pod = space.start(writer("writer")).await?;
    goes_on(&pod, 3).await?;

    let before = parts(space).await?;
    let upgraded = upgrade(space, &pod, &before).await;
    // Whatever came of it, the others need the release as it was.
    chart(&["rollback", &revision]).await?;
    let changed = upgraded?;
    undisturbed(&pod, PAUSE).await?;
    let now = parts(space).await?;
    ensure(now.images == before.images, || format!("images before: {before:?}; rolled back: {now:?}"))?;
    ensure(now.pods.is_disjoint(&changed.pods), || format!("pods of {changed:?} are left in {now:?}"))?;
    ensure(space.global::<StorageClass>().get_opt(CLASS).await?.is_none(), || {
        "the class is left".to_owned()
    })?;
    chart(&["test"]).await?;
    used(space, "rolled-back", crate::cluster::EXT4).await?;
    space.stop("writer").await
}

async fn upgrade(space: &Space, pod: &crate::pod::Running<'_>, before: &Parts) -> Result<Parts> {
    let install = async |values: &[&str]| {
        let arguments: Vec<_> = ["install"].iter().chain(values).copied().collect();
        space.cluster.script("chart.sh", &arguments).await
    };
    // The grace period is part of the configuration, so all pods start anew.
    let class = format!("storageClasses.{CLASS}.backend=shared");
    let values = ["--set", "gracePeriod=20", "--set", class.as_str()];
    install(&values).await?;
    undisturbed(pod, PAUSE).await?;
    let configured = parts(space).await?;
    ensure(configured.pods.is_disjoint(&before.pods), || {
        format!("pods do not have the new values: before {before:?}, now {configured:?}")
    })?;
    used(space, "values", CLASS).await?;

    space.cluster.script("driver-image.sh", &["next"]).await?;
    install(&[&values[..], &["--set", "image.tag=next"]].concat()).await?;
    undisturbed(pod, PAUSE).await?;
    let changed = parts(space).await?;
    let all_next = changed.images.iter().all(|image| image.ends_with(":next"));
    ensure(all_next && changed.pods.is_disjoint(&configured.pods), || {
        format!("pods do not have the new image: {changed:?}")
    })?;
    used(space, "image", CLASS).await?;
    Ok(changed)
}

/// A volume is made, mounted, read and removed.
async fn used(space: &Space, name: &str, class: &str) -> Result {
    space.claim(Claim::new(name).class(class)).await?;
    let volume = json!({"persistentVolumeClaim": {"claimName": name}});
    let pod = space.start(Draft::new(name).volume("data", volume)).await?;
    pod.sh(&format!("{WRITE} && {VERIFY}")).await?;
    space.stop(name).await?;
    space.delete::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(name).await
}

/// The driver's pods, and the images that they run it from.
#[derive(Debug)]
struct Parts {
    pods: BTreeSet<String>,
    images: BTreeSet<String>,
}

async fn parts(space: &Space) -> Result<Parts> {
    let mut all = space.cluster.pods("controller").await?;
    all.extend(space.cluster.pods("node").await?);
    // One that ends may be seen for a while.
    all.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    let image = |pod: &Pod| {
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        containers.iter().find(|one| one.name == "fairlead").and_then(|one| one.image.clone())
    };
    Ok(Parts {
        pods: all.iter().map(kube::ResourceExt::name_any).collect(),
        images: all.iter().filter_map(image).collect(),
    })
}
