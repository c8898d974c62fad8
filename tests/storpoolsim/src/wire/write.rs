//! Calls that change something.

use std::time::Duration;

use serde_json::{Value, json};

use super::Answer;
use super::fields::{Fields, client, json as parse};
use super::route::unknown;
use crate::location::{self, Moving};
use crate::state::{Change, Cluster, Cutting, Detach, Entry, Kind, Order, Refusal, Result};

/// Answers a POST.
pub(super) fn answer(cluster: &mut Cluster, call: &[&str], body: &[u8]) -> Result<Answer> {
    let done = |cluster: &Cluster| Answer::Now(ok(cluster));
    match call {
        ["VolumeCreate"] => create(cluster, body),
        ["VolumeUpdate", name] => {
            let mut fields = Fields::body(body)?;
            let mut change = change(&mut fields)?;
            change.rename = fields.text("rename")?;
            change.size = fields.number("size")?;
            change.more = fields.number("sizeAdd")?;
            change.shrink = fields.truth("shrinkOk")?.unwrap_or(false);
            fields.finish()?;
            cluster.update(name, Kind::Volume, change).map(|()| done(cluster))
        }
        ["SnapshotUpdate", name] => {
            let mut fields = Fields::body(body)?;
            let mut change = change(&mut fields)?;
            change.rename = fields.text("rename")?;
            change.bound = fields.truth("bind")?;
            change.after = fields.number("deleteAfter")?;
            change.end = fields.number("targetDeleteDate")?;
            fields.finish()?;
            cluster.update(name, Kind::Snapshot, change).map(|()| done(cluster))
        }
        ["VolumeDelete", name] => {
            let mut fields = Fields::body(body)?;
            let how = fields.text("onAttached")?;
            fields.finish()?;
            cluster.delete(name, how.as_deref()).map(|()| done(cluster))
        }
        ["VolumeRevert", name] => {
            let mut fields = Fields::body(body)?;
            let to = fields.needed("toSnapshot")?;
            let sized = fields.truth("revertSize")?.unwrap_or(false);
            fields.finish()?;
            let global_id = cluster.revert(name, &to, sized)?;
            Ok(Answer::Now(with(ok(cluster), &[("globalId", json!(global_id))])))
        }
        ["VolumeSnapshot", name] => snapshot(cluster, name, body),
        ["SnapshotDelete", name] => {
            Fields::body(body)?.finish()?;
            cluster.delete_snapshot(name).map(|()| done(cluster))
        }
        ["SnapshotDeleteById", id] => {
            Fields::body(body)?.finish()?;
            cluster.delete_snapshot(&format!("~{id}")).map(|()| done(cluster))
        }
        ["VolumesGroupSnapshot"] => group(cluster, body),
        ["VolumesReassign"] => reassign(&mut [cluster], 0, body, false),
        ["VolumesReassignWait"] => reassign(&mut [cluster], 0, body, true),
        ["iSCSIConfig"] => {
            let mut fields = Fields::body(body)?;
            let commands = fields.list("commands")?;
            fields.finish()?;
            let commands: Result<Vec<_>> = commands
                .into_iter()
                .map(|command| {
                    let (name, words) = Fields::new(command)?.only()?;
                    Ok((name, Fields::new(words)?.words()?))
                })
                .collect();
            cluster.configure_iscsi(&commands?).map(|()| done(cluster))
        }
        ["KV", "Create", name] => cluster.create_bucket(name).map(|()| done(cluster)),
        ["KV", "Delete", name] => cluster.delete_bucket(name).map(|()| done(cluster)),
        ["KV", "Set", name] => {
            let mut fields = Fields::body(body)?;
            let (at, set) = (fields.number("runIfVersionIs")?, fields.texts("set")?);
            fields.finish()?;
            cluster.set_pairs(name, at, set).map(|()| done(cluster))
        }
        _ => unknown(call),
    }
}

/// What is answered where there is nothing more to say.
fn ok(cluster: &Cluster) -> Value {
    json!({"ok": true, "generation": cluster.generation})
}

fn with(mut data: Value, more: &[(&str, Value)]) -> Value {
    for (key, value) in more {
        data[*key] = value.clone();
    }
    data
}

/// What volumes, snapshots and templates have in common.
fn change(fields: &mut Fields) -> Result<Change> {
    // From where it is served is the same here.
    fields.truth("reuseServer")?;
    Ok(Change {
        template: fields.text("template")?,
        replication: fields.number("replication")?,
        places: [fields.text("placeAll")?, fields.text("placeTail")?, fields.text("placeHead")?],
        iops: fields.limit("iops")?,
        bw: fields.limit("bw")?,
        limit_type: fields.text("limitType")?,
        tags: fields.tags()?,
        ..Change::default()
    })
}

fn create(cluster: &mut Cluster, body: &[u8]) -> Result<Answer> {
    let mut fields = Fields::body(body)?;
    let order = Order {
        name: fields.text("name")?,
        size: fields.number("size")?,
        parent: fields.text("parent")?.filter(|parent| !parent.is_empty()),
        base: fields.text("baseOn")?,
        change: change(&mut fields)?,
    };
    fields.finish()?;
    let (id, auto) = cluster.create(order)?;
    let mut data = ok(cluster);
    if let Some(volume) = cluster.object(id) {
        data["globalId"] = json!(volume.global_id);
        if volume.name.is_none() {
            data["name"] = json!(volume.called());
        }
    }
    if let Some(auto) = auto.and_then(|auto| cluster.object(auto)) {
        data["autoName"] = json!(auto.called());
    }
    Ok(Answer::Now(data))
}

fn snapshot(cluster: &mut Cluster, volume: &str, body: &[u8]) -> Result<Answer> {
    let mut fields = Fields::body(body)?;
    let cutting = Cutting {
        volume: volume.to_owned(),
        name: fields.text("name")?,
        tags: fields.tags()?,
        bound: fields.truth("bind")?.unwrap_or(false),
        after: fields.number("deleteAfter")?,
        end: fields.number("targetDeleteDate")?,
    };
    fields.finish()?;
    let cuts = cluster.cut(vec![cutting])?;
    let snapshot = cuts.first().and_then(|cut| cluster.object(cut.snapshot));
    let snapshot = snapshot.ok_or_else(|| Refusal::missing("The snapshot does not exist"))?;
    let told =
        [("snapshotGlobalId", json!(snapshot.global_id)), ("snapshotVisibleVolumeId", json!(snapshot.id))];
    Ok(Answer::Now(with(ok(cluster), &told)))
}

/// The volumes that a group is to have.
pub(super) fn grouped(body: &[u8]) -> Result<Vec<String>> {
    let volumes = Fields::body(body)?.list("volumes")?;
    volumes.into_iter().map(|volume| Fields::new(volume)?.needed("volume")).collect()
}

fn group(cluster: &mut Cluster, body: &[u8]) -> Result<Answer> {
    let mut fields = Fields::body(body)?;
    let (volumes, common) = (fields.list("volumes")?, fields.tags()?);
    fields.finish()?;
    let mut wanted = Vec::new();
    for volume in volumes {
        let mut fields = Fields::new(volume)?;
        let mut tags = common.clone();
        tags.extend(fields.tags()?);
        let (volume, name) = (fields.needed("volume")?, fields.text("name")?);
        fields.finish()?;
        wanted.push(Cutting { volume, name, tags, ..Cutting::default() });
    }
    let cuts = cluster.cut(wanted)?;
    let told: Vec<_> = cuts
        .iter()
        .filter_map(|cut| {
            let (volume, snapshot) = (cluster.object(cut.volume)?, cluster.object(cut.snapshot)?);
            Some(json!({"volume": volume.called(), "volumeGlobalId": volume.global_id,
                "snapshot": snapshot.called(), "snapshotGlobalId": snapshot.global_id,
                "remoteId": snapshot.global_id}))
        })
        .collect();
    Ok(Answer::Now(with(ok(cluster), &[("snapshots", json!(told))])))
}

/// Both calls take both forms: a list of entries, or an object with one. Of a single cluster nothing moves.
pub(super) fn reassign(all: &mut [&mut Cluster], at: usize, body: &[u8], waits: bool) -> Result<Answer> {
    let (items, wait) = match parse(body)? {
        Value::Array(items) => (items, None),
        object => {
            let mut fields = Fields::new(object)?;
            let (items, wait) = (fields.list("reassign")?, fields.number("attachTimeout")?);
            fields.finish()?;
            (items, wait)
        }
    };
    let entries: Vec<Moving> = items.into_iter().map(entry).collect::<Result<_>>()?;
    let (generation, clients) = location::reassign(all, at, entries)?;
    let data = ok(all[at]);
    Ok(match waits {
        true => Answer::Confirmed { generation, clients, wait: wait.map(Duration::from_secs), data },
        false => Answer::Now(data),
    })
}

fn entry(value: Value) -> Result<Moving> {
    let mut fields = Fields::new(value)?;
    let (kind, name) = match (fields.text("volume")?, fields.text("snapshot")?) {
        (Some(name), None) => (Kind::Volume, name),
        (None, Some(name)) => (Kind::Snapshot, name),
        _ => return Err(Refusal::invalid("Either 'volume' or 'snapshot' must be given")),
    };
    let detach = match fields.take("detach") {
        None => Detach::Nobody,
        Some(Value::String(word)) if word == "all" => Detach::All,
        Some(Value::Array(list)) => Detach::Clients(list.iter().map(client).collect::<Result<_>>()?),
        Some(other) => return Err(Refusal::invalid(format!("Invalid value {other} for 'detach'"))),
    };
    let entry = Entry {
        name,
        kind,
        rw: fields.clients("rw")?,
        ro: fields.clients("ro")?,
        detach,
        force: fields.truth("force")?.unwrap_or(false),
    };
    let on_attached = fields.text("onRemoteAttached")?;
    match fields.text("mcMode")?.as_deref() {
        None | Some("move") => {}
        Some("export") => return Err(Refusal::invalid("Exporting a volume is not simulated")),
        Some(other) => return Err(Refusal::invalid(format!("Invalid mcMode '{other}'"))),
    }
    // Nothing is exported.
    fields.truth("allowRemoteExported")?;
    fields.finish()?;
    Ok(Moving { entry, on_attached })
}
