//! Cinder's volumes.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Origin, Refusal, Result, Volume, VolumeWish};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::view::{self, ByVolume};
use super::{Call, input, not_there};

const KIND: Kind<Volume> = Kind {
    key: "volumes",
    links: "volumes_links",
    missing: "Volume {} could not be found.",
    filters: &[
        ("name", Look::Text(|one| one.name.clone().unwrap_or_default())),
        ("status", Look::Text(|one| one.status.to_owned())),
        ("metadata", Look::Notes(|one| &one.metadata)),
        ("bootable", Look::Text(|one| one.bootable.to_string())),
        ("migration_status", Look::Text(|_| String::new())),
        ("availability_zone", Look::Text(|one| one.zone.clone())),
        ("group_id", Look::Text(|one| one.group.clone().unwrap_or_default())),
        ("size", Look::Text(|one| one.size.to_string())),
        ("created_at", Look::Time(|one| Some(one.created))),
        ("updated_at", Look::Time(|one| one.updated)),
    ],
    created: |one| one.created,
    name: |one| one.name.as_deref().unwrap_or_default(),
};

/// What a volume is made with; from 3.53 on nothing else is allowed.
const KNOWN: [&str; 17] = [
    "name",
    "description",
    "display_name",
    "display_description",
    "volume_type",
    "metadata",
    "snapshot_id",
    "source_volid",
    "consistencygroup_id",
    "size",
    "availability_zone",
    "multiattach",
    "image_id",
    "imageRef",
    "group_id",
    "backup_id",
    "OS-SCH-HNT:scheduler_hints",
];

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    match (method, path) {
        ("POST", []) => create(call),
        ("GET", []) => list(call, false),
        ("GET", ["detail"]) => list(call, true),
        ("GET", ["summary"]) => summary(call),
        ("GET", [id]) => show(call, id),
        ("PUT", [id]) => update(call, id),
        ("DELETE", [id]) => {
            let cascade =
                call.request.parameter("cascade").is_some_and(|text| text.eq_ignore_ascii_case("true"));
            call.cloud.delete_volume(&call.request.caller, id, cascade)?;
            Ok(Reply::empty(202))
        }
        ("POST", [id, "action"]) => act(call, id),
        (_, [id, "metadata", rest @ ..]) => metadata(call, method, id, rest),
        _ => Err(not_there()),
    }
}

fn show(call: &Call<'_>, id: &str) -> Result<Reply> {
    let volume = call.cloud.volume(call.project(), id)?;
    let attachments = ByVolume::of(call.cloud, id);
    Ok(Reply::json(200, &json!({"volume": whole(call, volume, &attachments)})))
}

/// With what is added where volumes are read, and not where they are made or changed.
fn whole(call: &Call<'_>, volume: &Volume, attachments: &ByVolume<'_>) -> Value {
    let mut view = view::volume(call, volume, attachments);
    view["os-vol-tenant-attr:tenant_id"] = json!(volume.project);
    view
}

fn changed(call: &Call<'_>, id: &str, status: u16) -> Result<Reply> {
    let volume = call.cloud.volume(call.project(), id)?;
    let attachments = ByVolume::of(call.cloud, id);
    Ok(Reply::json(status, &json!({"volume": view::volume(call, volume, &attachments)})))
}

fn list(call: &Call<'_>, detail: bool) -> Result<Reply> {
    let own = call.cloud.volumes.iter().filter(|one| one.project == call.project());
    let page = Page::of(call, &KIND, own)?;
    let attachments = ByVolume::all(call.cloud);
    Ok(page.reply(&KIND, call, |one| match detail {
        true => whole(call, one, &attachments),
        false => json!({"id": one.id, "name": one.name, "links": call.links("volumes", &one.id)}),
    }))
}

fn summary(call: &Call<'_>) -> Result<Reply> {
    call.since(Version(3, 12))?;
    let usage = call.cloud.volumes.iter().filter(|one| one.project == call.project());
    let (count, size) = usage.fold((0, 0), |(count, size), one| (count + 1, size + one.size));
    Ok(Reply::json(200, &json!({"volume-summary": {"total_count": count, "total_size": size}})))
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("volume")?;
    if call.version >= Version(3, 53) {
        input::only(&body, "volume", &KNOWN)?;
    }
    for holder in [&call.request.json()?, &body] {
        input::object(holder, "OS-SCH-HNT:scheduler_hints")?;
    }
    if input::truth(&body, "multiattach")? == Some(true) {
        return Err(Refusal::invalid(
            "multiattach parameter has been removed. The default behavior is to use multiattach enabled volume types. \
             Contact your administrator to create a multiattach enabled volume type and use it to create multiattach \
             volumes.",
        ));
    }
    let backup = match call.version >= Version(3, 47) {
        true => input::uuid(&body, "backup_id")?,
        false => None,
    };
    let group = match call.version >= Version(3, 13) {
        true => input::text(&body, "group_id")?,
        false => None,
    };
    let image = input::text(&body, "imageRef")?.or(input::text(&body, "image_id")?);
    let origins = [
        input::uuid(&body, "snapshot_id")?.map(Origin::Snapshot),
        input::uuid(&body, "source_volid")?.map(Origin::Volume),
        image.map(Origin::Image),
        backup.map(Origin::Backup),
    ];
    let mut origins = origins.into_iter().flatten();
    let origin = origins.next().unwrap_or_default();
    let size = input::size(&body, "size")?;
    if size.is_none() && origin == Origin::Nothing {
        return Err(Refusal::invalid(
            "The server could not comply with the request since it is either malformed or otherwise incorrect.",
        ));
    }
    let wish = VolumeWish {
        name: input::trimmed(&body, "name")?.or(input::trimmed(&body, "display_name")?),
        description: input::trimmed(&body, "description")?.or(input::trimmed(&body, "display_description")?),
        size,
        kind: input::text(&body, "volume_type")?,
        zone: input::text(&body, "availability_zone")?,
        origin,
        group,
        metadata: input::metadata(&body, "metadata")?,
    };
    if origins.next().is_some() {
        return Err(Refusal::invalid(
            "Invalid input received: May specify only one of snapshot, imageRef or source volume",
        ));
    }
    let id = call.cloud.create_volume(&call.request.caller, wish)?;
    changed(call, &id, 202)
}

fn update(call: &mut Call<'_>, id: &str) -> Result<Reply> {
    let body = call.request.content("volume")?;
    call.cloud.volume(call.project(), id)?;
    let name = input::trimmed(&body, "name")?.or(input::trimmed(&body, "display_name")?);
    let description = input::trimmed(&body, "description")?.or(input::trimmed(&body, "display_description")?);
    let metadata = body.get("metadata").map(|_| input::metadata(&body, "metadata")).transpose()?;
    call.cloud.touch(id, |volume| {
        volume.name = name.or_else(|| volume.name.take());
        volume.description = description.or_else(|| volume.description.take());
        if let Some(metadata) = metadata {
            volume.metadata = metadata;
        }
    });
    changed(call, id, 200)
}

fn act(call: &mut Call<'_>, id: &str) -> Result<Reply> {
    let body = call.request.json()?;
    let Some((action, content)) = body.as_object().and_then(|map| map.iter().next()) else {
        return Err(Refusal::invalid("There is no such action: None"));
    };
    call.cloud.volume(call.project(), id)?;
    let caller = &call.request.caller;
    let missing = |field: &str| {
        Refusal::invalid(format!(
            "Invalid input for field/attribute {action}. '{field}' is a required property"
        ))
    };
    match action.as_str() {
        "os-extend" => {
            let size = input::size(content, "new_size")?.ok_or_else(|| missing("new_size"))?;
            let in_use = call.version >= Version(3, 42);
            call.cloud.extend_volume(caller, id, size, in_use)?;
        }
        "os-retype" => {
            let wanted = input::text(content, "new_type")?.ok_or_else(|| missing("new_type"))?;
            call.cloud.retype_volume(caller, id, &wanted)?;
        }
        "os-update_readonly_flag" => {
            let readonly = input::truth(content, "readonly")?.ok_or_else(|| missing("readonly"))?;
            call.cloud.set_readonly(caller, id, readonly)?;
        }
        "os-set_bootable" => {
            let bootable = input::truth(content, "bootable")?.ok_or_else(|| missing("bootable"))?;
            call.cloud.touch(id, |volume| volume.bootable = bootable);
            return Ok(Reply::json_empty(200));
        }
        "revert" if call.version >= Version(3, 40) => {
            let snapshot = input::needed(content, "snapshot_id")?;
            call.cloud.revert_volume(caller, id, &snapshot)?;
        }
        "os-reset_status" => return Err(policy("volume_extension:volume_admin_actions:reset_status")),
        "os-force_delete" => return Err(policy("volume_extension:volume_admin_actions:force_delete")),
        "os-force_detach" => return Err(policy("volume_extension:volume_admin_actions:force_detach")),
        other => {
            return Err(Refusal::invalid(format!(
                "There is no such action: {other}. Verify the request body and Content-Type header and try again."
            )));
        }
    }
    Ok(Reply::json_empty(202))
}

/// What only administrators may.
fn policy(rule: &str) -> Refusal {
    Refusal::forbidden(format!("Policy doesn't allow {rule} to be performed."))
}

fn metadata(call: &mut Call<'_>, method: &str, id: &str, path: &[&str]) -> Result<Reply> {
    let current = call.cloud.volume(call.project(), id)?.metadata.clone();
    let absent = |key: &str| Refusal::missing(format!("Volume {id} has no metadata with key {key}."));
    let all = |metadata: &crate::state::Metadata| Ok(Reply::json(200, &json!({"metadata": metadata})));
    match (method, path) {
        ("GET", []) => all(&current),
        ("GET", [key]) => {
            let value = current.get(*key).ok_or_else(|| absent(key))?;
            Ok(Reply::json(200, &json!({"meta": {*key: value}})))
        }
        ("POST" | "PUT", []) => {
            let body = call.request.json()?;
            if !body["metadata"].is_object() {
                return Err(Refusal::invalid("Missing required element 'metadata' in request body."));
            }
            let mut new = input::metadata(&body, "metadata")?;
            if method == "POST" {
                let mut merged = current;
                merged.append(&mut new);
                new = merged;
            }
            call.cloud.touch(id, |volume| volume.metadata.clone_from(&new));
            all(&new)
        }
        ("PUT", [key]) => {
            let body = call.request.json()?;
            let new = input::metadata(&body, "meta")?;
            let Some(value) = new.get(*key).filter(|_| new.len() == 1) else {
                return Err(Refusal::invalid("Request body and URI mismatch"));
            };
            call.cloud.touch(id, |volume| drop(volume.metadata.insert((*key).to_owned(), value.clone())));
            Ok(Reply::json(200, &json!({"meta": new})))
        }
        ("DELETE", [key]) => {
            current.get(*key).ok_or_else(|| absent(key))?;
            call.cloud.touch(id, |volume| drop(volume.metadata.remove(*key)));
            Ok(Reply::empty(200))
        }
        _ => Err(not_there()),
    }
}

/// The details of what is there as one JSON, for those who show volumes within other objects.
pub(super) fn brief(call: &Call<'_>, kind: &str, id: &str, name: Option<&str>) -> Value {
    json!({"id": id, "name": name, "links": call.links(kind, id)})
}
