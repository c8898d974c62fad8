//! Cinder's attachments.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Attachment, Refusal, Result, moment_text};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::{Call, input, not_there};

const KIND: Kind<Attachment> = Kind {
    key: "attachments",
    links: "attachments_links",
    missing: "Volume attachment could not be found with filter: attachment_id = {}.",
    filters: &[
        ("volume_id", Look::Text(|one| one.volume.clone())),
        ("status", Look::Text(|one| one.status.to_owned())),
        ("attach_status", Look::Text(|one| one.status.to_owned())),
        ("instance_id", Look::Text(|one| one.server.clone().unwrap_or_default())),
    ],
    created: |_| std::time::Duration::ZERO,
    name: |_| "",
};

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    call.since(Version(3, 27))?;
    let caller = &call.request.caller;
    match (method, path) {
        ("GET", []) => list(call, false),
        ("GET", ["detail"]) => list(call, true),
        ("GET", [id]) => show(call, id),
        ("POST", []) => create(call),
        ("PUT", [id]) => {
            let body = call.request.content("attachment")?;
            if !body["connector"].is_object() {
                return Err(Refusal::invalid(
                    "Invalid input for field/attribute attachment. 'connector' is a required property",
                ));
            }
            call.cloud.connect_attachment(caller, id)?;
            show(call, id)
        }
        ("POST", [id, "action"]) if call.version >= Version(3, 44) => {
            call.cloud.complete_attachment(caller, id)?;
            Ok(Reply::empty(204))
        }
        ("DELETE", [id]) => {
            call.cloud.delete_attachment(caller, id)?;
            Ok(Reply::json(200, &json!({"attachments": []})))
        }
        _ => Err(not_there()),
    }
}

fn view(one: &Attachment, details: bool) -> Value {
    let mut view =
        json!({"id": one.id, "status": one.status, "instance": one.server, "volume_id": one.volume});
    if details {
        view["attached_at"] = json!(one.attached.map(moment_text).unwrap_or_default());
        view["detached_at"] = json!("");
        view["attach_mode"] = json!(one.mode);
        view["connection_info"] = match one.connected {
            true => json!({"driver_volume_type": "local", "volume_id": one.volume, "attachment_id": one.id}),
            false => json!({}),
        };
    }
    view
}

fn show(call: &Call<'_>, id: &str) -> Result<Reply> {
    let found = call.cloud.attachment(call.project(), id)?;
    Ok(Reply::json(200, &json!({"attachment": view(found, true)})))
}

fn list(call: &Call<'_>, details: bool) -> Result<Reply> {
    let own = |one: &&Attachment| {
        call.cloud.volumes.get(&one.volume).is_some_and(|volume| volume.project == call.project())
    };
    let page = Page::of(call, &KIND, call.cloud.attachments.iter().filter(own))?;
    Ok(page.reply(&KIND, call, |one| view(one, details)))
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("attachment")?;
    let volume = input::needed(&body, "volume_uuid")?;
    let server = input::uuid(&body, "instance_uuid")?;
    let mode = match call.version >= Version(3, 54) {
        true => input::text(&body, "mode")?,
        false => None,
    };
    let caller = &call.request.caller;
    let mode = mode.as_deref().unwrap_or("null");
    let id = call.cloud.create_attachment(caller, &volume, server, mode)?;
    if body["connector"].is_object() {
        call.cloud.connect_attachment(caller, &id)?;
    }
    show(call, &id)
}
