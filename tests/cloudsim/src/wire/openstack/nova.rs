//! Nova: the volumes of servers.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Attach, AttachWish, Cloud, Disk, Refusal, Result};
use crate::wire::request::Request;
use crate::wire::{Answer, Reply, identity};

use super::{Call, input, not_there, servers, version};

/// What a caller who was kept waiting in vain is told.
const TIMED_OUT: &str = "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the \
                         Nova API log if possible.\n<class 'oslo_messaging.exceptions.MessagingTimeout'>";

/// Answers a request to Nova.
pub(in crate::wire) fn nova(cloud: &mut Cloud, request: &mut Request) -> Answer {
    match request.rest(1).as_slice() {
        [] => return version::nova(cloud, request, true).into(),
        ["v2.1"] => return version::nova(cloud, request, false).into(),
        ["v2.1", ..] => {}
        _ => return Reply::from(not_there()).into(),
    }
    if let Err(refused) = identity::authenticate(cloud, request) {
        return refused.into();
    }
    let version = match version::negotiate(request, "compute", Version(2, 1), cloud.config.compute_max) {
        Ok(version) => version,
        Err(reply) => return reply.into(),
    };
    let in_path = request.rest(2).first().is_some_and(|first| *first == request.caller.project);
    let path = request.rest(if in_path { 3 } else { 2 });
    let base = format!("{}/compute/v2.1", request.root());
    let pause = cloud.config.timings.rpc;
    let mut call = Call { cloud, request, version, base };
    let label = |reply| version::label(reply, "compute", version);
    match route(&mut call, request.method.as_str(), &path) {
        Ok(Some(reply)) if reply.status == 500 => Answer::After(pause, label(reply)),
        Ok(Some(reply)) => label(reply).into(),
        Ok(None) => Answer::Wait,
        Err(refusal) => label(Reply::from(refusal)).into(),
    }
}

/// `None`: its turn has not come.
fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Option<Reply>> {
    match (method, path) {
        ("POST", ["servers", server, "os-volume_attachments"]) => attach(call, server),
        (_, ["servers", server, "os-volume_attachments", rest @ ..]) => {
            attachments(call, method, server, rest).map(Some)
        }
        ("GET", ["servers", server, "os-instance-actions"]) => servers::actions(call, server).map(Some),
        ("GET", ["images"]) => Ok(Some(servers::images(call))),
        ("GET", ["limits"]) => Ok(Some(servers::limits())),
        ("GET", ["os-availability-zone"]) => Ok(Some(servers::zones(call))),
        (_, ["servers", rest @ ..]) => servers::route(call, method, rest).map(Some),
        _ => Err(not_there()),
    }
}

fn view(call: &Call<'_>, server: &str, disk: &Disk) -> Value {
    let since = |minor| call.version >= Version(2, minor);
    let mut view = json!({"volumeId": disk.volume, "serverId": server, "device": disk.device});
    if !since(89) {
        view["id"] = json!(disk.volume);
    }
    if since(70) {
        view["tag"] = json!(disk.tag);
    }
    if since(79) {
        view["delete_on_termination"] = json!(disk.with_server);
    }
    if since(89) {
        view["attachment_id"] = json!(disk.attachment);
        view["bdm_uuid"] = json!(disk.id);
    }
    view
}

fn attachments(call: &mut Call<'_>, method: &str, server: &str, path: &[&str]) -> Result<Reply> {
    // From 2.89 on, a disk that Cinder has no attachment for is not shown.
    let hidden = |call: &Call<'_>, disk: &Disk| call.version >= Version(2, 89) && disk.attachment.is_none();
    match (method, path) {
        ("GET", []) => {
            let disks = &call.cloud.server(call.project(), server)?.disks;
            let shown = disks.iter().filter(|disk| !hidden(call, disk));
            let list: Vec<_> = shown.map(|disk| view(call, server, disk)).collect();
            Ok(Reply::json(200, &json!({"volumeAttachments": list})))
        }
        ("GET", [volume]) => {
            let disks = &call.cloud.server(call.project(), server)?.disks;
            let found = disks.iter().find(|disk| disk.volume == *volume && !hidden(call, disk));
            let disk = found.ok_or_else(|| {
                Refusal::missing(format!("Instance {server} is not attached to volume {volume}"))
            })?;
            Ok(Reply::json(200, &json!({"volumeAttachment": view(call, server, disk)})))
        }
        ("DELETE", [volume]) => {
            let shelved = call.version >= Version(2, 20);
            call.cloud.detach(&call.request.caller, server, volume, shelved)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}

fn attach(call: &mut Call<'_>, server: &str) -> Result<Option<Reply>> {
    let since = |minor| call.version >= Version(2, minor);
    let body = call.request.content("volumeAttachment")?;
    let volume = input::needed_uuid(&body, "volumeAttachment", "volumeId")?;
    let wish = AttachWish {
        device: input::text(&body, "device")?,
        tag: if since(49) { input::text(&body, "tag")? } else { None },
        with_server: since(79) && input::truth(&body, "delete_on_termination")? == Some(true),
        shared: since(60),
        shelved: since(20),
        volume,
    };
    let device = match call.cloud.attach(&call.request.caller, server, &wish)? {
        Attach::Begun(device) => device,
        Attach::Wait => return Ok(None),
        Attach::TimesOut => return Ok(Some(Reply::fault(500, TIMED_OUT))),
    };
    if since(101) {
        return Ok(Some(Reply::empty(202)));
    }
    let mut view = json!({"id": wish.volume, "volumeId": wish.volume, "serverId": server, "device": device});
    if since(70) {
        view["tag"] = json!(wish.tag);
    }
    if since(79) {
        view["delete_on_termination"] = json!(wish.with_server);
    }
    Ok(Some(Reply::json(200, &json!({"volumeAttachment": view}))))
}
