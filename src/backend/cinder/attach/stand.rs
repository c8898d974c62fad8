//! How a volume stands to a server, by what Cinder says of it.

use std::time::SystemTime;

use crate::backend::cinder::model::{Status, Volume, VolumeAttachment};

/// How long a volume that is `available` may lack its service: Cinder saves that afterwards, and until then an attach
/// fails without a word. Some clouds never tell it.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(20);

/// How a volume stands to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stand<'a> {
    /// The server has it.
    Here(&'a VolumeAttachment),
    /// Nobody has it.
    Free,
    /// Only others have it.
    Elsewhere(Vec<&'a str>),
    /// It is on its way, and changes by itself.
    Moving,
    /// It is in a state that only somebody else can end.
    Broken,
}

/// Judges a volume. `tells_service`: whether the cloud tells which service holds it.
pub(super) fn stand<'a>(volume: &'a Volume, server: &str, tells_service: bool) -> Stand<'a> {
    let here = volume.attachments.iter().find(|one| one.server_id == server);
    match (&volume.status, here) {
        (Status::InUse, Some(attachment)) => Stand::Here(attachment),
        (Status::InUse, None) if volume.attachments.is_empty() => Stand::Moving,
        (Status::InUse, None) => {
            Stand::Elsewhere(volume.attachments.iter().map(|one| one.server_id.as_str()).collect())
        }
        (Status::Available, _) if tells_service && volume.service_uuid.is_none() && is_young(volume) => {
            Stand::Moving
        }
        (Status::Available, _) => Stand::Free,
        (
            Status::Creating
            | Status::Reserved
            | Status::Attaching
            | Status::Detaching
            | Status::Extending
            | Status::Downloading
            | Status::Uploading
            | Status::Retyping
            | Status::BackingUp
            | Status::Restoring
            | Status::Reverting
            | Status::Updating,
            _,
        ) => Stand::Moving,
        _ => Stand::Broken,
    }
}

fn is_young(volume: &Volume) -> bool {
    let Some(changed) = volume.updated_at.or(volume.created_at) else { return false };
    match SystemTime::now().duration_since(changed) {
        Ok(age) => age < SETTLING,
        // The cloud's clock is ahead of ours, by not very much.
        Err(ahead) => ahead.duration() < SETTLING * 3,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::cinder::moment;

    fn judged(status: &str, servers: &[&str]) -> String {
        let attachments: Vec<_> = servers.iter().map(|server| json!({"server_id": server})).collect();
        let volume: Volume = serde_json::from_value(
            json!({"id": "v", "status": status, "size": 1, "service_uuid": "s", "attachments": attachments}),
        )
        .unwrap();
        let text = format!("{:?}", stand(&volume, "here", true));
        text.split('(').next().unwrap().to_owned()
    }

    #[test]
    fn every_state_is_judged() {
        assert_eq!(judged("in-use", &["there", "here"]), "Here");
        assert_eq!(judged("in-use", &["there"]), "Elsewhere");
        assert_eq!(judged("in-use", &[]), "Moving", "Cinder is in between");
        assert_eq!(judged("available", &[]), "Free");
        for moving in ["creating", "reserved", "attaching", "detaching", "extending", "retyping"] {
            assert_eq!(judged(moving, &["here"]), "Moving", "{moving}");
        }
        for broken in ["error", "error_extending", "maintenance", "deleting", "awaiting-transfer"] {
            assert_eq!(judged(broken, &[]), "Broken", "{broken}");
        }
    }

    #[test]
    fn a_new_volume_is_free_only_with_its_service() {
        let volume = |age: u64| -> Volume {
            let changed = SystemTime::now() - std::time::Duration::from_secs(age);
            serde_json::from_value(json!({"id": "v", "status": "available", "size": 1, "service_uuid": null,
                "updated_at": moment::show(changed)}))
            .unwrap()
        };
        assert_eq!(stand(&volume(3), "here", true), Stand::Moving);
        assert_eq!(stand(&volume(60), "here", true), Stand::Free, "it will not be told any more");
        assert_eq!(stand(&volume(3), "here", false), Stand::Free, "a cloud that never tells it");
    }
}
