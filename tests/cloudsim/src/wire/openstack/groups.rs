//! Cinder's groups and group snapshots.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Cut, Group, GroupWish, Refusal, Result, moment_text};
use crate::wire::Reply;

use super::listing::{Kind, Look, Page};
use super::{Call, input, not_there};

const GROUPS: Kind<Group> = Kind {
    key: "groups",
    links: "group_links",
    missing: "Group {} could not be found.",
    filters: &[("name", Look::Text(|one| one.name.clone().unwrap_or_default()))],
    created: |one| one.created,
    name: |one| one.name.as_deref().unwrap_or_default(),
};

const CUTS: Kind<Cut> = Kind {
    key: "group_snapshots",
    links: "group_snapshot_links",
    missing: "GroupSnapshot {} could not be found.",
    filters: &[
        ("name", Look::Text(|one| one.name.clone().unwrap_or_default())),
        ("status", Look::Text(|one| one.status.to_owned())),
        ("group_id", Look::Text(|one| one.group.clone())),
    ],
    created: |one| one.created,
    name: |one| one.name.as_deref().unwrap_or_default(),
};

pub(super) fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    call.since(Version(3, 13))?;
    match (method, path) {
        ("GET", []) => list(call, false),
        ("GET", ["detail"]) => list(call, true),
        ("GET", [id]) => {
            let group = call.cloud.group(call.project(), id)?;
            Ok(Reply::json(200, &json!({"group": view(call, group)})))
        }
        ("POST", []) => create(call),
        ("PUT", [id]) => change(call, id),
        ("POST", [id, "action"]) => {
            let body = call.request.content("delete")?;
            let volumes = input::truth(&body, "delete-volumes")? == Some(true);
            call.cloud.delete_group(&call.request.caller, id, volumes)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}

fn view(call: &Call<'_>, one: &Group) -> Value {
    let mut view = json!({"id": one.id, "status": one.status, "availability_zone": one.zone,
        "created_at": moment_text(one.created), "name": one.name, "description": one.description,
        "group_type": one.kind, "volume_types": one.volume_types});
    let since = |version| call.version >= version;
    if since(Version(3, 14)) {
        view["group_snapshot_id"] = Value::Null;
        view["source_group_id"] = Value::Null;
    }
    let wanted = call.request.parameter("list_volume").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if since(Version(3, 25)) && wanted {
        view["volumes"] = json!(call.cloud.members(&one.id));
    }
    if since(Version(3, 38)) {
        view["replication_status"] = json!("disabled");
    }
    view
}

fn list(call: &Call<'_>, details: bool) -> Result<Reply> {
    let own = call.cloud.groups.iter().filter(|one| one.project == call.project());
    Ok(Page::of(call, &GROUPS, own)?.reply(&GROUPS, call, |one| match details {
        true => view(call, one),
        false => json!({"id": one.id, "name": one.name}),
    }))
}

fn create(call: &mut Call<'_>) -> Result<Reply> {
    let body = call.request.content("group")?;
    let types = body["volume_types"].as_array().into_iter().flatten();
    let wish = GroupWish {
        name: input::trimmed(&body, "name")?,
        description: input::trimmed(&body, "description")?,
        kind: input::needed(&body, "group_type")?,
        volume_types: types.filter_map(|kind| kind.as_str().map(str::to_owned)).collect(),
        zone: input::text(&body, "availability_zone")?,
    };
    if wish.volume_types.is_empty() {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute volume_types. Value: []. [] should be non-empty",
        ));
    }
    let name = wish.name.clone();
    let id = call.cloud.create_group(&call.request.caller, wish)?;
    Ok(Reply::json(202, &json!({"group": {"id": id, "name": name}})))
}

fn change(call: &mut Call<'_>, id: &str) -> Result<Reply> {
    let body = call.request.content("group")?;
    let ids = |field: &str| -> Result<Vec<String>> {
        let text = input_list(&body, field)?;
        Ok(text.split(',').filter(|id| !id.is_empty()).map(|id| id.trim().to_owned()).collect())
    };
    if body.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Refusal::invalid(
            "Invalid input for field/attribute group. Value: {}. {} is not valid under any of the given schemas",
        ));
    }
    let (add, remove) = (ids("add_volumes")?, ids("remove_volumes")?);
    call.cloud.change_group(&call.request.caller, id, &add, &remove)?;
    Ok(Reply::empty(202))
}

/// Ids with commas between them: longer than other texts may be.
fn input_list(body: &Value, field: &str) -> Result<String> {
    match &body[field] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {field}. Value: {other}. {other} is not of type 'string', 'null'"
        ))),
    }
}

pub(super) fn route_cuts(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    call.since(Version(3, 14))?;
    match (method, path) {
        ("GET", []) => list_cuts(call, false),
        ("GET", ["detail"]) => list_cuts(call, true),
        ("GET", [id]) => {
            let cut = call.cloud.cut(call.project(), id)?;
            Ok(Reply::json(200, &json!({"group_snapshot": view_cut(cut)})))
        }
        ("POST", []) => {
            let body = call.request.content("group_snapshot")?;
            let group = input::needed(&body, "group_id")?;
            let (name, text) = (input::trimmed(&body, "name")?, input::trimmed(&body, "description")?);
            let id = call.cloud.create_cut(&call.request.caller, &group, name, text)?;
            let mut view = brief_cut(call.cloud.cut(call.project(), &id)?);
            view["group_type_id"] = json!(call.cloud.group(call.project(), &group)?.kind);
            Ok(Reply::json(202, &json!({"group_snapshot": view})))
        }
        ("DELETE", [id]) => {
            call.cloud.delete_cut(&call.request.caller, id)?;
            Ok(Reply::empty(202))
        }
        _ => Err(not_there()),
    }
}

fn brief_cut(one: &Cut) -> Value {
    json!({"id": one.id, "name": one.name})
}

fn view_cut(one: &Cut) -> Value {
    json!({"id": one.id, "group_id": one.group, "group_type_id": one.kind, "status": one.status,
        "created_at": moment_text(one.created), "name": one.name, "description": one.description})
}

fn list_cuts(call: &Call<'_>, details: bool) -> Result<Reply> {
    let own = call.cloud.cuts.iter().filter(|one| one.project == call.project());
    let page = Page::of(call, &CUTS, own)?;
    Ok(page.reply(&CUTS, call, |one| if details { view_cut(one) } else { brief_cut(one) }))
}
