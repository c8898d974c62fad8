//! How objects are shown, by microversion (cinder/api/v3/views).

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::{Attachment, Cloud, Moment, Volume, moment_text};

use super::Call;

/// A time, null where there is none.
pub(super) fn time(moment: Option<Moment>) -> Value {
    moment.map_or(Value::Null, |moment| json!(moment_text(moment)))
}

/// The attachments of a cloud by volume, to be looked up for each item of a list.
pub(super) struct ByVolume<'a>(HashMap<&'a str, Vec<&'a Attachment>>);

impl<'a> ByVolume<'a> {
    pub(super) fn all(cloud: &'a Cloud) -> Self {
        let mut map = HashMap::<&str, Vec<&Attachment>>::new();
        for attachment in cloud.attachments.iter().filter(|one| one.status == "attached") {
            map.entry(&attachment.volume).or_default().push(attachment);
        }
        Self(map)
    }

    pub(super) fn of(cloud: &'a Cloud, volume: &str) -> Self {
        let own = |one: &&Attachment| one.volume == volume && one.status == "attached";
        let list: Vec<_> = cloud.attachments.iter().filter(own).collect();
        Self(list.first().map(|one| (one.volume.as_str(), list.clone())).into_iter().collect())
    }

    pub(super) fn get(&self, volume: &str) -> &[&'a Attachment] {
        self.0.get(volume).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A volume with its details.
pub(super) fn volume(call: &Call<'_>, volume: &Volume, attachments: &ByVolume<'_>) -> Value {
    let kind = call.cloud.type_of(volume);
    let attachments: Vec<_> = attachments.get(&volume.id).iter().map(|one| attachment_of(one)).collect();
    let mut metadata = json!(volume.metadata);
    if volume.readonly {
        metadata["readonly"] = json!("True");
    }
    let mut view = json!({
        "id": volume.id,
        "status": volume.status,
        "size": volume.size,
        "availability_zone": volume.zone,
        "created_at": moment_text(volume.created),
        "updated_at": time(volume.updated),
        "name": volume.name,
        "description": volume.description,
        "volume_type": kind.map(|kind| &kind.name),
        "snapshot_id": volume.snapshot,
        "source_volid": volume.source,
        "metadata": metadata,
        "links": call.links("volumes", &volume.id),
        "user_id": volume.user,
        "bootable": volume.bootable.to_string(),
        "encrypted": false,
        "replication_status": null,
        "consistencygroup_id": null,
        "multiattach": call.cloud.is_shared(volume),
        "attachments": attachments,
    });
    let since = |version| call.version >= version;
    if since(Version(3, 13)) {
        view["group_id"] = json!(volume.group);
    }
    if since(Version(3, 48)) {
        view["shared_targets"] = json!(false);
        view["service_uuid"] = json!(volume.service);
    }
    if since(Version(3, 63)) {
        view["volume_type_id"] = json!(volume.kind);
    }
    if since(Version(3, 65)) {
        view["consumes_quota"] = json!(true);
    }
    if let Some(image) =
        volume.image.as_deref().and_then(|id| call.cloud.config.images.iter().find(|one| one.id == id))
    {
        view["volume_image_metadata"] = json!({"image_id": image.id, "image_name": image.name,
            "min_disk": image.min_disk.to_string(), "container_format": "bare", "disk_format": "raw"});
    }
    view
}

fn attachment_of(one: &Attachment) -> Value {
    json!({"id": one.volume, "attachment_id": one.id, "volume_id": one.volume, "server_id": one.server,
        "host_name": null, "device": one.device, "attached_at": time(one.attached)})
}
