use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::volume::NO_SERVER;
use super::*;

#[test]
fn a_volume_is_read_from_every_dialect() {
    let cinder = json!({"id": "cb49", "status": "in-use", "size": 10, "availability_zone": "nova",
        "created_at": "2018-11-28T06:25:15.288987", "name": "pvc-1", "volume_type": "__DEFAULT__", "snapshot_id": null,
        "source_volid": null, "metadata": {"k": "v"}, "bootable": "false", "encrypted": false, "multiattach": false,
        "service_uuid": null, "attachments": [{"id": "cb49", "attachment_id": "A", "volume_id": "cb49",
        "server_id": "S", "host_name": null, "device": "/dev/vdb"}], "group_id": null});
    let volume: Volume = serde_json::from_value(cinder).unwrap();
    assert_eq!((volume.status, volume.size, volume.bootable), (Status::InUse, 10, false));
    assert_eq!(volume.created_at, Some(UNIX_EPOCH + Duration::new(1_543_386_315, 288_987_000)));
    assert_eq!((volume.service_uuid, volume.attachments[0].server_id.as_str()), (None, "S"));

    let held = json!({"id": "cb50", "status": "in-use", "size": 1, "attachments": [{"id": "cb50",
        "attachment_id": "B", "server_id": null, "host_name": "node-1", "device": "/dev/sdb"}]});
    let volume: Volume = serde_json::from_value(held).unwrap();
    assert_eq!(volume.attachments[0].server_id, NO_SERVER, "a host has it, and no server");

    let cyclades = json!({"id": "44", "display_name": "pvc-1", "status": "in_use", "size": 10, "metadata": {},
        "created_at": "2014-05-13T19:52:04.949734+00:00", "volume_type": 2, "deleted": false,
        "attachments": [{"server_id": 42, "volume_id": 44, "device_index": 1}]});
    let volume: Volume = serde_json::from_value(cyclades).unwrap();
    assert_eq!((volume.name.as_deref(), volume.status), (Some("pvc-1"), Status::InUse));
    assert_eq!((volume.volume_type.as_deref(), volume.attachments[0].server_id.as_str()), (Some("2"), "42"));

    let rackspace = json!({"status": "creating", "display_name": "v", "attachments": null, "bootable": true,
        "size": "100", "id": "5217", "metadata": null});
    let volume: Volume = serde_json::from_value(rackspace).unwrap();
    assert_eq!((volume.size, volume.bootable, volume.created_at), (100, true, None));
    assert!(
        serde_json::from_value::<Volume>(json!({"id": "5217", "size": 1})).is_err(),
        "a state must be there"
    );
}

#[test]
fn every_state_is_read_however_it_is_written() {
    let read = |text: &str| serde_json::from_value::<Status>(json!(text)).unwrap();
    assert_eq!(read("error_deleting"), Status::ErrorDeleting);
    assert_eq!(read("AVAILABLE"), Status::Available);
    assert_eq!(read("restoring-backup"), Status::Restoring);
    assert_eq!(read("error_backing-up"), Status::Other("error_backing-up".to_owned()));
    assert!(read("error_backing-up").is_error() && !read("awaiting-transfer").is_error());
    for (text, status) in [("in_use", "in-use"), ("strange", "strange"), ("backing-up", "backing-up")] {
        assert_eq!(read(text).to_string(), status);
    }
}

#[test]
fn limits_may_be_missing() {
    let limits: AbsoluteLimits =
        serde_json::from_value(json!({"maxTotalVolumes": -1, "totalVolumesUsed": 3, "other": {}})).unwrap();
    assert_eq!((limits.max_total_volumes, limits.total_volumes_used), (Some(-1), Some(3)));
    assert_eq!(limits.max_total_volume_gigabytes, None);
}
