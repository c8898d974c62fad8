//! Cinder's backups.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Backup, BackupWish, Result, VolumeWish, moment_text};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::view::time;
use super::volumes::brief;
use super::{Call, input, not_there};

const KIND: Kind<Backup> = Kind {
    key: "backups",
    links: "backups_links",
    missing: "Backup {} could not be found.",
    filters: &[
        ("name", Look::Text(|one| one.name.clone().unwrap_or_default())),
        ("status", Look::Text(|one| one.status.to_owned())),
        ("volume_id", Look::Text(|one| one.volume.clone())),
    ],
    created: |one| one.created,
    name: |one| one.name.as_deref().unwrap_or_default(),
};

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    match (method, path) {
        ("POST", []) => create(call),
        ("GET", []) => list(call, false),
        ("GET", ["detail"]) => list(call, true),
        ("GET", [id]) => {
            let backup = call.cloud.backup(call.project(), id)?;
            Ok(Reply::json(200, &json!({"backup": view(call, backup)})))
        }
        ("DELETE", [id]) => {
            call.cloud.delete_backup(&call.request.caller, id)?;
            Ok(Reply::empty(202))
        }
        ("POST", [id, "restore"]) => restore(call, id),
        _ => Err(not_there()),
    }
}

fn view(call: &Call<'_>, one: &Backup) -> Value {
    let mut view = json!({"id": one.id, "status": one.status, "size": one.size, "object_count": 0,
        "availability_zone": call.cloud.config.zones.first(), "container": one.container,
        "created_at": moment_text(one.created), "updated_at": time(one.updated), "name": one.name,
        "description": one.description, "fail_reason": one.failure, "volume_id": one.volume,
        "links": call.links("backups", &one.id), "is_incremental": one.parent.is_some(),
        "has_dependent_backups": call.cloud.has_dependents(&one.id), "snapshot_id": one.snapshot,
        "data_timestamp": moment_text(one.created)});
    if call.version >= Version(3, 43) {
        view["metadata"] = json!(one.metadata);
    }
    view
}

fn list(call: &Call<'_>, details: bool) -> Result<Reply> {
    let own = call.cloud.backups.iter().filter(|one| one.project == call.project());
    Ok(Page::of(call, &KIND, own)?.reply(&KIND, call, |one| match details {
        true => view(call, one),
        false => brief(call, "backups", &one.id, one.name.as_deref()),
    }))
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("backup")?;
    let metadata = match call.version >= Version(3, 43) {
        true => input::metadata(&body, "metadata")?,
        false => Default::default(),
    };
    let wish = BackupWish {
        name: input::trimmed(&body, "name")?,
        description: input::trimmed(&body, "description")?,
        volume: input::needed(&body, "volume_id")?,
        snapshot: input::uuid(&body, "snapshot_id")?,
        container: input::text(&body, "container")?,
        incremental: input::truth(&body, "incremental")? == Some(true),
        force: input::truth(&body, "force")? == Some(true),
        metadata,
    };
    let name = wish.name.clone();
    let id = call.cloud.create_backup(&call.request.caller, wish)?;
    Ok(Reply::json(202, &json!({"backup": brief(call, "backups", &id, name.as_deref())})))
}

fn restore(call: &mut Call<'_>, id: &str) -> Result<Reply> {
    let body = call.request.content("restore")?;
    let caller = &call.request.caller;
    let volume = match input::uuid(&body, "volume_id")? {
        Some(volume) => {
            call.cloud.restore_backup(caller, id, &volume)?;
            volume
        }
        None => {
            let size = Some(call.cloud.backup(&caller.project, id)?.size);
            let name = input::trimmed(&body, "name")?.unwrap_or_else(|| format!("restore_backup_{id}"));
            let origin = crate::state::Origin::Backup(id.to_owned());
            let wish = VolumeWish { name: Some(name), size, origin, ..VolumeWish::default() };
            call.cloud.create_volume(caller, wish)?
        }
    };
    let name = call.cloud.volume(&caller.project, &volume)?.name.clone();
    let restore = json!({"backup_id": id, "volume_id": volume, "volume_name": name});
    Ok(Reply::json(202, &json!({"restore": restore})))
}
