//! Nova: servers themselves.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Refusal, Result, Server, moment_text};
use crate::wire::Reply;

use super::{Call, input, not_there};

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    let own = |call: &Call<'_>, one: &Server| one.project == call.project();
    match (method, path) {
        ("GET", []) => {
            let servers = call.cloud.servers.iter().rev().filter(|one| own(call, one));
            let brief = |one: &Server| json!({"id": one.id, "name": one.name, "links": links(call, &one.id)});
            let list: Vec<_> = servers.map(brief).collect();
            Ok(Reply::json(200, &json!({"servers": list})))
        }
        ("GET", ["detail"]) => {
            let servers = call.cloud.servers.iter().rev().filter(|one| own(call, one));
            let list: Vec<_> = servers.map(|one| view(call, one)).collect();
            Ok(Reply::json(200, &json!({"servers": list})))
        }
        ("GET", [id]) => {
            let server = call.cloud.server(call.project(), id)?;
            Ok(Reply::json(200, &json!({"server": view(call, server)})))
        }
        ("POST", []) => create(call),
        ("DELETE", [id]) => {
            call.cloud.delete_server(&call.request.caller, id)?;
            Ok(Reply::empty(204))
        }
        _ => Err(not_there()),
    }
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("server")?;
    let name = input::needed(&body, "name")?;
    let zone = input::text(&body, "availability_zone")?;
    let zones = &call.cloud.config.zones;
    let zone = zone.or_else(|| zones.first().cloned()).filter(|zone| zones.contains(zone));
    let zone = zone.ok_or_else(|| Refusal::invalid("The requested availability zone is not available"))?;
    let project = call.project().to_owned();
    let id = call.cloud.add_server(&project, &name, &zone);
    let secret: String = call.cloud.ids.secret().chars().take(12).collect();
    let server = json!({"id": id, "links": links(call, &id), "OS-DCF:diskConfig": "MANUAL", "adminPass": secret,
        "security_groups": [{"name": "default"}]});
    Ok(Reply::json(202, &json!({"server": server})))
}

fn links(call: &Call<'_>, id: &str) -> Value {
    call.links("servers", id)
}

/// A time as Nova writes it.
fn time(moment: std::time::Duration) -> String {
    let text = moment_text(moment);
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

fn view(call: &Call<'_>, one: &Server) -> Value {
    let since = |minor| call.version >= Version(2, minor);
    let volumes = one.disks.iter().map(|disk| match since(3) {
        true => json!({"id": disk.volume, "delete_on_termination": disk.with_server}),
        false => json!({"id": disk.volume}),
    });
    let volumes: Vec<_> = volumes.collect();
    let flavor = match since(47) {
        true => {
            json!({"ram": 64, "vcpus": 1, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1.tiny",
            "extra_specs": {}})
        }
        false => json!({"id": "1", "links": [{"rel": "bookmark",
            "href": format!("{}/compute/flavors/1", call.request.root())}]}),
    };
    let mut view = json!({
        "id": one.id, "name": one.name, "status": one.status, "tenant_id": one.project,
        "user_id": call.request.caller.user, "metadata": one.metadata, "hostId": format!("{:056x}", 1),
        "image": {"id": call.cloud.config.images.first().map(|image| &image.id), "links": []},
        "flavor": flavor, "created": time(one.created), "updated": time(one.created), "addresses": {},
        "accessIPv4": "", "accessIPv6": "", "links": links(call, &one.id), "OS-DCF:diskConfig": "MANUAL",
        "progress": 0, "OS-EXT-AZ:availability_zone": one.zone, "config_drive": "", "key_name": null,
        "OS-SRV-USG:launched_at": moment_text(one.created), "OS-SRV-USG:terminated_at": null,
        "OS-EXT-STS:task_state": one.task_state, "OS-EXT-STS:vm_state": one.vm_state,
        "OS-EXT-STS:power_state": 1, "os-extended-volumes:volumes_attached": volumes,
    });
    if since(9) {
        view["locked"] = json!(false);
    }
    if since(19) {
        view["description"] = Value::Null;
    }
    if since(26) {
        view["tags"] = json!([]);
    }
    view
}

/// What was done with a server, newest first.
pub(super) fn actions(call: &Call<'_>, id: &str) -> Result<Reply> {
    let server = call.cloud.server(call.project(), id)?;
    let view = |one: &crate::state::Action| {
        let mut view = json!({"action": one.action, "instance_uuid": id, "request_id": one.request,
            "user_id": call.request.caller.user, "project_id": server.project, "start_time": moment_text(one.at),
            "message": one.message});
        if call.version >= Version(2, 58) {
            view["updated_at"] = json!(moment_text(one.at));
        }
        view
    };
    let list: Vec<_> = server.actions.iter().rev().map(view).collect();
    Ok(Reply::json(200, &json!({"instanceActions": list})))
}

/// The images from which servers can be made.
pub(super) fn images(call: &Call<'_>) -> Reply {
    let image = |one: &crate::config::Image| json!({"id": one.id, "name": one.name, "links": []});
    let images: Vec<_> = call.cloud.config.images.iter().map(image).collect();
    Reply::json(200, &json!({"images": images}))
}

pub(super) fn limits() -> Reply {
    let absolute = json!({"maxTotalInstances": -1, "maxTotalCores": -1, "maxTotalRAMSize": -1,
        "totalInstancesUsed": 0, "totalCoresUsed": 0, "totalRAMUsed": 0});
    Reply::json(200, &json!({"limits": {"rate": [], "absolute": absolute}}))
}

pub(super) fn zones(call: &Call<'_>) -> Reply {
    let zone = |name: &String| json!({"zoneName": name, "zoneState": {"available": true}, "hosts": null});
    let zones: Vec<_> = call.cloud.config.zones.iter().map(zone).collect();
    Reply::json(200, &json!({"availabilityZoneInfo": zones}))
}
