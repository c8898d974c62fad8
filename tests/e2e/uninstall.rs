//! The release is removed while volumes are in use, and installed again.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::provisioning::{VERIFY, WRITE};
use crate::space::Space;
use crate::writer::{goes_on, undisturbed, writer};

crate::tests![uninstalling_leaves_volumes_and_their_pods_alone: alone scripts];

async fn uninstalling_leaves_volumes_and_their_pods_alone(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    space.claim(Claim::new("idle")).await?;
    let pod = space.start(writer("writer")).await?;
    let idle = space.start(Draft::new("idle").volume("data", claimed("idle"))).await?;
    let sum = idle.sh(WRITE).await?;
    space.stop("idle").await?;
    goes_on(&pod, 3).await?;
    let removed = space.cluster.script("chart.sh", &["uninstall"]).await;
    let gone = async {
        removed?;
        undisturbed(&pod, std::time::Duration::from_secs(4)).await?;
        for claim in ["data", "idle"] {
            let volume = space.volume_of(claim).await?.name_any();
            space.global::<PersistentVolume>().get(&volume).await?;
        }
        Ok(())
    };
    let gone: Result = gone.await;
    // Whatever came of it, the others need the release.
    let notes = space.cluster.script("chart.sh", &["install"]).await?;
    gone?;
    let promise = "Uninstalling deletes no volume";
    ensure(notes.contains(promise), || format!("nobody is told what happens to volumes: {notes}"))?;
    let idle = space.start(Draft::new("idle-again").volume("data", claimed("idle"))).await?;
    let verified = idle.sh(VERIFY).await?;
    ensure(verified.ends_with(&sum), || format!("written: {sum}; found: {verified}"))?;
    undisturbed(&pod, std::time::Duration::from_secs(4)).await?;
    space.stop("writer").await?;
    space.delete::<PersistentVolumeClaim>("data").await
}

fn claimed(name: &str) -> serde_json::Value {
    serde_json::json!({"persistentVolumeClaim": {"claimName": name}})
}
