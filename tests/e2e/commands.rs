//! An operator's commands, run where docs/commands.md says: in a controller's pod.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::Value;

use crate::harness::{Result, ensure};
use crate::manifest::{Claim, Draft};
use crate::pod::{exec, ready};
use crate::space::Space;

crate::tests![commands_tell_whose_a_volume_is, commands_find_what_nobody_claims];

/// Runs `fairlead` with these arguments; whether it answered 0, and what it wrote.
async fn fairlead(space: &Space, arguments: &[&str]) -> Result<(bool, String)> {
    let pods = space.cluster.pods("controller").await?;
    let pod = pods.iter().find(|pod| ready(pod)).ok_or("no controller is ready")?;
    let api: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    exec(&api, &pod.name_any(), "fairlead", &[&["fairlead"], arguments].concat()).await
}

/// The same for what has a result; progress may follow it on the other output.
async fn told(space: &Space, arguments: &[&str]) -> Result<Value> {
    let (_, output) = fairlead(space, &[arguments, &["--output", "json"]].concat()).await?;
    let first = serde_json::Deserializer::from_str(&output).into_iter().next();
    first.and_then(|value| value.ok()).ok_or_else(|| format!("{arguments:?} gave no result: {output}").into())
}

/// Of a list, what has this value under this key.
fn entry<'a>(list: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry[key] == value)
}

async fn handle(space: &Space, claim: &str) -> Result<String> {
    let volume = space.volume_of(claim).await?;
    let csi = volume.spec.and_then(|spec| spec.csi).ok_or("the PersistentVolume is of no CSI driver")?;
    Ok(csi.volume_handle)
}

async fn commands_tell_whose_a_volume_is(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    let pod = space.start(Draft::new("pod").mount("data")).await?;
    let (node, id) = (pod.node().await?, handle(space, "data").await?);
    let list = told(space, &["volume", "list"]).await?;
    let listed = entry(&list, "id", &id).ok_or_else(|| format!("{id} is not listed: {list}"))?;
    ensure(listed.to_string().contains(&space.name) && listed.to_string().contains("data"), || {
        format!("not with its claim: {listed}")
    })?;
    ensure(listed["attached"].to_string().contains(&node), || format!("not with its server: {listed}"))?;
    let (sound, text) = fairlead(space, &["volume", "inspect", &id]).await?;
    ensure(sound && text.contains(&node) && text.contains(&space.name), || format!("inspected: {text}"))?;
    let server = told(space, &["server", "inspect", &node]).await?;
    ensure(server.to_string().contains(&id), || format!("not among the server's: {server}"))
}

async fn commands_find_what_nobody_claims(space: &Space) -> Result {
    space.claim(Claim::new("data")).await?;
    space.start(Draft::new("pod").mount("data")).await?;
    let claimed = handle(space, "data").await?;
    let backend = claimed.split('/').next().unwrap_or_default().to_owned();
    let order = ["volume", "create", &space.name, "--size", "64MiB", "--backend", &backend];
    let made = told(space, &order).await?;
    let id = made["id"].as_str().ok_or_else(|| format!("made without an id: {made}"))?.to_owned();
    let seen = look(space, &claimed, &id).await;
    // By hand made, by hand removed, whatever was seen.
    let (removed, text) = fairlead(space, &["volume", "remove", &id]).await?;
    ensure(removed, || format!("not removed: {text}"))?;
    seen?;
    let (known, text) = fairlead(space, &["volume", "info", &id]).await?;
    ensure(!known, || format!("removed and still there: {text}"))
}

async fn look(space: &Space, claimed: &str, unclaimed: &str) -> Result {
    let (clean, _) = fairlead(space, &["reconcile"]).await?;
    ensure(!clean, || "reconcile answers 0 where a volume is unclaimed".to_owned())?;
    let found = told(space, &["reconcile"]).await?;
    let entry =
        entry(&found["findings"], "volume", unclaimed).ok_or_else(|| format!("not found: {found}"))?;
    ensure(entry["kind"] == "unclaimed", || format!("found as {entry}"))?;
    ensure(!found.to_string().contains(claimed), || format!("a claimed volume is among them: {found}"))?;
    let (removed, text) = fairlead(space, &["volume", "remove", claimed]).await?;
    ensure(!removed && text.contains("PersistentVolume"), || format!("removing a claimed one: {text}"))
}
