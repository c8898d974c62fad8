//! What is printed of the cluster when a test has failed.

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};

use crate::harness::Result;
use crate::pod;
use crate::space::Space;

/// Lines of each log: the newest.
const LINES: i64 = 150;

/// Everything that may explain the failure. What cannot be had is said so.
pub async fn of(space: &Space) -> String {
    let mut text = String::new();
    let parts: [(&str, Result<Vec<String>>); 5] = [
        ("pods", pods(space).await),
        ("claims and volumes", volumes(space).await),
        ("attachments", attachments(space).await),
        ("events", events(space).await),
        ("nodes", nodes(space).await),
    ];
    for (title, lines) in parts {
        section(&mut text, title, lines);
    }
    for part in ["controller", "node"] {
        logs(space, part, &mut text).await;
    }
    text
}

fn section(text: &mut String, title: &str, lines: Result<Vec<String>>) {
    let lines = lines.unwrap_or_else(|failed| vec![failed.message().unwrap_or_default().to_owned()]);
    text.push_str(&format!("--- {title}\n"));
    for line in lines {
        text.push_str(&format!("    {line}\n"));
    }
}

async fn pods(space: &Space) -> Result<Vec<String>> {
    let all = space.api::<Pod>().list(&ListParams::default()).await?;
    let line = |one: &Pod| {
        let node = one.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
        format!("{} on {node}: {}", one.name_any(), pod::state(one))
    };
    Ok(all.items.iter().map(line).collect())
}

async fn volumes(space: &Space) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for claim in space.api::<PersistentVolumeClaim>().list(&ListParams::default()).await? {
        lines.push(format!("claim {}: {}", claim.name_any(), json(&claim.status)?));
        if let Some(volume) = claim.spec.and_then(|spec| spec.volume_name) {
            let volume = space.global::<PersistentVolume>().get_opt(&volume).await?;
            lines
                .push(format!("  its volume: {}", json(&volume.map(|volume| (volume.spec, volume.status)))?));
        }
    }
    Ok(lines)
}

async fn attachments(space: &Space) -> Result<Vec<String>> {
    let all = space.global::<VolumeAttachment>().list(&ListParams::default()).await?;
    let line =
        |one: &VolumeAttachment| Ok(format!("{}: {}", one.name_any(), json(&(&one.spec, &one.status))?));
    all.items.iter().map(line).collect()
}

async fn events(space: &Space) -> Result<Vec<String>> {
    let mut all = space.api::<Event>().list(&ListParams::default()).await?.items;
    all.sort_by_key(|event| {
        event.last_timestamp.clone().or_else(|| event.metadata.creation_timestamp.clone())
    });
    let line = |event: &Event| {
        let time = event.last_timestamp.clone().or_else(|| event.metadata.creation_timestamp.clone());
        format!(
            "{} {}/{} {}: {}",
            time.map(|time| time.0.to_string()).unwrap_or_default(),
            event.involved_object.kind.as_deref().unwrap_or_default(),
            event.involved_object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default(),
        )
    };
    Ok(all.iter().map(line).collect())
}

async fn nodes(space: &Space) -> Result<Vec<String>> {
    let all = space.global::<Node>().list(&ListParams::default()).await?;
    let line = |node: &Node| {
        let conditions = node.status.clone().and_then(|status| status.conditions).unwrap_or_default();
        let conditions: Vec<_> = conditions
            .iter()
            .filter(|one| one.status != "False")
            .map(|one| format!("{}={}", one.type_, one.status))
            .collect();
        let taints = node.spec.clone().and_then(|spec| spec.taints);
        Ok(format!("{}: {}; taints: {}", node.name_any(), conditions.join(" "), json(&taints)?))
    };
    all.items.iter().map(line).collect()
}

async fn logs(space: &Space, part: &str, text: &mut String) {
    let pods = match space.cluster.pods(part).await {
        Ok(pods) => pods,
        Err(failed) => return section(text, part, Err(failed)),
    };
    let api: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.release);
    for one in pods {
        for container in one.spec.iter().flat_map(|spec| &spec.containers) {
            let params = LogParams {
                container: Some(container.name.clone()),
                since_time: Some(space.began),
                tail_lines: Some(LINES),
                ..LogParams::default()
            };
            let log = api.logs(&one.name_any(), &params).await;
            let lines = log.map(|log| log.lines().map(str::to_owned).collect()).map_err(Into::into);
            section(text, &format!("{} {} ({})", one.name_any(), container.name, pod::state(&one)), lines);
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}
