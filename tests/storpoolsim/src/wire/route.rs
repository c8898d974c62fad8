//! Which call a path means.

use cloudsim::Request;
use serde_json::{Value, json};

use super::{Answer, read, write};
use crate::state::{Cluster, Refusal, Result};

/// The calls that can be made for the whole location.
const EVERYWHERE: [&str; 22] = [
    "VolumesList",
    "VolumesGetStatus",
    "VolumesGetStatusQuick",
    "VolumesSpace",
    "Volume",
    "VolumeDescribe",
    "VolumeGetInfo",
    "VolumeCreate",
    "VolumeUpdate",
    "VolumeFreeze",
    "VolumeDelete",
    "VolumeRevert",
    "SnapshotsList",
    "Snapshot",
    "SnapshotUpdate",
    "SnapshotGetInfo",
    "VolumeSnapshot",
    "SnapshotDelete",
    "VolumesGroupSnapshot",
    "AttachmentsList",
    "VolumesReassign",
    "VolumesReassignWait",
];

/// A path taken apart.
#[derive(Debug)]
struct Path<'a> {
    /// For the whole location.
    everywhere: bool,
    /// As one of the answers of all clusters.
    each: bool,
    /// The call and what it is about.
    call: Vec<&'a str>,
}

fn parse<'a>(cluster: &Cluster, path: &'a [String]) -> Result<Path<'a>> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let ["ctrl", "1.0", rest @ ..] = parts.as_slice() else {
        return Err(Refusal::invalid("No such API"));
    };
    let mut call = rest;
    if let ["RemoteCommand", to, rest @ ..] = call {
        let config = &cluster.config;
        if to.strip_prefix('~').unwrap_or(to) != config.cluster_id && *to != config.cluster_name {
            return Err(Refusal::multi_cluster(format!("Cluster '{to}' cannot be reached")));
        }
        call = rest;
    }
    let everywhere = call.first() == Some(&"MultiCluster");
    let each = everywhere && call.get(1) == Some(&"AllClusters");
    let call = &call[usize::from(everywhere) + usize::from(each)..];
    let name = call.first().copied().unwrap_or_default();
    if everywhere && !EVERYWHERE.contains(&name) {
        return Err(Refusal::invalid(format!("'{name}' is not a MultiCluster call")));
    }
    Ok(Path { everywhere, each, call: call.to_vec() })
}

/// The call alone: such as `/VolumesReassignWait` or `/Volume/{id}`.
pub(super) fn pattern(path: &[String]) -> String {
    let mut rest: &[String] = path.get(2..).unwrap_or_default();
    if let [first, _, after @ ..] = rest
        && first == "RemoteCommand"
    {
        rest = after;
    }
    while let [first, after @ ..] = rest
        && (first == "MultiCluster" || first == "AllClusters")
    {
        rest = after;
    }
    let fixed = if rest.first().is_some_and(|first| first == "KV") { 2 } else { 1 };
    let part =
        |(at, part): (usize, &String)| if at < fixed { format!("/{part}") } else { "/{id}".to_owned() };
    rest.iter().enumerate().map(part).collect()
}

/// Does what is asked for.
pub(super) fn answer(cluster: &mut Cluster, request: &Request) -> Result<Answer> {
    let path = parse(cluster, &request.path)?;
    let (everywhere, call) = (path.everywhere, path.call.as_slice());
    let answer = match request.method.as_str() {
        "GET" => read::answer(cluster, call, request, everywhere)?,
        "POST" => write::answer(cluster, call, &request.body)?,
        other => return Err(Refusal::invalid(format!("Method {other} is not supported"))),
    };
    Ok(match answer {
        Answer::Now(data) if path.each => Answer::Now(all(cluster, &data)),
        other => other,
    })
}

/// The answers of all clusters, of which there is one.
fn all(cluster: &Cluster, data: &Value) -> Value {
    let config = &cluster.config;
    json!({"clusters": [{"clusterId": config.cluster_id, "clusterName": config.cluster_name,
        "response": {"data": data}}]})
}

/// What is answered to a call that there is not.
pub(super) fn unknown<T>(call: &[&str]) -> Result<T> {
    Err(Refusal::invalid(format!("Unknown query '{}'", call.join("/"))))
}
