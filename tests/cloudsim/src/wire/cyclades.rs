//! Synnefo's Cyclades: volumes of version 2.0, and the servers that have them (snf-cyclades-app: synnefo/volume,
//! synnefo/api/servers.py).

mod servers;

pub(super) use servers::servers;

use serde_json::{Map, Value, json};

use crate::state::{
    Cloud, Metadata, Origin, Refusal, Result, Row as _, Snapshot, SnapshotWish, Volume, VolumeWish, Why,
    moment_text,
};

use super::reply::code;
use super::request::Request;
use super::{Reply, identity, input};

/// The disk templates whose volumes can move between servers.
const DETACHABLE: [&str; 2] = ["ext_archipelago", "ext_vlmc"];
/// The quota of bytes that a member of a project has, and the one that all its members have together.
const DISK: &str = "cyclades.disk";
const PROJECT_DISK: &str = "project cyclades.disk";
/// Notes on a volume at most, and the longest key.
const NOTES: usize = 10;
const LONGEST_KEY: usize = 64;

/// A fault as it is written here.
fn fault(refusal: &Refusal) -> Reply {
    let (code, name) = match (refusal.why, code(refusal.why)) {
        (Why::Conflict, _) => (409, "buildInProgress"),
        (Why::Forbidden, _) => (403, "forbidden"),
        (_, 400) => (400, "badRequest"),
        (_, 404) => (404, "itemNotFound"),
        (_, 413) => (413, "overLimit"),
        (_, 501) => (501, "notImplemented"),
        (_, 503) => (503, "serviceUnavailable"),
        _ => (500, "internalServerError"),
    };
    Reply::json(code, &json!({ name: {"code": code, "message": refusal.text, "details": ""} }))
}

/// Answers a request by its path below the version.
fn serve(
    cloud: &mut Cloud,
    request: &mut Request,
    route: fn(&mut Cloud, &Request, &[&str]) -> Result<Reply>,
) -> Reply {
    if let Err(refused) = identity::authenticate(cloud, request) {
        return refused;
    }
    let path = request.rest(1);
    let result = match path.as_slice() {
        ["v2.0" | "v2" | "v1.0", rest @ ..] => route(cloud, request, rest),
        _ => Err(unknown()),
    };
    result.unwrap_or_else(|refusal| fault(&refusal))
}

fn unknown() -> Refusal {
    Refusal::invalid("API endpoint not found")
}

/// An id: numbers only.
fn number(id: &str) -> Result<u64> {
    id.parse().map_err(|_| Refusal::invalid(format!("Invalid ID: {id}")))
}

fn int(id: &str) -> Value {
    number(id).map_or(Value::Null, |id| json!(id))
}

/// Answers a request to the volumes.
pub(super) fn volumes(cloud: &mut Cloud, request: &mut Request) -> Reply {
    serve(cloud, request, route)
}

fn route(cloud: &mut Cloud, request: &Request, path: &[&str]) -> Result<Reply> {
    let project = &request.caller.project;
    match (request.method.as_str(), path) {
        ("GET", ["volumes"]) => list(cloud, request, false),
        ("GET", ["volumes", "detail"]) => list(cloud, request, true),
        ("POST", ["volumes"]) => create(cloud, request),
        ("GET", ["volumes", id]) => {
            number(id)?;
            let found = cloud.volume(project, id)?;
            Ok(Reply::json(200, &json!({"volume": view(cloud, request, found)})))
        }
        ("PUT", ["volumes", id]) => update(cloud, request, id),
        ("DELETE", ["volumes", id]) => delete(cloud, request, id),
        ("POST", ["volumes", id, "action"]) => {
            let body = request.json()?;
            there(cloud, project, id)?;
            match body.get("reassign") {
                Some(_) => Ok(Reply::empty(200)),
                None => Err(Refusal::invalid("Unknown action.")),
            }
        }
        (_, ["volumes", id, "metadata", rest @ ..]) => metadata(cloud, request, id, rest),
        ("GET", ["types"]) => {
            let list: Vec<_> = cloud.config.types.iter().map(kind_view).collect();
            Ok(Reply::json(200, &json!({"volume_types": list})))
        }
        (_, ["snapshots", rest @ ..]) => snapshots(cloud, request, rest),
        _ => Err(unknown()),
    }
}

fn template(kind: &crate::config::Type) -> &str {
    kind.specs.get("SNF:disk_template").map_or("", String::as_str)
}

fn kind_view(kind: &crate::config::Type) -> Value {
    let detachable = DETACHABLE.contains(&template(kind));
    json!({"id": int(&kind.id), "name": kind.name, "deleted": false, "SNF:disk_template": template(kind),
        "SNF:detachable": detachable})
}

fn is_detachable(cloud: &Cloud, volume: &Volume) -> bool {
    cloud.type_of(volume).is_some_and(|kind| DETACHABLE.contains(&template(kind)))
}

/// A volume that can be written to: what was deleted is still shown, and cannot.
fn there<'a>(cloud: &'a Cloud, project: &str, id: &str) -> Result<&'a Volume> {
    number(id)?;
    let found = cloud.volume(project, id)?;
    match found.deleted {
        true => Err(Refusal::invalid(format!("Volume '{id}' has been deleted."))),
        false => Ok(found),
    }
}

fn status(volume: &Volume) -> String {
    match volume.status {
        // One that is made on a server is not there before the server has it.
        "reserved" | "attaching" if volume.server.is_some() && !volume.written => "creating".to_owned(),
        "reserved" => "attaching".to_owned(),
        other => other.replace('-', "_"),
    }
}

fn links(request: &Request, id: &str) -> Value {
    let own = format!("{}/volume/v2.0/volumes/{id}", request.root());
    json!([{"rel": "self", "href": own}, {"rel": "bookmark", "href": own}])
}

fn time(moment: crate::state::Moment) -> String {
    format!("{}+00:00", moment_text(moment))
}

fn view(cloud: &Cloud, request: &Request, one: &Volume) -> Value {
    // From the moment in which attaching begins.
    let at = cloud.attachments.iter().filter(|at| at.volume == one.id);
    let attachments: Vec<_> = at
        .filter_map(|at| {
            let server = cloud.servers.get(at.server.as_deref()?)?;
            let index = server.disks.iter().position(|disk| disk.volume == one.id)? + 1;
            Some(json!({"server_id": int(server.id()), "volume_id": int(&one.id), "device_index": index}))
        })
        .collect();
    json!({"id": one.id, "display_name": one.name, "links": links(request, &one.id), "status": status(one),
        "size": one.size, "display_description": one.description.as_deref().unwrap_or_default(),
        "created_at": time(one.created), "metadata": one.metadata, "snapshot_id": one.snapshot,
        "source_volid": null, "image_id": one.image, "attachments": attachments, "volume_type": int(&one.kind),
        "deleted": one.deleted, "delete_on_termination": true, "user_id": one.user, "tenant_id": one.project,
        "shared_to_project": false})
}

fn list(cloud: &Cloud, request: &Request, details: bool) -> Result<Reply> {
    let since = request.parameter("changes-since");
    let own = cloud.volumes.iter().filter(|one| one.project == request.caller.project);
    let shown: Vec<_> = own
        .filter(|one| match since {
            // Texts of times are in the order of the times.
            Some(since) => *moment_text(one.updated.unwrap_or(one.created)) >= *since,
            None => !one.deleted,
        })
        .collect();
    if since.is_some() && shown.is_empty() {
        return Ok(Reply::empty(304));
    }
    let brief =
        |one: &Volume| json!({"id": one.id, "display_name": one.name, "links": links(request, &one.id)});
    let list: Vec<_> =
        shown.into_iter().map(|one| if details { view(cloud, request, one) } else { brief(one) }).collect();
    Ok(Reply::json(200, &json!({"volumes": list})))
}

fn create(cloud: &mut Cloud, request: &Request) -> Result<Reply> {
    let body = request.content("volume")?;
    let name = input::text(&body, "display_name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::invalid("Volume name is required."))?;
    if !body["source_volid"].is_null() {
        return Err(Refusal::invalid("Cloning a volume is not supported."));
    }
    let size = input::size(&body, "size")?.ok_or_else(|| Refusal::invalid("Volume size is required."))?;
    if size > cloud.config.largest {
        let text = format!("Maximum volume size is {}GB", cloud.config.largest);
        return Err(Refusal::invalid(text));
    }
    let text = |field: &str| match &body[field] {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let server = text("server_id");
    if let Some(server) = &server {
        servers::ready(cloud, &request.caller.project, server, "ADD_DISK").map_err(
            |refusal| match refusal.why {
                Why::Missing => Refusal::invalid(refusal.text),
                _ => refusal,
            },
        )?;
    }
    let default = cloud.config.types.first().map(|kind| kind.id.clone());
    let kind = text("volume_type").or_else(|| server.as_ref().and(default));
    let kind = kind.ok_or_else(|| Refusal::invalid("Volume type is required."))?;
    let known = cloud.config.types.iter().find(|known| known.id == kind);
    let known = known.ok_or_else(|| Refusal::invalid(format!("Volume type '{kind}' not found")))?;
    if server.is_none() && !DETACHABLE.contains(&template(known)) {
        return Err(Refusal::invalid("Cannot create a volume of this type without a server."));
    }
    let origin = match (text("snapshot_id"), text("imageRef")) {
        (Some(id), _) => Origin::Snapshot(id),
        (None, Some(id)) => Origin::Image(id),
        (None, None) => Origin::Nothing,
    };
    if origin != Origin::Nothing && !DETACHABLE.contains(&template(known)) {
        return Err(Refusal::invalid("Volumes of this type cannot be made from an image or a snapshot."));
    }
    afford(cloud, &request.caller.project, size)?;
    let description = input::text(&body, "display_description")?;
    // What is noted is dropped, whatever the documentation says.
    let metadata = Metadata::new();
    let wish = VolumeWish {
        name: Some(name.clone()),
        description,
        size: Some(size),
        kind: Some(kind),
        origin,
        metadata,
        ..VolumeWish::default()
    };
    let id = create_at_once(cloud, request, wish)?;
    if let Some(server) = server {
        cloud.touch(&id, |volume| volume.server = Some(server.clone()));
        if cloud.volume(&request.caller.project, &id)?.status == "available" {
            servers::begin_attach(cloud, request, &server, &id)?;
        }
    }
    let links = links(request, &id);
    Ok(Reply::json(202, &json!({"volume": {"id": id, "display_name": name, "links": links}})))
}

/// A volume that no server has is only noted: its data is made when a server gets it.
fn create_at_once(cloud: &mut Cloud, request: &Request, wish: VolumeWish) -> Result<String> {
    let mut caller = request.caller.clone();
    caller.fate.takes.get_or_insert(0);
    caller.fate.registers.get_or_insert(0);
    let (image, now) = (cloud.config.timings.image, cloud.now());
    cloud.config.timings.image = std::time::Duration::ZERO;
    let id = cloud.create_volume(&caller, wish);
    cloud.advance(now);
    cloud.config.timings.image = image;
    id
}

/// Bytes of a project's volumes. Snapshots are kept elsewhere, and count there.
fn used(cloud: &Cloud, project: &str) -> u64 {
    let own = cloud.volumes.iter().filter(|one| one.project == project && !one.deleted);
    own.map(|one| one.size << 30).sum()
}

fn afford(cloud: &Cloud, project: &str, gigabytes: u64) -> Result<()> {
    let (used, wanted) = (used(cloud, project), gigabytes << 30);
    let limits = [DISK, PROJECT_DISK].map(|name| cloud.quota(project, name));
    match limits.into_iter().flatten().min() {
        Some(limit) if used + wanted > limit => Err(Refusal::over_quota(format!(
            "Resource Limit Exceeded for your account. Limit for resource 'Disk' exceeded for your account. \
             Available: {}GB, Requested: {gigabytes}GB",
            limit.saturating_sub(used) >> 30
        ))),
        _ => Ok(()),
    }
}

fn update(cloud: &mut Cloud, request: &Request, id: &str) -> Result<Reply> {
    let body = request.content("volume")?;
    there(cloud, &request.caller.project, id)?;
    if body["delete_on_termination"] == false {
        return Err(Refusal::unsupported("Setting 'delete_on_termination' to False is not supported."));
    }
    let (name, text) = (input::text(&body, "display_name")?, input::text(&body, "display_description")?);
    cloud.touch(id, |volume| {
        volume.name = name.or_else(|| volume.name.take());
        volume.description = text.or_else(|| volume.description.take());
    });
    let found = cloud.volume(&request.caller.project, id)?;
    Ok(Reply::json(200, &json!({"volume": view(cloud, request, found)})))
}

fn delete(cloud: &mut Cloud, request: &Request, id: &str) -> Result<Reply> {
    let found = there(cloud, &request.caller.project, id)?;
    let (status, written) = (found.status, found.written);
    let mut caller = request.caller.clone();
    match status {
        "in-use" => cloud.delete_with_disk(&caller, id),
        "available" | "error" => {
            if !written {
                caller.fate.takes.get_or_insert(0);
            }
            cloud.delete_volume(&caller, id, false)?;
            cloud.advance(cloud.now());
        }
        other => {
            return Err(Refusal::invalid(format!(
                "Cannot delete volume while volume is in '{other}' status"
            )));
        }
    }
    Ok(Reply::empty(202))
}

fn metadata(cloud: &mut Cloud, request: &Request, id: &str, path: &[&str]) -> Result<Reply> {
    let current = there(cloud, &request.caller.project, id)?.metadata.clone();
    let method = request.method.as_str();
    match (method, path) {
        ("GET", []) => Ok(Reply::json(200, &json!({"metadata": current}))),
        ("GET", [key]) => match current.get(*key) {
            Some(value) => Ok(Reply::json(200, &json!({"metadata": {*key: value}}))),
            None => Err(Refusal::missing("Metadata not found")),
        },
        ("POST" | "PUT", []) => {
            let new = input::metadata(&request.json()?, "metadata")?;
            let mut merged = if method == "POST" { current } else { Metadata::new() };
            merged.extend(new);
            if merged.len() > NOTES {
                return Err(Refusal::invalid(format!(
                    "Volumes cannot have more than {NOTES} metadata items."
                )));
            }
            if merged.keys().any(|key| key.len() > LONGEST_KEY) {
                return Err(Refusal::invalid("Malformed metadata key. The key is too long."));
            }
            cloud.touch(id, |volume| volume.metadata.clone_from(&merged));
            Ok(Reply::json(200, &json!({"metadata": merged})))
        }
        ("DELETE", [key]) => {
            current.get(*key).ok_or_else(|| Refusal::missing("Metadata not found"))?;
            cloud.touch(id, |volume| drop(volume.metadata.remove(*key)));
            Ok(Reply::empty(204))
        }
        _ => Err(unknown()),
    }
}

fn snapshot_view(one: &Snapshot) -> Value {
    let progress = if one.status == "creating" { "0%" } else { "100%" };
    json!({"id": one.id, "display_name": one.name, "display_description": one.description,
        "status": one.status.to_ascii_uppercase(), "size": one.size, "volume_id": int(&one.volume),
        "created_at": time(one.created), "metadata": one.metadata,
        "os-extended-snapshot-attribute:progress": progress})
}

fn snapshots(cloud: &mut Cloud, request: &Request, path: &[&str]) -> Result<Reply> {
    let caller = &request.caller;
    if !cloud.config.snapshots {
        return Err(Refusal::unsupported("Making a snapshot is not implemented."));
    }
    match (request.method.as_str(), path) {
        ("GET", [] | ["detail"]) => {
            let own = cloud.snapshots.iter().filter(|one| one.project == caller.project);
            let list: Vec<_> = own.map(snapshot_view).collect();
            Ok(Reply::json(200, &json!({"snapshots": list})))
        }
        ("GET", [id]) => {
            let found = cloud.snapshot(&caller.project, id)?;
            Ok(Reply::json(200, &json!({"snapshot": snapshot_view(found)})))
        }
        ("POST", []) => {
            let body = request.content("snapshot")?;
            let volume = match &body["volume_id"] {
                Value::Number(id) => id.to_string(),
                _ => input::needed(&body, "volume_id")?,
            };
            let found = there(cloud, &caller.project, &volume)?;
            if found.status != "in-use" || !is_detachable(cloud, found) {
                return Err(Refusal::invalid(
                    "Cannot create a snapshot of a volume that is not attached, or not of an external type.",
                ));
            }
            let name = input::text(&body, "display_name")?;
            let description = input::text(&body, "display_description")?;
            let metadata = input::metadata(&body, "metadata")?;
            let wish = SnapshotWish { name, description, volume, force: true, metadata };
            let id = cloud.create_snapshot(caller, wish)?;
            let made = cloud.snapshot(&caller.project, &id)?;
            Ok(Reply::json(202, &json!({"snapshot": snapshot_view(made)})))
        }
        ("DELETE", [id]) => {
            cloud.delete_snapshot(caller, id)?;
            Ok(Reply::empty(202))
        }
        _ => Err(unknown()),
    }
}

/// Answers with what Astakos tells of a user's quotas.
pub(super) fn quotas(cloud: &mut Cloud, request: &mut Request) -> Reply {
    serve(cloud, request, |cloud, request, path| match path {
        ["quotas"] => Ok(quotas_of(cloud, &request.caller.project)),
        _ => Err(unknown()),
    })
}

fn quotas_of(cloud: &Cloud, project: &str) -> Reply {
    let used = used(cloud, project);
    // Astakos writes the largest number for what has no limit.
    let none = i64::MAX.unsigned_abs();
    let limit = cloud.quota(project, DISK);
    let of_project = cloud.quota(project, PROJECT_DISK).or(limit).unwrap_or(none);
    let disk = json!({"usage": used, "limit": limit.unwrap_or(none), "pending": 0, "project_usage": used,
        "project_limit": of_project, "project_pending": 0});
    let mut all = Map::new();
    all.insert(project.to_owned(), json!({DISK: disk}));
    Reply::json(200, &Value::Object(all))
}
