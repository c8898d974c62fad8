//! What must not be on the wire, whatever became of it.

use serde_json::Value;
use storpoolsim::Told;

/// The longest that clients are waited for, in seconds.
const LONGEST: u64 = 1;

/// Looks through all requests, and tells how many orders to attach or detach went with others in one call.
pub fn check(journal: &[Told], wrong: &mut Vec<String>) -> usize {
    let mut together = 0;
    for told in journal.iter().filter(|told| told.method == "POST") {
        let body: Value = serde_json::from_str(&told.body).unwrap_or_default();
        let call = told.call.first().map(String::as_str).unwrap_or_default();
        let why = match call {
            "VolumesReassignWait" => {
                let entries = body["reassign"].as_array().map_or(&[][..], Vec::as_slice);
                together += if entries.len() > 1 { entries.len() } else { 0 };
                match body["attachTimeout"].as_u64() {
                    Some(1..=LONGEST) => entries.iter().find_map(reassigned),
                    _ => Some("it may wait for ever"),
                }
            }
            "VolumeDelete" => body.get("onAttached").map(|_| "it takes the volume from clients"),
            "VolumeUpdate" => ["shrinkOk", "rename"]
                .iter()
                .find(|key| body.get(**key).is_some())
                .map(|_| "it shrinks or renames a volume"),
            "VolumeCreate" => body.get("name").is_none().then_some("it makes a volume without a name"),
            "VolumeSnapshot" => body.get("name").is_none().then_some("it makes a snapshot without a name"),
            "SnapshotUpdate" => {
                let aside = told.call.get(1).is_some_and(|name| name.starts_with("csi--aside--"));
                (!aside).then_some("it changes a snapshot that somebody has")
            }
            "iSCSIConfig" => {
                let commands = body["commands"].as_array().map_or(&[][..], Vec::as_slice);
                commands.iter().find_map(|command| configured(command))
            }
            "SnapshotDelete" | "VolumesGroupSnapshot" => None,
            _ => Some("it is no call of the driver's"),
        };
        if let Some(why) = why {
            wrong.push(format!("{} {}: {why}", told.call.join("/"), told.body));
        }
    }
    together
}

/// What is wrong with one of the commands about iSCSI.
fn configured(command: &Value) -> Option<&'static str> {
    let known =
        ["createInitiator", "initiatorAddNetwork", "createTarget", "deleteTarget", "export", "exportDelete"];
    match command.as_object().and_then(|command| command.keys().next()) {
        Some(name) if known.contains(&name.as_str()) => None,
        _ => Some("it changes what an administrator has made"),
    }
}

/// What is wrong with one of the orders in a call.
fn reassigned(entry: &Value) -> Option<&'static str> {
    let one = |key: &str| entry.get(key).and_then(Value::as_array).is_some_and(|list| list.len() == 1);
    if entry["force"] != Value::Bool(false) {
        return Some("it takes what is open");
    }
    match ["rw", "ro", "detach"].iter().filter(|key| entry.get(**key).is_some()).count() {
        1 if one("rw") || one("detach") => None,
        _ => Some("it is about other clients too"),
    }
}
