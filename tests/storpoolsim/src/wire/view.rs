//! Objects as callers see them.

use serde_json::{Map, Value, json};

use crate::config::{Status, Template};
use crate::state::{Cluster, Iscsi, Kind, Limit, Object, Rights};

/// A limit: a number, or `-` for none.
fn limit(limit: Limit) -> Value {
    limit.map_or_else(|| json!("-"), |number| json!(number))
}

/// What a volume or snapshot is called by its number; empty where there is none.
fn called(cluster: &Cluster, id: Option<u64>) -> String {
    id.and_then(|id| cluster.object(id)).map(Object::called).unwrap_or_default()
}

/// A volume or snapshot as lists have it.
pub(super) fn summary(cluster: &Cluster, object: &Object, everywhere: bool) -> Value {
    let policy = &object.policy;
    let [all, tail, head] = &policy.places;
    let mut view = json!({
        "id": object.id, "name": object.called(), "globalId": object.global_id, "size": object.size,
        "replication": policy.replication, "parentName": called(cluster, object.parent),
        "templateName": policy.template, "placeAll": all, "placeTail": tail, "placeHead": head,
        "iops": limit(policy.iops), "bw": limit(policy.bw), "creationTimestamp": object.created,
        "objectsCount": object.size.div_ceil(32 << 20), "visibleVolumeId": object.id,
        "parentVolumeId": object.parent.unwrap_or(0), "originalParentVolumeId": object.parent.unwrap_or(0),
        "templateId": 1, "flags": 0, "firstNotParentObjectId": 0, "tags": object.tags,
    });
    if let Some(kind) = &policy.limit_type {
        view["limitType"] = json!(kind);
    }
    if let Some(first) = &object.preserved {
        view["preservedGlobalId"] = json!(first);
    }
    if everywhere {
        view["clusterId"] = json!(cluster.config.cluster_id);
        view["clusterName"] = json!(cluster.config.cluster_name);
    }
    if object.kind == Kind::Snapshot {
        view["onVolume"] = json!(called(cluster, object.volume));
        view["autoName"] = json!(object.transient);
        view["bound"] = json!(object.bound);
        view["deleted"] = json!(object.deleted.is_some());
        view["transient"] = json!(object.transient);
        view["recoveringFromRemote"] = json!(false);
        if let Some(end) = object.end {
            view["targetDeleteDate"] = json!(end);
        }
    }
    view
}

/// What a volume or snapshot is called, with its health.
pub(super) fn status(cluster: &Cluster, object: &Object, sizes: bool) -> (String, Value) {
    let mut view = summary(cluster, object, false);
    let health = json!({
        "status": object.status, "snapshot": object.kind == Kind::Snapshot, "migrating": false,
        "decreasedRedundancy": object.degraded, "balancerBlocked": false, "syncingDataBytes": 0,
        "syncingMetaObjects": 0, "downBytes": if object.status == "down" { object.stored } else { 0 },
        "upSoonChainsCount": 0, "downDrives": [], "missingDrives": [], "missingTargetDrives": [],
        "softEjectingDrives": [],
    });
    add(&mut view, health);
    if sizes {
        add(
            &mut view,
            json!({"storedSize": object.stored, "onDiskSize": object.stored * object.policy.replication}),
        );
    }
    (object.called(), view)
}

/// Adds fields to an object.
fn add(view: &mut Value, more: Value) {
    if let (Value::Object(view), Value::Object(more)) = (view, more) {
        view.extend(more);
    }
}

/// What is attached to whom.
pub(super) fn attachments(cluster: &Cluster, everywhere: bool) -> Value {
    let views = cluster.attachments().map(|(object, client, attachment)| {
        let mut view = json!({
            "volume": object.called(), "snapshot": object.kind == Kind::Snapshot, "client": client,
            "rights": if attachment.rights == Rights::Rw { "rw" } else { "ro" }, "pos": attachment.position,
            "globalId": object.global_id,
        });
        if everywhere {
            view["cluster"] = json!(cluster.config.cluster_name);
            view["clusterId"] = json!(cluster.config.cluster_id);
        }
        view
    });
    views.collect()
}

/// A template.
pub(super) fn template(template: &Template) -> Value {
    json!({
        "id": 1, "name": template.name, "parentName": "", "placeAll": template.place, "placeTail": template.place,
        "placeHead": template.place, "size": "-", "replication": template.replication, "iops": "-", "bw": "-",
    })
}

/// A template's room.
pub(super) fn template_status(cluster: &Cluster, template: &Template) -> Value {
    let space = cluster.space(&template.name);
    let entry =
        json!({"capacity": space.capacity, "free": space.free(), "internal": {"u1": 0, "u2": 0, "u3": 0}});
    let mut stored = entry.clone();
    add(&mut stored, json!({"placeAll": entry, "placeTail": entry, "placeHead": entry}));
    let disk = |bytes: u64| bytes * template.replication;
    json!({
        "id": 1, "name": template.name, "placeAll": template.place, "placeTail": template.place,
        "placeHead": template.place, "replication": template.replication, "volumesCount": space.volumes,
        "snapshotsCount": space.snapshots, "removingSnapshotsCount": space.leaving, "size": space.size,
        "totalSize": disk(space.size), "onDiskSize": disk(space.stored), "storedSize": space.stored,
        "volumesSize": space.volumes_size, "availablePlaceAll": disk(space.free()),
        "availablePlaceTail": disk(space.free()), "availablePlaceHead": disk(space.free()),
        "capacityPlaceAll": disk(space.capacity), "capacityPlaceTail": disk(space.capacity),
        "capacityPlaceHead": disk(space.capacity), "stored": stored,
    })
}

/// The cluster's services.
pub(super) fn services(cluster: &Cluster) -> Value {
    let clients: Map<_, _> = cluster
        .clients
        .iter()
        .map(|(number, client)| {
            let since = client.running.then_some(client.since);
            let status = if client.running { "running" } else { "down" };
            let view = json!({"id": number, "version": "21.0", "startTime": since, "status": status});
            (number.to_string(), view)
        })
        .collect();
    let start = cluster.now().as_secs();
    json!({
        "clusterStatus": if cluster.config.status == Status::Waiting { "waiting" } else { "running" },
        "mgmt": {"1": {"id": 1, "version": "21.0", "startTime": start, "status": "running", "prio": 0, "active": true}},
        "clients": clients,
        "servers": {"1": {"id": 1, "version": "21.0", "startTime": start, "status": "running", "missingDisks": [],
            "pendingDisks": []}},
        "bridges": {}, "iscsiTargets": {},
    })
}

/// The configuration of iSCSI.
pub(super) fn iscsi(cluster: &Cluster, iscsi: &Iscsi) -> Value {
    let mut view = json!({"baseName": iscsi.base, "initiators": {}, "portalGroups": {}, "targets": {}});
    for (number, one) in &iscsi.initiators {
        let exports: Vec<_> = one
            .exports
            .iter()
            .map(|export| json!({"portalGroup": export.group, "target": export.target}))
            .collect();
        view["initiators"][number.to_string()] = json!({"name": one.name, "username": one.username,
            "secret": one.secret, "nets": one.nets, "exports": exports});
    }
    for (number, one) in &iscsi.groups {
        let networks: Vec<_> = one
            .networks
            .iter()
            .map(|(address, prefix)| json!({"address": address, "prefix": prefix}))
            .collect();
        let portals: Vec<_> = one
            .portals
            .iter()
            .map(|(controller, ip, port)| json!({"controller": controller, "ip": ip, "port": port}))
            .collect();
        view["portalGroups"][number.to_string()] =
            json!({"name": one.name, "networks": networks, "portals": portals});
    }
    for (number, one) in &iscsi.targets {
        view["targets"][number.to_string()] = json!({"name": one.name,
            "volume": called(cluster, Some(one.volume)), "currentControllerId": 1});
    }
    json!({"iscsi": view})
}

/// What sessions count, all of it.
const COUNTERS: [&str; 17] = [
    "nopOut",
    "scsi",
    "task",
    "login",
    "text",
    "dataOut",
    "logout",
    "snack",
    "nopIn",
    "scsiRsp",
    "taskRsp",
    "loginRsp",
    "textRsp",
    "dataIn",
    "logoutRsp",
    "r2t",
    "reject",
];
const TASKS: [&str; 6] = ["inFreeList", "dataOut", "queued", "processing", "dataResp", "aborted"];

fn zeros(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), json!(0))).collect())
}

/// Who is logged in at some controllers. One that does not answer is told as such.
pub(super) fn sessions(iscsi: &Iscsi, asked: impl Fn(u64) -> bool) -> Value {
    let silent = iscsi.silent.iter().filter(|number| asked(**number));
    let silent = silent.map(|number| json!({"status": "timeout", "controllerId": number}));
    let answer = |number: u64| asked(number) && !iscsi.silent.contains(&number);
    let live = iscsi.sessions.iter().filter(|one| answer(one.controller)).enumerate().map(|(at, one)| {
        json!({"status": "ok", "controllerId": one.controller, "connectionId": at, "ISID": format!("80:{at:010x}"),
            "timeCreated": one.since, "target": one.target, "initiator": one.initiator, "stats": zeros(&COUNTERS),
            "tasks": zeros(&TASKS)})
    });
    let sessions: Vec<_> = live.chain(silent).collect();
    json!({ "sessions": sessions })
}
