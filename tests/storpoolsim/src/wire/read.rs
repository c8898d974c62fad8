//! Calls that change nothing.

use cloudsim::Request;
use serde_json::{Map, Value, json};

use super::fields::{Fields, json as parse};
use super::route::unknown;
use super::{Answer, view};
use crate::state::{Cluster, Kind, Object, Refusal, Result};

/// Answers a GET.
pub(super) fn answer(
    cluster: &mut Cluster,
    call: &[&str],
    request: &Request,
    everywhere: bool,
) -> Result<Answer> {
    let arguments = match request.parameter("json") {
        Some(text) => parse(text.as_bytes())?,
        None => Value::Null,
    };
    if let ["iSCSISessionsInfo"] = call {
        return sessions(cluster, arguments).map(Answer::Now);
    }
    if let ["ClientConfigWait", number] = call {
        return wait(cluster, number);
    }
    Ok(Answer::Now(look(cluster, call, everywhere)?))
}

fn look(cluster: &Cluster, call: &[&str], everywhere: bool) -> Result<Value> {
    let of = |kind: Kind| cluster.objects().filter(move |object| object.kind == kind);
    let summary = |object: &Object| view::summary(cluster, object, everywhere);
    let one = |name: &str, kind: Kind| cluster.get(name, kind);
    Ok(match call {
        ["VolumesList"] => of(Kind::Volume).map(summary).collect(),
        ["SnapshotsList"] => of(Kind::Snapshot).map(summary).collect(),
        ["Volume", name] => json!([summary(one(name, Kind::Volume)?)]),
        ["Snapshot", name] => json!([summary(one(name, Kind::Snapshot)?)]),
        ["VolumeGetInfo", name] => info(summary(one(name, Kind::Volume)?)),
        ["SnapshotGetInfo", name] => info(summary(one(name, Kind::Snapshot)?)),
        ["VolumesGetStatusQuick"] => statuses(cluster, false),
        ["VolumesGetStatus"] => statuses(cluster, true),
        ["VolumeListSnapshots", name] => parents(cluster, one(name, Kind::Volume)?, summary),
        ["AttachmentsList"] => view::attachments(cluster, everywhere),
        ["VolumeTemplatesList"] => cluster.config.templates.iter().map(view::template).collect(),
        ["VolumeTemplateDescribe", name] => {
            let found = cluster.config.templates.iter().find(|template| template.name == *name);
            view::template(
                found.ok_or_else(|| Refusal::missing(format!("Template '{name}' does not exist")))?,
            )
        }
        ["VolumeTemplatesStatus"] => {
            cluster.config.templates.iter().map(|one| view::template_status(cluster, one)).collect()
        }
        ["ServicesList"] => view::services(cluster),
        ["ClientsConfigDump"] => {
            let numbers: Vec<_> = cluster.clients.keys().copied().collect();
            numbers.into_iter().map(|number| client(cluster, number)).collect()
        }
        ["iSCSIConfig"] => view::iscsi(cluster, cluster.iscsi()),
        ["KV"] => {
            let versions: Map<_, _> =
                cluster.buckets().iter().map(|(name, one)| (name.clone(), json!(one.version))).collect();
            json!({ "buckets": versions })
        }
        ["KV", "List", name] => {
            let bucket = cluster.bucket(name)?;
            json!({"name": name, "version": bucket.version, "pairs": bucket.pairs})
        }
        ["KV", "Get", name, key] => {
            let bucket = cluster.bucket(name)?;
            let value = bucket.pairs.get(*key);
            let value = value.ok_or_else(|| Refusal::missing(format!("KV key '{key}' does not exist")))?;
            json!({"name": name, "version": bucket.version, "pairs": {(*key): value}})
        }
        _ => return unknown(call),
    })
}

fn info(mut summary: Value) -> Value {
    summary["disksCount"] = json!(0);
    for (key, empty) in
        [("objectsPerDisk", json!({})), ("objectsPerChain", json!([])), ("objectsPerDiskSet", json!([]))]
    {
        summary[key] = empty;
    }
    summary
}

fn statuses(cluster: &Cluster, sizes: bool) -> Value {
    Value::Object(cluster.objects().map(|object| view::status(cluster, object, sizes)).collect())
}

fn parents(cluster: &Cluster, volume: &Object, summary: impl Fn(&Object) -> Value) -> Value {
    let mut list = Vec::new();
    let mut next = volume.parent;
    while let Some(parent) = next.and_then(|id| cluster.object(id)) {
        list.push(summary(parent));
        next = parent.parent;
    }
    Value::Array(list)
}

fn client(cluster: &Cluster, number: u16) -> Value {
    let one = &cluster.clients[&number];
    let status = match (one.running, one.gets) {
        (false, _) => "down",
        (true, Some(_)) => "updating",
        (true, None) => "ok",
    };
    json!({"id": number, "generation": cluster.generation, "clientGeneration": one.has, "configStatus": status,
        "delay": 0})
}

/// The sessions of all controllers, or of some.
fn sessions(cluster: &Cluster, arguments: Value) -> Result<Value> {
    let mut only = Vec::new();
    if !arguments.is_null() {
        let mut fields = Fields::new(arguments)?;
        fields.number("msecsTimeout")?;
        only = fields.numbers("controllerIds")?;
        fields.finish()?;
    }
    Ok(view::sessions(cluster.iscsi(), |controller| only.is_empty() || only.contains(&controller)))
}

/// Waits until a client has the present configuration.
fn wait(cluster: &mut Cluster, number: &str) -> Result<Answer> {
    let number: u16 = number.parse().map_err(|_| Refusal::invalid(format!("Invalid client '{number}'")))?;
    let generation = cluster.generation;
    let at = cluster.now() + cluster.config.timings.resize;
    let client = cluster.clients.get_mut(&number);
    let client = client.ok_or_else(|| Refusal::invalid("No such client registered"))?;
    if client.running {
        client.gets = Some((generation, at));
    }
    let data = json!([{"id": number, "generation": generation, "clientGeneration": generation, "configStatus": "ok",
        "delay": 0}]);
    Ok(Answer::Confirmed { generation, clients: vec![number], wait: None, data })
}
