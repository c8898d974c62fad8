//! Classes that ask for what is not there: a user reads what is wrong, and nothing breaks.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use serde_json::json;

use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::wait::{PATIENCE, Seen, until};

crate::tests![
    unknown_parameter_of_a_class_is_named,
    unknown_back_end_of_a_class_is_named,
    class_that_cannot_be_applied_is_told_and_harms_nothing,
];

async fn unknown_parameter_of_a_class_is_named(space: &Space) -> Result {
    let told = refused(space, json!({"flavour": "vanilla"})).await?;
    ensure(told.contains("flavour"), || format!("the key is not named: {told}"))
}

async fn unknown_back_end_of_a_class_is_named(space: &Space) -> Result {
    let told = refused(space, json!({"backend": "nowhere"})).await?;
    let there = space.cluster.directories.keys().all(|backend| told.contains(backend));
    ensure(told.contains("nowhere") && there, || format!("not named, or not what there is: {told}"))
}

/// What the events of a claim say whose class has these parameters beside those of the usual one.
async fn refused(space: &Space, parameters: serde_json::Value) -> Result<String> {
    let backend = space.cluster.directories.keys().next().cloned().unwrap_or_default();
    let mut all = json!({"backend": backend});
    crate::manifest::merge(&mut all, parameters);
    let class = json!({
        "provisioner": space.cluster.driver,
        "volumeBindingMode": "Immediate",
        "parameters": all,
    });
    let class = space.create_global::<StorageClass>("odd", class).await?;
    space.claim(Claim::new("data").class(&class)).await?;
    space.told("ProvisioningFailed", &["InvalidArgument"]).await
}

/// `file` has nothing to modify. The claim says so, its volume works on, and the claim can go back.
async fn class_that_cannot_be_applied_is_told_and_harms_nothing(space: &Space) -> Result {
    let class = json!({"driverName": space.cluster.driver, "parameters": {"iops": "500"}});
    let class = space.create_global::<VolumeAttributesClass>("fast", class).await?;
    space.claim(Claim::new("data")).await?;
    let pod = space.start(Draft::new("pod").mount("data")).await?;
    pod.sh(WRITE).await?;
    let asked = json!({"spec": {"volumeAttributesClassName": class}});
    space.patch::<PersistentVolumeClaim>("data", asked).await?;
    until("the claim to say that the class cannot be applied", PATIENCE, async || {
        let status = space.get_claim("data").await?.status.and_then(|status| status.modify_volume_status);
        Ok(match &status {
            Some(status) if status.status == "Infeasible" => Seen::Done(()),
            other => Seen::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    let told = space.told("VolumeModifyFailed", &["cannot change a volume"]).await?;
    eprintln!("a user reads: {told}");
    pod.sh(VERIFY).await?;
    crate::expansion::ask_for(space, "data", "128Mi").await?;
    space.stop("pod").await?;
    let pod = space.start(Draft::new("again").mount("data")).await?;
    crate::expansion::granted(space, "data", "128Mi").await?;
    pod.sh(VERIFY).await?;
    Ok(())
}
