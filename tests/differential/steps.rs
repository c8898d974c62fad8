//! The scripts.

use serde_json::json;

use crate::script::{Step, call};

/// An id that no object has.
const NONE: &str = "11111111-2222-3333-4444-555555555555";

/// All of them, by name.
pub fn scripts() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("versions", versions()),
        ("volumes", volumes()),
        ("refusals", refusals()),
        ("lists", lists()),
        ("snapshots", snapshots()),
        ("attachments", attachments()),
        ("groups", groups()),
        ("project", project()),
    ]
}

fn volume(method: &'static str, path: &str) -> Step {
    call(method, "volume", path)
}

fn compute(method: &'static str, path: &str) -> Step {
    call(method, "compute", path)
}

/// Makes a volume and waits for it.
fn new_volume(name: &'static str, kind: &str) -> Vec<Step> {
    let body = json!({"volume": {"size": 1, "name": format!("{{prefix}}-{name}"), "volume_type": kind,
        "metadata": {"k": "{prefix}"}}});
    vec![
        volume("POST", "/volumes").body(body).save(name, "/volume/id"),
        // Only then it can be attached.
        volume("GET", &format!("/volumes/{{{name}}}")).version("3.48").until_filled("/volume/service_uuid"),
    ]
}

fn end_volume(name: &str) -> Vec<Step> {
    vec![
        volume("DELETE", &format!("/volumes/{{{name}}}")),
        volume("GET", &format!("/volumes/{{{name}}}")).until_status(404),
    ]
}

fn versions() -> Vec<Step> {
    let links = "/versions/*/links";
    vec![
        call("GET", "volume-root", "/").except(links),
        call("GET", "volume-root", "/v3/").except(links),
        call("GET", "compute-root", "/").except(links).except("x-openstack-request-id"),
        call("GET", "compute-root", "/v2.1/").except("/version/links"),
        volume("GET", "/volumes").version("3.999"),
        volume("GET", "/volumes").version("x"),
        compute("GET", "/servers").version("2.999"),
        compute("GET", "/servers").version("x"),
        volume("GET", "/nothing"),
        volume("GET", "/attachments").version("3.26"),
        volume("GET", "/groups").version("3.12"),
        volume("GET", "/messages").version("3.2"),
    ]
}

fn volumes() -> Vec<Step> {
    let mut steps = new_volume("a", "standard");
    for version in ["3.0", "3.13", "3.48", "3.63", "3.65", "3.71"] {
        steps.push(volume("GET", "/volumes/{a}").version(version));
    }
    let act = |body| volume("POST", "/volumes/{a}/action").body(body);
    steps.extend([
        volume("PUT", "/volumes/{a}").body(json!({"volume": {"description": "text"}})),
        volume("GET", "/volumes/{a}/metadata"),
        volume("POST", "/volumes/{a}/metadata").body(json!({"metadata": {"x": "y"}})),
        volume("PUT", "/volumes/{a}/metadata").body(json!({"metadata": {"x": "z"}})),
        volume("PUT", "/volumes/{a}/metadata/x").body(json!({"meta": {"x": "1"}})),
        volume("GET", "/volumes/{a}/metadata/x"),
        volume("GET", "/volumes/{a}/metadata/none"),
        volume("DELETE", "/volumes/{a}/metadata/x"),
        volume("DELETE", "/volumes/{a}/metadata/x"),
        act(json!({"os-extend": {"new_size": 1}})),
        act(json!({"os-extend": {"new_size": 2}})),
        volume("GET", "/volumes/{a}").until("/volume/size", 2),
        volume("GET", "/volumes/{a}").until("/volume/status", "available"),
        act(json!({"os-retype": {"new_type": "none", "migration_policy": "never"}})),
        act(json!({"os-retype": {"new_type": "standard", "migration_policy": "never"}})),
        act(json!({"os-retype": {"new_type": "multiattach", "migration_policy": "never"}})),
        volume("GET", "/volumes/{a}").until("/volume/volume_type", "multiattach"),
        volume("GET", "/volumes/{a}").until("/volume/status", "available"),
        act(json!({"os-update_readonly_flag": {"readonly": true}})),
        volume("GET", "/volumes/{a}"),
        act(json!({"os-set_bootable": {"bootable": true}})),
        act(json!({"os-reset_status": {"status": "error"}})),
        act(json!({"os-force_delete": {}})),
        act(json!({"nonsense": {}})),
        volume("POST", "/volumes")
            .body(json!({"volume": {"size": 2, "name": "{prefix}-copy", "source_volid": "{a}"}}))
            .save("copy", "/volume/id"),
        volume("GET", "/volumes/{copy}").until("/volume/status", "available"),
        volume("GET", "/volumes/summary").version("3.12"),
    ]);
    steps.extend(end_volume("copy"));
    steps.extend(end_volume("a"));
    steps.push(volume("DELETE", "/volumes/{a}"));
    steps
}

fn refusals() -> Vec<Step> {
    let create =
        |volume_body: serde_json::Value| volume("POST", "/volumes").body(json!({"volume": volume_body}));
    let name = "{prefix}";
    vec![
        create(json!({"size": 1, "name": name, "availability_zone": "mars"})),
        create(json!({"size": 1, "name": name, "volume_type": "golden"})),
        create(json!({"size": 1, "name": name, "snapshot_id": NONE})),
        create(json!({"size": 1, "name": name, "source_volid": NONE})),
        create(json!({"size": 1, "name": name, "imageRef": NONE})),
        create(json!({"size": 1, "name": name, "snapshot_id": "x"})),
        create(json!({"size": 0, "name": name})),
        create(json!({"size": "x", "name": name})),
        create(json!({"name": name})),
        create(json!({"size": 1, "name": "n".repeat(256)})),
        create(json!({"size": 1, "name": name, "metadata": {"k": "v".repeat(256)}})),
        create(json!({"size": 1, "name": name, "metadata": {"k": 1}})),
        create(json!({"size": 1, "name": name, "multiattach": true})),
        create(json!({"size": 1, "name": name, "unknown": true})).version("3.53"),
        // How much of it is used depends on who else is there.
        create(json!({"size": 5000, "name": name})).except("message"),
        volume("POST", "/volumes").body(json!({"other": {}})),
        volume("POST", "/volumes")
            .body(json!({"volume": {"size": 1, "name": name}, "OS-SCH-HNT:scheduler_hints": "x"})),
        volume("GET", &format!("/volumes/{NONE}")),
        volume("DELETE", &format!("/volumes/{NONE}")),
        volume("POST", &format!("/volumes/{NONE}/action")).body(json!({"os-extend": {"new_size": 2}})),
        volume("GET", &format!("/snapshots/{NONE}")),
        volume("DELETE", &format!("/snapshots/{NONE}")),
        volume("POST", "/snapshots").body(json!({"snapshot": {"volume_id": NONE, "name": name}})),
        volume("POST", "/snapshots").body(json!({"snapshot": {"name": name}})),
        volume("GET", &format!("/backups/{NONE}")),
        volume("GET", &format!("/attachments/{NONE}")).version("3.27"),
        volume("DELETE", &format!("/attachments/{NONE}")).version("3.27"),
        volume("GET", &format!("/groups/{NONE}")).version("3.29"),
        volume("GET", &format!("/group_snapshots/{NONE}")).version("3.29"),
        volume("GET", &format!("/messages/{NONE}")).version("3.5"),
        compute("GET", &format!("/servers/{NONE}")),
        compute("GET", &format!("/servers/{NONE}/os-volume_attachments")),
        compute("GET", &format!("/servers/{NONE}/os-instance-actions")),
        compute("POST", &format!("/servers/{NONE}/os-volume_attachments"))
            .body(json!({"volumeAttachment": {"volumeId": NONE}})),
        compute("DELETE", &format!("/servers/{NONE}/os-volume_attachments/{NONE}")),
    ]
}

fn lists() -> Vec<Step> {
    // Others may have volumes too.
    let own = |query: &str, detail: &str| {
        volume("GET", &format!("/volumes{detail}?{query}&metadata=%7B%27k%27%3A%27{{prefix}}%27%7D"))
    };

    let mut steps = Vec::new();
    for name in ["a", "b", "c"] {
        steps.extend(new_volume(name, "standard"));
    }
    let filter = "/volumes/detail?name={prefix}-a";
    steps.extend([
        volume("GET", filter),
        volume("GET", filter).version("3.71"),
        volume("GET", "/volumes?name={prefix}-a"),
        volume("GET", "/volumes/detail?name={prefix}-none"),
        volume("GET", "/volumes?name~={prefix}").version("3.34"),
        own("sort=name:asc", "/detail"),
        own("limit=1&sort=created_at:asc", "").save("first", "/volumes/0/id"),
        own("limit=2&marker={first}&sort=created_at:asc", ""),
        own("limit=2&marker={c}&sort=name:asc", ""),
        own("limit=3", ""),
        own("limit=1&with_count=true", "").version("3.45"),
        own("name={prefix}-a", ""),
        own("name={prefix}-a&status=error", "").version("3.31"),
        volume("GET", "/volumes/detail?metadata=%7B%27k%27%3A%27w%27%7D&name={prefix}-a"),
        own("created_at=gte:2020-01-01T00:00:00&sort=name:asc", "/detail").version("3.60"),
        own("updated_at=gt:2020-01-01T00:00:00Z,lt:2999-12-31T23:59:59&sort=name:asc", "").version("3.60"),
        own("created_at=lt:2020-01-01T00:00:00%2B02:00", "/detail").version("3.60"),
        own("created_at=lte:2020-01-01T00:00:00.5&sort=name:asc", "").version("3.31"),
        own("created_at=lte:2020-01-01T00:00:00.5&sort=name:asc", "").version("3.30"),
        own("updated_at=eq:2020-01-01T00:00:00", "").version("3.71"),
        own("updated_at=neq:2020-01-01T00:00:00&sort=name:asc", "").version("3.71"),
        own("updated_at=since:2020-01-01T00:00:00", "").version("3.60"),
        own("updated_at=gte:yesterday", "").version("3.60"),
        own("updated_at=2020-01-01T00:00:00", "").version("3.60"),
        volume("GET", "/volumes/detail?metadata=%7Bbad&name={prefix}-a"),
        volume("GET", "/volumes?unknown=1&name={prefix}-a"),
        volume("GET", "/volumes?unknown=1").version("3.31"),
        volume("GET", "/volumes?limit=x"),
        volume("GET", "/volumes?limit=-1"),
        volume("GET", &format!("/volumes?marker={NONE}")),
        volume("GET", &format!("/snapshots?marker={NONE}")),
        volume("GET", "/snapshots/detail?name={prefix}-none"),
        volume("GET", "/attachments?volume_id={a}").version("3.27"),
        volume("GET", "/groups/detail?name={prefix}-none").version("3.29"),
    ]);
    for name in ["a", "b", "c"] {
        steps.extend(end_volume(name));
    }
    steps
}

fn snapshots() -> Vec<Step> {
    let mut steps = new_volume("a", "standard");
    let snapshot = |body| volume("POST", "/snapshots").body(json!({"snapshot": body}));
    steps.extend([
        snapshot(json!({"volume_id": "{a}", "name": "{prefix}-s", "metadata": {"k": "v"}}))
            .save("s", "/snapshot/id"),
        volume("GET", "/snapshots/{s}").until("/snapshot/status", "available"),
        volume("GET", "/snapshots/{s}").version("3.14"),
        volume("GET", "/snapshots/{s}").version("3.41"),
        volume("GET", "/snapshots/{s}").version("3.71"),
        volume("GET", "/snapshots?volume_id={a}"),
        volume("GET", "/snapshots/detail?volume_id={a}").version("3.41"),
        volume("GET", "/snapshots/detail?name={prefix}-s&limit=1"),
        volume("DELETE", "/volumes/{a}"),
        volume("POST", "/volumes")
            .body(json!({"volume": {"size": 1, "name": "{prefix}-r", "snapshot_id": "{s}"}}))
            .save("r", "/volume/id"),
        volume("GET", "/volumes/{r}").until("/volume/status", "available"),
        snapshot(json!({"volume_id": "{a}", "name": "x", "force": false})).version("3.66"),
        volume("POST", "/volumes/{a}/action").version("3.40").body(json!({"revert": {"snapshot_id": "{s}"}})),
        volume("GET", "/volumes/{a}").until("/volume/status", "available"),
        volume("POST", "/volumes/{a}/action").version("3.40").body(json!({"revert": {"snapshot_id": NONE}})),
        volume("POST", "/volumes/{a}/action").body(json!({"os-extend": {"new_size": 2}})),
        volume("GET", "/volumes/{a}").until("/volume/size", 2),
        volume("POST", "/volumes")
            .body(json!({"volume": {"size": 1, "name": "{prefix}-y", "source_volid": "{a}"}})),
        volume("DELETE", "/snapshots/{s}"),
        volume("GET", "/snapshots/{s}").until_status(404),
        volume("POST", "/volumes/{a}/action").version("3.40").body(json!({"revert": {"snapshot_id": NONE}})),
    ]);
    steps.extend(end_volume("r"));
    steps.extend(end_volume("a"));
    steps
}

fn attachments() -> Vec<Step> {
    let server =
        json!({"server": {"name": "{prefix}", "imageRef": "{image}", "flavorRef": "1", "networks": "none"}});
    let attach = |volume: &str| json!({"volumeAttachment": {"volumeId": volume}});
    let post = |volume: &str| compute("POST", "/servers/{server}/os-volume_attachments").body(attach(volume));
    let mut steps = vec![
        compute("GET", "/images").save("image", "/images/0/id").except("/images"),
        compute("POST", "/servers").version("2.37").body(server).save("server", "/server/id"),
        compute("GET", "/servers/{server}").until("/server/status", "ACTIVE").except("/server/image"),
        compute("GET", "/servers/{server}").version("2.47").except("/server/image"),
    ];
    steps.extend(new_volume("a", "standard"));
    steps.extend(new_volume("m", "multiattach"));
    steps.extend([
        post("{a}"),
        volume("GET", "/volumes/{a}").until("/volume/status", "in-use"),
        volume("GET", "/volumes/{a}").version("3.63"),
        compute("GET", "/servers/{server}").version("2.3").except("/server/image"),
        compute("GET", "/servers/{server}/os-volume_attachments"),
        compute("GET", "/servers/{server}/os-volume_attachments").version("2.70"),
        compute("GET", "/servers/{server}/os-volume_attachments").version("2.79"),
        compute("GET", "/servers/{server}/os-volume_attachments").version("2.89"),
        compute("GET", "/servers/{server}/os-volume_attachments/{a}"),
        compute("GET", "/servers/{server}/os-volume_attachments/{m}"),
        compute("GET", "/servers/{server}/os-instance-actions"),
        compute("GET", "/servers/{server}/os-instance-actions").version("2.58"),
        post("{a}"),
        post(NONE),
        post("x"),
        compute("POST", "/servers/{server}/os-volume_attachments").body(json!({"volumeAttachment": {}})),
        post("{m}"),
        compute("DELETE", "/servers/{server}/os-volume_attachments/{m}"),
        post("{m}").version("2.60"),
        volume("GET", "/volumes/{m}").until("/volume/status", "in-use"),
        post("{m}").version("2.60"),
        volume("GET", "/attachments/detail?volume_id={a}")
            .version("3.27")
            .save("attachment", "/attachments/0/id")
            .except("/attachments/*/connection_info"),
        volume("GET", "/attachments?volume_id={a}").version("3.27"),
        volume("GET", "/attachments/{attachment}").version("3.27").except("/attachment/connection_info"),
        volume("DELETE", "/attachments/{attachment}").version("3.27"),
        volume("DELETE", "/volumes/{a}"),
        volume("POST", "/volumes/{a}/action").body(json!({"os-extend": {"new_size": 2}})),
        volume("POST", "/volumes/{a}/action").version("3.42").body(json!({"os-extend": {"new_size": 2}})),
        volume("GET", "/volumes/{a}").until("/volume/size", 2),
        volume("GET", "/volumes/{a}").until("/volume/status", "in-use"),
        volume("POST", "/volumes/{a}/action")
            .body(json!({"os-retype": {"new_type": "multiattach", "migration_policy": "never"}})),
        volume("POST", "/volumes/{a}/action").body(json!({"os-update_readonly_flag": {"readonly": true}})),
        volume("POST", "/snapshots").body(json!({"snapshot": {"volume_id": "{a}", "name": "{prefix}-s"}})),
        volume("POST", "/snapshots")
            .body(json!({"snapshot": {"volume_id": "{a}", "name": "{prefix}-s", "force": true}}))
            .save("s", "/snapshot/id"),
        volume("GET", "/snapshots/{s}").until("/snapshot/status", "available"),
        volume("DELETE", "/snapshots/{s}"),
        volume("GET", "/snapshots/{s}").until_status(404),
        compute("DELETE", "/servers/{server}/os-volume_attachments/{a}"),
        volume("GET", "/volumes/{a}").until("/volume/status", "available"),
        compute("GET", "/servers/{server}/os-volume_attachments/{a}").until_status(404),
        compute("DELETE", "/servers/{server}/os-volume_attachments/{a}"),
        compute("DELETE", &format!("/servers/{{server}}/os-volume_attachments/{NONE}")),
        // Reserved, and let go.
        volume("POST", "/attachments")
            .version("3.27")
            .body(json!({"attachment": {"volume_uuid": "{a}", "instance_uuid": "{server}"}}))
            .save("reserved", "/attachment/id"),
        volume("GET", "/volumes/{a}").until("/volume/status", "reserved"),
        volume("DELETE", "/volumes/{a}"),
        volume("POST", "/attachments")
            .version("3.54")
            .body(json!({"attachment": {"volume_uuid": "{a}", "mode": "ro"}})),
        // What is reserved for a server can be attached to it, and stays reserved when it is detached again.
        post("{a}"),
        volume("GET", "/volumes/{a}").until("/volume/status", "in-use"),
        compute("DELETE", "/servers/{server}/os-volume_attachments/{a}"),
        compute("GET", "/servers/{server}/os-volume_attachments/{a}").until_status(404),
        volume("GET", "/volumes/{a}").until("/volume/status", "reserved"),
        volume("DELETE", "/attachments/{reserved}").version("3.27"),
        volume("GET", "/volumes/{a}").until("/volume/status", "available"),
        // A server that goes lets go of what it has.
        compute("DELETE", "/servers/{server}"),
        compute("GET", "/servers/{server}").until_status(404),
        volume("GET", "/volumes/{m}").until("/volume/status", "available"),
        post("{a}"),
    ]);
    steps.extend(end_volume("m"));
    steps.extend(end_volume("a"));
    steps
}

fn groups() -> Vec<Step> {
    let v = "3.29";
    let group = |path: &str, method| volume(method, path).version(v);
    let mut steps = vec![
        group("/group_types", "GET").save("type", "/group_types/0/id"),
        group("/types", "GET").version("3.29"),
    ];
    steps.extend(new_volume("a", "standard"));
    let body = json!({"group": {"name": "{prefix}", "group_type": "{type}", "volume_types": ["standard"]}});
    let change = |body| volume("PUT", "/groups/{g}").version(v).body(json!({"group": body}));
    let cut = || {
        volume("POST", "/group_snapshots")
            .version(v)
            .body(json!({"group_snapshot": {"group_id": "{g}", "name": "{prefix}"}}))
    };
    let end = |volumes: bool| {
        volume("POST", "/groups/{g}/action").version(v).body(json!({"delete": {"delete-volumes": volumes}}))
    };
    let settled = || volume("GET", "/groups/{g}").version(v).until("/group/status", "available");
    steps.extend([
        group("/groups", "POST")
            .body(json!({"group": {"name": "x", "group_type": NONE, "volume_types": ["standard"]}})),
        group("/groups", "POST")
            .body(json!({"group": {"name": "x", "group_type": "{type}", "volume_types": [NONE]}})),
        group("/groups", "POST")
            .body(json!({"group": {"name": "x", "group_type": "{type}", "volume_types": []}})),
        group("/groups", "POST").body(body).save("g", "/group/id"),
        settled(),
        cut(),
        change(json!({})),
        change(json!({"add_volumes": NONE})),
        change(json!({"remove_volumes": "{a}"})),
        change(json!({"add_volumes": "{a}"})),
        settled(),
        volume("GET", "/groups/{g}?list_volume=true").version("3.25"),
        volume("GET", "/groups/{g}").version("3.38"),
        volume("GET", "/groups/detail?list_volume=true&name={prefix}").version("3.31"),
        volume("GET", "/groups?name={prefix}").version("3.31"),
        volume("GET", "/volumes/{a}").version("3.13"),
        volume("DELETE", "/volumes/{a}"),
        volume("POST", "/volumes/{a}/action")
            .body(json!({"os-retype": {"new_type": "multiattach", "migration_policy": "never"}})),
        cut().save("c", "/group_snapshot/id"),
        group("/group_snapshots/{c}", "GET").until("/group_snapshot/status", "available"),
        group("/group_snapshots", "GET"),
        group("/group_snapshots/detail", "GET"),
        volume("GET", "/snapshots/detail?volume_id={a}").version("3.14").save("s", "/snapshots/0/id"),
        volume("DELETE", "/snapshots/{s}"),
        end(false),
        end(true),
        group("/group_snapshots/{c}", "DELETE"),
        group("/group_snapshots/{c}", "GET").until_status(404),
        end(false),
        change(json!({"remove_volumes": "{a}"})),
        settled(),
        end(false),
        group("/groups/{g}", "GET").until_status(404),
    ]);
    steps.extend(end_volume("a"));
    steps
}

fn project() -> Vec<Step> {
    vec![
        volume("GET", "/types").except("/volume_types/*/extra_specs"),
        volume("GET", "/types/default"),
        volume("GET", &format!("/types/{NONE}")),
        volume("GET", "/limits"),
        volume("GET", "/os-quota-sets/{project}").except("/quota_set/"),
        volume("GET", "/os-availability-zone"),
        volume("GET", "/messages").version("3.5").except("/messages"),
        volume("GET", &format!("/messages?resource_uuid={NONE}")).version("3.5"),
        volume("GET", "/backups/detail?name={prefix}"),
        call("GET", "volume-root", "/v3/11111111111111111111111111111111/volumes"),
    ]
}
