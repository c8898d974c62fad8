//! Rackspace's classic cloud: block storage of version 1, servers of version 2
//! (rackerlabs/docs-cloud-block-storage, rackerlabs/docs-cloud-servers).

use serde_json::{Map, Value, json};

use crate::state::{
    Attach, AttachWish, Cloud, Disk, Origin, Refusal, Result, Server, Snapshot, SnapshotWish, Volume,
    VolumeWish, moment_text,
};

use super::input;
use super::reply::code;
use super::request::Request;
use super::{Answer, Reply, identity};

/// Snapshots of a volume at most.
const SNAPSHOTS: usize = 500;

fn not_there() -> Refusal {
    Refusal::missing("The resource could not be found.")
}

/// As it is said here: the key of a 404 of block storage is not OpenStack's.
fn refused(refusal: Refusal) -> Reply {
    match code(refusal.why) {
        404 => Reply::json(404, &json!({"item_not_found": {"code": 404, "message": refusal.text}})),
        _ => refusal.into(),
    }
}

/// Answers a request to block storage.
pub(super) fn storage(cloud: &mut Cloud, request: &mut Request) -> Answer {
    if let Err(refused) = identity::authenticate(cloud, request) {
        return refused.into();
    }
    let account = request.caller.project.clone();
    let path = request.rest(1);
    let path = match path.as_slice() {
        ["v1" | "v2", project, rest @ ..] if **project == account => rest,
        ["v1" | "v2", _, ..] => return Reply::fault(400, "Malformed request url").into(),
        _ => return Reply::no_route().into(),
    };
    let result = match path {
        ["volumes", rest @ ..] => volumes(cloud, request, rest),
        ["snapshots", rest @ ..] => snapshots(cloud, request, rest),
        ["types"] => Ok(types(cloud)),
        ["os-quota-sets", _] => Ok(quotas(cloud, &account)),
        _ => Err(not_there()),
    };
    result.unwrap_or_else(refused).into()
}

/// Only limit and offset: a marker is passed over.
fn page<T>(request: &Request, items: Vec<T>, max: usize) -> Vec<T> {
    let number = |name: &str| request.parameter(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, offset) = (number("limit").unwrap_or(max).min(max), number("offset").unwrap_or(0));
    items.into_iter().skip(offset).take(limit).collect()
}

fn time(moment: crate::state::Moment) -> String {
    moment_text(moment)
}

fn volume(cloud: &Cloud, one: &Volume) -> Value {
    let own = cloud.attachments.iter().filter(|at| at.volume == one.id && at.status == "attached");
    let attachments: Vec<_> = own
        .map(|at| {
            json!({"id": at.volume, "volume_id": at.volume, "server_id": at.server, "device": at.device,
                "host_name": null})
        })
        .collect();
    let kind = cloud.type_of(one).map(|kind| kind.name.clone());
    json!({"id": one.id, "display_name": one.name, "display_description": one.description, "status": one.status,
        "size": one.size, "volume_type": kind, "availability_zone": "nova", "created_at": time(one.created),
        "snapshot_id": one.snapshot, "source_volid": one.source, "image_id": one.image, "metadata": one.metadata,
        "bootable": one.bootable.to_string(), "attachments": attachments})
}

fn volumes(cloud: &mut Cloud, request: &Request, path: &[&str]) -> Result<Reply> {
    let caller = &request.caller;
    match (request.method.as_str(), path) {
        ("GET", [] | ["detail"]) => {
            // Filters are passed over.
            let own = cloud.volumes.iter().rev().filter(|one| one.project == caller.project);
            let own = page(request, own.collect(), cloud.config.page);
            let list: Vec<_> = own.into_iter().map(|one| volume(cloud, one)).collect();
            Ok(Reply::json(200, &json!({"volumes": list})))
        }
        ("POST", []) => create(cloud, request),
        ("GET", [id]) => {
            let found = cloud.volume(&caller.project, id)?;
            Ok(Reply::json(200, &json!({"volume": volume(cloud, found)})))
        }
        ("PUT", [id]) => {
            let body = request.content("volume")?;
            cloud.volume(&caller.project, id)?;
            let name = input::trimmed(&body, "display_name")?;
            let text = input::trimmed(&body, "display_description")?;
            cloud.touch(id, |volume| {
                volume.name = name.or_else(|| volume.name.take());
                volume.description = text.or_else(|| volume.description.take());
            });
            let found = cloud.volume(&caller.project, id)?;
            Ok(Reply::json(200, &json!({"volume": volume(cloud, found)})))
        }
        ("DELETE", [id]) => {
            cloud.delete_volume(caller, id, false)?;
            Ok(Reply::empty(202))
        }
        // There is no growing, and no changing of types.
        ("POST", [_, "action"]) => Err(Refusal::invalid("There is no such action.")),
        _ => Err(not_there()),
    }
}

fn create(cloud: &mut Cloud, request: &Request) -> Result<Reply> {
    let body = request.content("volume")?;
    let metadata = input::metadata(&body, "metadata")?;
    if metadata.contains_key("different_node") && metadata.contains_key("different_rack") {
        return Err(Refusal::invalid(
            "Invalid input received: only one of different_node and different_rack",
        ));
    }
    let kind = match &body["volume_type"] {
        Value::Number(number) => Some(number.to_string()),
        _ => input::text(&body, "volume_type")?,
    };
    let image = input::text(&body, "imageRef")?.or(input::text(&body, "image_id")?);
    let origin = match (input::text(&body, "snapshot_id")?, input::text(&body, "source_volid")?, image) {
        (Some(id), _, _) => Origin::Snapshot(id),
        (None, Some(id), _) => Origin::Volume(id),
        (None, None, Some(id)) => Origin::Image(id),
        (None, None, None) => Origin::Nothing,
    };
    match &origin {
        Origin::Volume(id) => one_at_a_time(cloud, id, "CloneConflict", "clone")?,
        Origin::Snapshot(id) => {
            let of = cloud.snapshot(&request.caller.project, id)?.volume.clone();
            one_at_a_time(cloud, &of, "SnapshotConflict", "restore")?;
        }
        Origin::Nothing | Origin::Image(_) | Origin::Backup(_) => {}
    }
    let size = input::size(&body, "size")?;
    let known = kind
        .as_deref()
        .and_then(|kind| cloud.config.volume_type(kind))
        .or_else(|| cloud.config.types.first());
    if let (Some(known), Some(size)) = (known, size) {
        let limit = |spec: &str| known.specs.get(spec).and_then(|text| text.parse::<u64>().ok());
        let (least, most) = (limit("provisioning:min_vol_size"), limit("provisioning:max_vol_size"));
        if least.is_some_and(|least| size < least) || most.is_some_and(|most| size > most) {
            return Err(Refusal::invalid(format!(
                "Invalid input received: 'size' parameter must be between {} and {}",
                least.unwrap_or(1),
                most.unwrap_or(cloud.config.largest)
            )));
        }
    }
    let wish = VolumeWish {
        name: input::trimmed(&body, "display_name")?,
        description: input::trimmed(&body, "display_description")?,
        size,
        kind,
        zone: None,
        origin,
        group: None,
        metadata,
    };
    let id = cloud.create_volume(&request.caller, wish)?;
    let made = cloud.volume(&request.caller.project, &id)?;
    Ok(Reply::json(200, &json!({"volume": volume(cloud, made)})))
}

/// Refuses a copy of a volume while another one is being made or deleted.
fn one_at_a_time(cloud: &Cloud, volume: &str, class: &str, what: &str) -> Result<()> {
    let cutting = cloud
        .snapshots
        .iter()
        .find(|one| one.volume == volume && matches!(one.status, "creating" | "deleting"))
        .map(|one| if one.status == "creating" { "POST" } else { "DELETE" });
    let cloning = cloud
        .volumes
        .iter()
        .any(|one| one.source.as_deref() == Some(volume) && one.status == "creating")
        .then_some("POST");
    match cutting.or(cloning) {
        None => Ok(()),
        Some(method) => Err(Refusal::conflict(format!(
            "{class}: Request conflicts with in-progress '{method} {what}' of volume {volume}"
        ))),
    }
}

fn snapshot(one: &Snapshot) -> Value {
    let progress = if one.status == "creating" { "0%" } else { "100%" };
    json!({"id": one.id, "display_name": one.name, "display_description": one.description, "status": one.status,
        "size": one.size, "volume_id": one.volume, "created_at": time(one.created), "metadata": one.metadata,
        "os-extended-snapshot-attributes:progress": progress,
        "os-extended-snapshot-attributes:project_id": one.project})
}

fn snapshots(cloud: &mut Cloud, request: &Request, path: &[&str]) -> Result<Reply> {
    let caller = &request.caller;
    match (request.method.as_str(), path) {
        ("GET", [] | ["detail"]) => {
            let own = cloud.snapshots.iter().rev().filter(|one| one.project == caller.project);
            let list: Vec<_> =
                page(request, own.collect(), cloud.config.page).into_iter().map(snapshot).collect();
            Ok(Reply::json(200, &json!({"snapshots": list})))
        }
        ("GET", [id]) => {
            let found = cloud.snapshot(&caller.project, id)?;
            Ok(Reply::json(200, &json!({"snapshot": snapshot(found)})))
        }
        ("POST", []) => {
            let body = request.content("snapshot")?;
            let volume = input::needed(&body, "volume_id")?;
            one_at_a_time(cloud, &volume, "SnapshotConflict", "snapshot")?;
            if cloud.snapshots.iter().filter(|one| one.volume == volume).count() >= SNAPSHOTS {
                let text = format!("SnapshotQuotaExceeded: a volume has at most {SNAPSHOTS} snapshots");
                return Ok(Reply::fault(429, &text));
            }
            let wish = SnapshotWish {
                name: input::trimmed(&body, "display_name")?,
                description: input::trimmed(&body, "display_description")?,
                volume,
                force: input::truth(&body, "force")? == Some(true),
                metadata: input::metadata(&body, "metadata")?,
            };
            let id = cloud.create_snapshot(caller, wish)?;
            let made = cloud.snapshot(&caller.project, &id)?;
            Ok(Reply::json(201, &json!({"snapshot": snapshot(made)})))
        }
        ("DELETE", [id]) => {
            cloud.delete_snapshot(caller, id)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}

fn types(cloud: &Cloud) -> Reply {
    let kind = |one: &crate::config::Type| json!({"id": one.id, "name": one.name, "extra_specs": {}});
    let list: Vec<_> = cloud.config.types.iter().map(kind).collect();
    Reply::json(200, &json!({"volume_types": list}))
}

fn quotas(cloud: &Cloud, account: &str) -> Reply {
    let project = cloud.config.projects.iter().find(|project| project.id == account);
    let mut set: Map<_, _> = project
        .into_iter()
        .flat_map(|one| &one.quotas)
        .map(|(name, limit)| (name.clone(), json!(limit)))
        .collect();
    set.insert("id".to_owned(), json!(account));
    Reply::json(200, &json!({"quota_set": set}))
}

/// Answers a request to the servers.
pub(super) fn servers(cloud: &mut Cloud, request: &mut Request) -> Answer {
    if let Err(refused) = identity::authenticate(cloud, request) {
        return refused.into();
    }
    let account = request.caller.project.clone();
    let path = request.rest(1);
    let path = match path.as_slice() {
        ["v2", project, rest @ ..] if **project == account => rest,
        _ => return Reply::no_route().into(),
    };
    let result = match (request.method.as_str(), path) {
        ("POST", ["servers", server, "os-volume_attachments"]) => attach(cloud, request, server),
        (_, ["servers", server, "os-volume_attachments", rest @ ..]) => {
            attachments(cloud, request, server, rest).map(Answer::from)
        }
        ("GET", ["servers"] | ["servers", "detail"]) => {
            let own = cloud.servers.iter().filter(|one| one.project == account);
            let list: Vec<_> = own.map(server_view).collect();
            Ok(Reply::json(200, &json!({"servers": list})).into())
        }
        ("GET", ["servers", id]) => cloud
            .server(&account, id)
            .map(|one| Reply::json(200, &json!({"server": server_view(one)})).into()),
        _ => Err(not_there()),
    };
    result.unwrap_or_else(|refusal| Reply::from(refusal).into())
}

fn server_view(one: &Server) -> Value {
    json!({"id": one.id, "name": one.name, "status": one.status, "tenant_id": one.project, "metadata": one.metadata,
        "OS-EXT-STS:task_state": one.task_state, "OS-EXT-STS:vm_state": one.vm_state, "OS-EXT-STS:power_state": 1,
        "created": time(one.created), "addresses": {}, "flavor": {"id": "general1-1"}, "hostId": ""})
}

fn disk_view(server: &str, disk: &Disk) -> Value {
    json!({"id": disk.volume, "volumeId": disk.volume, "serverId": server, "device": disk.device})
}

fn attach(cloud: &mut Cloud, request: &Request, server: &str) -> Result<Answer> {
    let body = request.content("volumeAttachment")?;
    let volume = input::needed(&body, "volumeId")?;
    // Xen's names of devices, which are right here. xvda is the server's own disk.
    let disks = &cloud.server(&request.caller.project, server)?.disks;
    let name = |letter: u8| format!("/dev/xvd{}", char::from(letter));
    let free = (b'b'..=b'z').map(name).find(|name| disks.iter().all(|disk| disk.device != *name));
    let device = input::text(&body, "device")?.filter(|device| !device.is_empty()).or(free);
    let wish = AttachWish { volume, device, ..AttachWish::default() };
    Ok(match cloud.attach(&request.caller, server, &wish)? {
        Attach::Wait => Answer::Wait,
        Attach::TimesOut => Answer::After(cloud.config.timings.rpc, super::faults::page(504)),
        Attach::Begun(device) => {
            let view =
                json!({"id": wish.volume, "volumeId": wish.volume, "serverId": server, "device": device});
            Reply::json(202, &json!({"volumeAttachment": view})).into()
        }
    })
}

fn attachments(cloud: &mut Cloud, request: &Request, server: &str, path: &[&str]) -> Result<Reply> {
    let disks = &cloud.server(&request.caller.project, server)?.disks;
    match (request.method.as_str(), path) {
        ("GET", []) => {
            let list: Vec<_> = disks.iter().map(|disk| disk_view(server, disk)).collect();
            Ok(Reply::json(200, &json!({"volumeAttachments": list})))
        }
        ("GET", [volume]) => {
            let disk = disks.iter().find(|disk| disk.volume == *volume).ok_or_else(not_there)?;
            Ok(Reply::json(200, &json!({"volumeAttachment": disk_view(server, disk)})))
        }
        ("DELETE", [volume]) => {
            cloud.detach(&request.caller, server, volume, false)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}
