//! What a project may use in Cinder, and why something failed.

use serde_json::{Map, Value, json};

use crate::config::{Type, Version};
use crate::state::{Message, Refusal, Result, moment_text};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::{Call, not_there};

const MESSAGES: Kind<Message> = Kind {
    key: "messages",
    links: "messages_links",
    missing: "Message {} could not be found.",
    filters: &[
        ("resource_uuid", Look::Text(|one| one.object.clone())),
        ("resource_type", Look::Text(|one| one.about.to_owned())),
        ("event_id", Look::Text(|one| one.event.to_owned())),
        ("request_id", Look::Text(|one| one.request.clone())),
        ("message_level", Look::Text(|_| "ERROR".to_owned())),
    ],
    created: |one| one.created,
    name: |_| "",
};

/// How long messages are kept at least.
const KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// What users see of a type's properties.
const VISIBLE: [&str; 3] = ["RESKEY:availability_zones", "multiattach", "replication_enabled"];

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    match (method, path) {
        ("GET", ["types"]) => Ok(types(call)),
        ("GET", ["types", "default"]) => {
            let first = call.cloud.config.types.first().ok_or_else(not_there)?;
            Ok(Reply::json(200, &json!({"volume_type": without_access(kind(first))})))
        }
        ("GET", ["types", id]) => {
            let found = call.cloud.config.types.iter().find(|one| one.id == *id);
            let found =
                found.ok_or_else(|| Refusal::missing(format!("Volume type {id} could not be found.")))?;
            Ok(Reply::json(200, &json!({"volume_type": kind(found)})))
        }
        ("GET", ["group_types"]) if call.version >= Version(3, 11) => {
            let list: Vec<_> = call.cloud.config.group_types.iter().map(group_type).collect();
            Ok(Reply::json(200, &json!({"group_types": list})))
        }
        ("GET", ["limits"]) => Ok(limits(call)),
        ("GET", ["os-quota-sets", project]) => quota_set(call, project),
        ("GET", ["os-availability-zone"]) => {
            let zone = |name: &String| json!({"zoneName": name, "zoneState": {"available": true}});
            let zones: Vec<_> = call.cloud.config.zones.iter().map(zone).collect();
            Ok(Reply::json(200, &json!({"availabilityZoneInfo": zones})))
        }
        ("GET", ["messages"]) => {
            call.since(Version(3, 3))?;
            let own = call.cloud.messages.iter().filter(|one| one.project == call.project());
            Ok(Page::of(call, &MESSAGES, own)?.reply(&MESSAGES, call, |one| message(call, one)))
        }
        ("GET", ["messages", id]) => {
            call.since(Version(3, 3))?;
            let found = call.cloud.messages.get(id).filter(|one| one.project == call.project());
            let found = found.ok_or_else(|| Refusal::missing(format!("Message {id} could not be found.")))?;
            Ok(Reply::json(200, &json!({"message": message(call, found)})))
        }
        _ => Err(not_there()),
    }
}

fn kind(one: &Type) -> Value {
    let visible = one.specs.iter().filter(|(key, _)| VISIBLE.contains(&key.as_str()));
    let visible: Map<_, _> = visible.map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({"id": one.id, "name": one.name, "is_public": true, "description": one.description, "extra_specs": visible,
        "os-volume-type-access:is_public": true})
}

/// As the default type is shown.
fn without_access(mut view: Value) -> Value {
    if let Some(view) = view.as_object_mut() {
        view.remove("os-volume-type-access:is_public");
    }
    view
}

fn group_type(one: &Type) -> Value {
    json!({"id": one.id, "name": one.name, "description": one.description, "is_public": true})
}

fn types(call: &Call<'_>) -> Reply {
    let list: Vec<_> = call.cloud.config.types.iter().map(kind).collect();
    Reply::json(200, &json!({"volume_types": list}))
}

fn message(call: &Call<'_>, one: &Message) -> Value {
    json!({"id": one.id, "event_id": one.event, "user_message": one.text, "message_level": "ERROR",
        "created_at": moment_text(one.created), "guaranteed_until": moment_text(one.created + KEPT),
        "request_id": one.request, "links": call.links("messages", &one.id), "resource_type": one.about,
        "resource_uuid": one.object})
}

fn limits(call: &Call<'_>) -> Reply {
    let usage = call.cloud.usage(call.project(), None);
    let limit =
        |name: &str| call.cloud.quota(call.project(), name).map_or_else(|| json!(-1), |limit| json!(limit));
    let absolute = json!({
        "maxTotalVolumes": limit("volumes"),
        "maxTotalSnapshots": limit("snapshots"),
        "maxTotalVolumeGigabytes": limit("gigabytes"),
        "maxTotalBackups": limit("backups"),
        "maxTotalBackupGigabytes": limit("backup_gigabytes"),
        "totalVolumesUsed": usage.volumes,
        "totalGigabytesUsed": usage.gigabytes,
        "totalSnapshotsUsed": usage.snapshots,
        "totalBackupsUsed": usage.backups,
        "totalBackupGigabytesUsed": usage.backup_gigabytes,
    });
    Reply::json(200, &json!({"limits": {"rate": [], "absolute": absolute}}))
}

fn quota_set(call: &Call<'_>, project: &str) -> Result<Reply> {
    if project != call.project() {
        return Err(Refusal::forbidden("Policy doesn't allow volume_extension:quotas:show to be performed."));
    }
    let with_usage = call.request.parameter("usage").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let mut set = Map::new();
    set.insert("id".to_owned(), json!(project));
    let kinds =
        call.cloud.config.types.iter().map(|kind| (format!("_{}", kind.name), Some(kind.id.as_str())));
    for (suffix, of) in std::iter::once((String::new(), None)).chain(kinds) {
        let usage = call.cloud.usage(project, of);
        let names = [
            ("volumes", usage.volumes),
            ("gigabytes", usage.gigabytes),
            ("snapshots", usage.snapshots),
            ("backups", usage.backups),
            ("backup_gigabytes", usage.backup_gigabytes),
            ("groups", usage.groups),
        ];
        let kept = if of.is_some() { 3 } else { names.len() };
        for (name, used) in names.into_iter().take(kept) {
            let name = format!("{name}{suffix}");
            let limit = call.cloud.quota(project, &name).map_or_else(|| json!(-1), |limit| json!(limit));
            let value = match with_usage {
                true => json!({"limit": limit, "in_use": used, "reserved": 0}),
                false => limit,
            };
            set.insert(name, value);
        }
    }
    set.insert(
        "per_volume_gigabytes".to_owned(),
        if with_usage { json!({"limit": -1, "in_use": 0, "reserved": 0}) } else { json!(-1) },
    );
    Ok(Reply::json(200, &json!({"quota_set": set})))
}
