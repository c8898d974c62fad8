//! Servers, and the volumes that they have. A server does one thing at a time, and refuses everything else meanwhile.

use serde_json::{Value, json};

use crate::state::{Attach, AttachWish, Cloud, Refusal, Result, Row as _, Server};
use crate::wire::{Reply, input};

use super::super::request::Request;
use super::{int, is_detachable, number, serve, there, time, unknown};

/// Answers a request to the servers.
pub(in crate::wire) fn servers(cloud: &mut Cloud, request: &mut Request) -> Reply {
    serve(cloud, request, route)
}

fn route(cloud: &mut Cloud, request: &Request, path: &[&str]) -> Result<Reply> {
    let project = &request.caller.project;
    match (request.method.as_str(), path) {
        ("GET", ["servers"] | ["servers", "detail"]) => {
            let own = cloud.servers.iter().filter(|one| one.project == *project && one.status != "DELETED");
            let list: Vec<_> = own.map(view).collect();
            Ok(Reply::json(200, &json!({"servers": list})))
        }
        ("GET", ["servers", id]) => {
            let found = find(cloud, project, id)?;
            Ok(Reply::json(200, &json!({"server": view(found)})))
        }
        ("DELETE", ["servers", id]) => {
            find(cloud, project, id)?;
            cloud.drop_server(id);
            Ok(Reply::empty(204))
        }
        ("GET", ["servers", id, "os-volume_attachments"]) => {
            let disks = &find(cloud, project, id)?.disks;
            let list: Vec<_> = disks.iter().map(|disk| attachment(id, &disk.volume)).collect();
            Ok(Reply::json(200, &json!({"volumeAttachments": list})))
        }
        ("GET", ["servers", id, "os-volume_attachments", volume]) => {
            let disks = &find(cloud, project, id)?.disks;
            match disks.iter().any(|disk| disk.volume == *volume) {
                true => Ok(Reply::json(200, &json!({"volumeAttachment": attachment(id, volume)}))),
                false => Err(not_attached(volume, id)),
            }
        }
        ("POST", ["servers", id, "os-volume_attachments"]) => {
            let body = request.content("volumeAttachment")?;
            let volume = match &body["volumeId"] {
                Value::Number(number) => number.to_string(),
                _ => input::needed(&body, "volumeId")?,
            };
            attach(cloud, request, id, &volume)?;
            Ok(Reply::json(202, &json!({"volumeAttachment": attachment(id, &volume)})))
        }
        ("DELETE", ["servers", id, "os-volume_attachments", volume]) => detach(cloud, request, id, volume),
        _ => Err(unknown()),
    }
}

fn find<'a>(cloud: &'a Cloud, project: &str, id: &str) -> Result<&'a Server> {
    number(id)?;
    cloud.server(project, id).map_err(|_| Refusal::missing(format!("Server not found: {id}")))
}

fn not_attached(volume: &str, server: &str) -> Refusal {
    Refusal::invalid(format!("Volume '{volume}' is not attached to server '{server}'"))
}

fn view(one: &Server) -> Value {
    let volumes: Vec<_> = one.disks.iter().map(|disk| int(&disk.volume)).collect();
    let task = one.working.as_ref().map(|_| "ATTACH_VOLUME");
    json!({"id": int(one.id()), "name": one.name, "status": one.status, "tenant_id": one.project, "volumes": volumes,
        "metadata": one.metadata, "SNF:task_state": task.unwrap_or_default(),
        "SNF:fqdn": format!("snf-{}.vm.example.org", one.id), "created": time(one.created),
        "attachments": [], "addresses": {}, "deleted": one.status == "DELETED"})
}

fn attachment(server: &str, volume: &str) -> Value {
    json!({"id": int(volume), "volumeId": int(volume), "serverId": int(server), "device": ""})
}

/// Refuses what a server cannot do now.
pub(super) fn ready(cloud: &Cloud, project: &str, id: &str, what: &str) -> Result<()> {
    let server = find(cloud, project, id)?;
    if server.status == "DELETED" {
        return Err(Refusal::invalid(format!("Server '{id}' has been deleted.")));
    }
    if server.status == "BUILD" {
        return Err(Refusal::conflict("Server is being build."));
    }
    if server.working.is_some() || server.task_state.is_some() {
        let pending = server.task_state.as_deref().unwrap_or("ATTACH_VOLUME");
        return Err(Refusal::invalid(format!(
            "Cannot perform '{what}' action while there is a pending '{pending}'."
        )));
    }
    let full = cloud.config.server_disks.is_some_and(|limit| server.disks.len() + 1 >= limit);
    if full && what != "DETACH_VOLUME" {
        return Err(Refusal::invalid("Maximum volumes per server limit reached"));
    }
    Ok(())
}

fn attach(cloud: &mut Cloud, request: &Request, server: &str, volume: &str) -> Result<()> {
    let project = &request.caller.project;
    find(cloud, project, server)?;
    // Here a volume that is none is a bad request, and not a missing one.
    let found = there(cloud, project, volume).map_err(|refusal| Refusal::invalid(refusal.text))?;
    if !is_detachable(cloud, found) {
        return Err(Refusal::invalid("Volumes of this type cannot be attached."));
    }
    if !matches!(found.status, "available" | "creating") {
        let status = super::status(found).to_ascii_uppercase();
        return Err(Refusal::invalid(format!("Cannot attach volume while volume is in '{status}' status")));
    }
    ready(cloud, project, server, "ATTACH_VOLUME")?;
    begin_attach(cloud, request, server, volume)
}

/// Begins what has been looked at.
pub(super) fn begin_attach(cloud: &mut Cloud, request: &Request, server: &str, volume: &str) -> Result<()> {
    let wish = AttachWish { volume: volume.to_owned(), ..AttachWish::default() };
    match cloud.attach(&request.caller, server, &wish)? {
        Attach::Begun(_) => Ok(()),
        Attach::Wait | Attach::TimesOut => Err(Refusal::unavailable("Ganeti does not answer.")),
    }
}

fn detach(cloud: &mut Cloud, request: &Request, server: &str, volume: &str) -> Result<Reply> {
    let project = &request.caller.project;
    let found = there(cloud, project, volume)?;
    if !find(cloud, project, server)?.disks.iter().any(|disk| disk.volume == volume) {
        return Err(not_attached(volume, server));
    }
    if !is_detachable(cloud, found) {
        return Err(Refusal::invalid("Volumes of this type cannot be detached."));
    }
    if found.status != "in-use" {
        let status = super::status(found).to_ascii_uppercase();
        return Err(Refusal::invalid(format!("Cannot detach volume while volume is in '{status}' status")));
    }
    ready(cloud, project, server, "DETACH_VOLUME")?;
    cloud.detach(&request.caller, server, volume, false)?;
    Ok(Reply::empty(202))
}
