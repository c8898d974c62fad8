//! Cinder's snapshots.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Refusal, Result, Snapshot, SnapshotWish, moment_text};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::view::time;
use super::{Call, input, not_there};

const KIND: Kind<Snapshot> = Kind {
    key: "snapshots",
    links: "snapshots_links",
    missing: "Snapshot {} could not be found.",
    filters: &[
        ("name", Look::Text(|one| one.name.clone().unwrap_or_default())),
        ("status", Look::Text(|one| one.status.to_owned())),
        ("volume_id", Look::Text(|one| one.volume.clone())),
        ("metadata", Look::Notes(|one| &one.metadata)),
    ],
    created: |one| one.created,
    name: |one| one.name.as_deref().unwrap_or_default(),
};

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    match (method, path) {
        ("POST", []) => create(call),
        ("GET", []) => list(call, false),
        ("GET", ["detail"]) => list(call, true),
        ("GET", [id]) => show(call, id, 200),
        ("DELETE", [id]) => {
            call.cloud.delete_snapshot(&call.request.caller, id)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}

fn view(call: &Call<'_>, one: &Snapshot, details: bool) -> Value {
    let mut view = json!({"id": one.id, "created_at": moment_text(one.created), "updated_at": time(one.updated),
        "name": one.name, "description": one.description, "volume_id": one.volume, "status": one.status,
        "size": one.size, "metadata": one.metadata});
    if !details {
        return view;
    }
    let progress = if one.status == "creating" { "0%" } else { "100%" };
    view["os-extended-snapshot-attributes:progress"] = json!(progress);
    view["os-extended-snapshot-attributes:project_id"] = json!(one.project);
    if call.version >= Version(3, 14) {
        view["group_snapshot_id"] = json!(one.cut);
    }
    if call.version >= Version(3, 41) {
        view["user_id"] = json!(one.user);
    }
    if call.version >= Version(3, 65) {
        view["consumes_quota"] = json!(true);
    }
    view
}

fn show(call: &Call<'_>, id: &str, status: u16) -> Result<Reply> {
    let snapshot = call.cloud.snapshot(call.project(), id)?;
    let mut view = view(call, snapshot, true);
    if let Some(view) = view.as_object_mut().filter(|_| status == 202) {
        // These are added only where snapshots are read.
        view.retain(|key, _| !key.starts_with("os-extended"));
    }
    Ok(Reply::json(status, &json!({"snapshot": view})))
}

fn list(call: &Call<'_>, details: bool) -> Result<Reply> {
    let own = call.cloud.snapshots.iter().filter(|one| one.project == call.project());
    Ok(Page::of(call, &KIND, own)?.reply(&KIND, call, |one| view(call, one, details)))
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("snapshot")?;
    let volume =
        input::uuid(&body, "volume_id")?.ok_or_else(|| input::lacks("snapshot", &body, "volume_id"))?;
    let force = input::truth(&body, "force")?;
    let always = call.version >= Version(3, 66);
    if always && force == Some(false) {
        return Err(Refusal::invalid(
            "Since microversion 3.66 the 'force' flag is invalid for this request.  For backward compatability, \
             however, when the 'force' flag is passed with a value evaluating to True, it is silently ignored.",
        ));
    }
    let wish = SnapshotWish {
        name: input::trimmed(&body, "name")?,
        description: input::trimmed(&body, "description")?,
        volume,
        force: always || force == Some(true),
        metadata: input::metadata(&body, "metadata")?,
    };
    let id = call.cloud.create_snapshot(&call.request.caller, wish)?;
    show(call, &id, 202)
}
