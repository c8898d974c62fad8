//! Which call a path means.

use cloudsim::Request;
use serde_json::{Value, json};

use super::{Answer, error, read, write};
use crate::config::{Config, Status};
use crate::location;
use crate::state::{Cluster, Kind, Refusal, Result};

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
    /// The place of the cluster that carries it out.
    at: usize,
    /// For the whole location.
    everywhere: bool,
    /// As one of the answers of all clusters.
    each: bool,
    /// The call and what it is about.
    call: Vec<&'a str>,
}

fn parse<'a>(all: &[&mut Cluster], path: &'a [String]) -> Result<Path<'a>> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let ["ctrl", "1.0", rest @ ..] = parts.as_slice() else {
        return Err(Refusal::invalid("No such API"));
    };
    let (mut call, mut at) = (rest, 0);
    if let ["RemoteCommand", to, rest @ ..] = call {
        let is = |cluster: &&mut Cluster| match to.strip_prefix('~') {
            Some(id) => cluster.config.cluster_id == id,
            None => cluster.config.cluster_name == *to,
        };
        let found = all.iter().position(is);
        let reached = found.filter(|at| *at == 0 || all[*at].config.status != Status::CutOff);
        at = reached.ok_or_else(|| Refusal::multi_cluster(format!("Cluster '{to}' cannot be reached")))?;
        call = rest;
    }
    let everywhere = call.first() == Some(&"MultiCluster");
    let each = everywhere && call.get(1) == Some(&"AllClusters");
    let call = &call[usize::from(everywhere) + usize::from(each)..];
    let name = call.first().copied().unwrap_or_default();
    if everywhere && !EVERYWHERE.contains(&name) {
        return Err(Refusal::invalid(format!("'{name}' is not a MultiCluster call")));
    }
    Ok(Path { at, everywhere, each, call: call.to_vec() })
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

/// Does what is asked for, and tells the place of the cluster that did it.
pub(super) fn answer(all: &mut [&mut Cluster], request: &Request) -> (usize, Result<Answer>) {
    let path = match parse(all, &request.path) {
        Ok(path) => path,
        Err(refusal) => return (0, Err(refusal)),
    };
    if let Err(refusal) = check_works(&all[path.at].config, &path.call) {
        return (path.at, Err(refusal));
    }
    match (path.everywhere, path.each) {
        (false, _) => (path.at, alone(all[path.at], request, &path.call, false)),
        (true, true) => (path.at, each(all, request, &path)),
        (true, false) => together(all, request, &path),
    }
}

/// Refuses what a cluster that does not work does not do.
fn check_works(config: &Config, call: &[&str]) -> Result<()> {
    let refuse = || Err(Refusal::new(config.idle, "The cluster is not operational"));
    match (config.status, call) {
        (Status::Running | Status::CutOff, _) | (Status::Waiting, ["ServicesList"]) => Ok(()),
        _ => refuse(),
    }
}

/// Has one cluster do it.
fn alone(cluster: &mut Cluster, request: &Request, call: &[&str], everywhere: bool) -> Result<Answer> {
    match request.method.as_str() {
        "GET" => read::answer(cluster, call, request, everywhere),
        "POST" => write::answer(cluster, call, &request.body),
        other => Err(Refusal::invalid(format!("Method {other} is not supported"))),
    }
}

/// The answers of all clusters, each for itself.
fn each(all: &mut [&mut Cluster], request: &Request, path: &Path<'_>) -> Result<Answer> {
    let mut answers = Vec::new();
    for (place, cluster) in all.iter_mut().enumerate() {
        let config = cluster.config.clone();
        let lost = place != path.at && config.status == Status::CutOff;
        let answer = match lost {
            true => Err(Refusal::multi_cluster("The cluster cannot be reached")),
            false => {
                check_works(&config, &path.call).and_then(|()| alone(cluster, request, &path.call, true))
            }
        };
        let mut view = json!({"clusterId": config.cluster_id, "clusterName": config.cluster_name});
        match answer {
            Ok(Answer::Now(data)) => view["response"] = json!({ "data": data }),
            Ok(_) => return unknown(&path.call),
            Err(refusal) => view["error"] = error(&refusal)["error"].take(),
        }
        answers.push(view);
    }
    Ok(Answer::Now(json!({ "clusters": answers })))
}

/// Does what is asked of the location as if it were one cluster.
fn together(all: &mut [&mut Cluster], request: &Request, path: &Path<'_>) -> (usize, Result<Answer>) {
    if let Err(refusal) = location::check_reached(all, path.at) {
        return (path.at, Err(refusal));
    }
    let call = path.call.as_slice();
    let place = match call {
        ["VolumesReassign" | "VolumesReassignWait"] if request.method == "POST" => {
            let waits = call == ["VolumesReassignWait"];
            return (path.at, write::reassign(all, path.at, &request.body, waits));
        }
        ["VolumesGroupSnapshot"] => match write::grouped(&request.body) {
            Ok(names) => one_place(all, path.at, &names),
            Err(refusal) => Err(refusal),
        },
        [_] if request.method == "GET" => return (path.at, merged(all, request, call)),
        [name, object] => {
            let kind = if name.starts_with("Snapshot") { Kind::Snapshot } else { Kind::Volume };
            location::find(all, path.at, object, kind)
        }
        _ => Ok(path.at),
    };
    match place {
        Ok(place) => {
            let works = check_works(&all[place].config, call);
            (place, works.and_then(|()| alone(all[place], request, call, true)))
        }
        Err(refusal) => (path.at, Err(refusal)),
    }
}

/// The cluster that has all of these volumes.
fn one_place(all: &[&mut Cluster], at: usize, names: &[String]) -> Result<usize> {
    let places: Result<Vec<_>> =
        names.iter().map(|name| location::find(all, at, name, Kind::Volume)).collect();
    let places = places?;
    match places.iter().all(|place| Some(place) == places.first()) {
        true => Ok(places.first().copied().unwrap_or(at)),
        false => Err(Refusal::multi_cluster("The volumes are in several clusters")),
    }
}

/// The lists of all clusters as one.
fn merged(all: &mut [&mut Cluster], request: &Request, call: &[&str]) -> Result<Answer> {
    let mut whole = None;
    for cluster in all.iter_mut() {
        check_works(&cluster.config, call)?;
        let Answer::Now(data) = alone(cluster, request, call, true)? else { return unknown(call) };
        match (&mut whole, data) {
            (None, data) => whole = Some(data),
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
            _ => return unknown(call),
        }
    }
    Ok(Answer::Now(whole.unwrap_or_default()))
}

/// What is answered to a call that there is not.
pub(super) fn unknown<T>(call: &[&str]) -> Result<T> {
    Err(Refusal::invalid(format!("Unknown query '{}'", call.join("/"))))
}
