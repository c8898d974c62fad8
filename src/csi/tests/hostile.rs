//! Missing, foreign, huge and tricky fields.

use super::*;

/// Calls an RPC with each request and expects the code, and the named field in the message.
macro_rules! refused {
    ($client:expr, $rpc:ident, $code:expr, [$(($request:expr, $field:literal)),* $(,)?]) => {
        $(
            let status = $client.$rpc($request).await.expect_err(concat!(stringify!($rpc), " ", $field));
            assert_eq!(status.code(), $code, "{} {}: {status:?}", stringify!($rpc), $field);
            assert!(status.message().contains($field), "{}: {status:?}", stringify!($rpc));
        )*
    };
}

fn stage(volume: &str, path: &str, capability: Option<csi::VolumeCapability>) -> csi::NodeStageVolumeRequest {
    csi::NodeStageVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: path.into(),
        volume_capability: capability,
        ..Default::default()
    }
}

fn publish(volume: &str, target: &str, staging: &str) -> csi::NodePublishVolumeRequest {
    csi::NodePublishVolumeRequest {
        volume_id: volume.into(),
        target_path: target.into(),
        staging_target_path: staging.into(),
        volume_capability: Some(writer()),
        ..Default::default()
    }
}

fn stats(volume: &str, path: &str) -> csi::NodeGetVolumeStatsRequest {
    csi::NodeGetVolumeStatsRequest {
        volume_id: volume.into(),
        volume_path: path.into(),
        ..Default::default()
    }
}

fn grow(volume: &str, path: &str) -> csi::NodeExpandVolumeRequest {
    csi::NodeExpandVolumeRequest { volume_id: volume.into(), volume_path: path.into(), ..Default::default() }
}

#[tokio::test]
async fn missing_fields_are_named_in_the_order_id_target_capability() {
    let wire = Wire::new(Fake::default()).await;
    let (mut controller, mut group, mut node) = (wire.controller(), wire.group(), wire.node());
    let fake = "fake-vol-id";
    refused!(
        controller,
        create_volume,
        Code::InvalidArgument,
        [
            (csi::CreateVolumeRequest::default(), "name"),
            (csi::CreateVolumeRequest { volume_capabilities: vec![], ..order("v") }, "volume_capabilities"),
            (
                csi::CreateVolumeRequest { volume_content_source: Some(Default::default()), ..order("v") },
                "volume_content_source"
            ),
            (
                csi::CreateVolumeRequest { volume_capabilities: vec![Default::default()], ..order("v") },
                "access_type"
            ),
            (
                csi::CreateVolumeRequest { volume_capabilities: vec![mount(Mode::Unknown)], ..order("v") },
                "access mode 0"
            ),
        ]
    );
    refused!(
        controller,
        delete_volume,
        Code::InvalidArgument,
        [(csi::DeleteVolumeRequest::default(), "volume_id")]
    );
    refused!(
        controller,
        controller_publish_volume,
        Code::InvalidArgument,
        [
            (csi::ControllerPublishVolumeRequest::default(), "volume_id"),
            (
                csi::ControllerPublishVolumeRequest { node_id: String::new(), ..publish_order(fake, "") },
                "node_id"
            ),
            (
                csi::ControllerPublishVolumeRequest {
                    volume_capability: None,
                    ..publish_order(fake, "fake")
                },
                "volume_capability"
            ),
        ]
    );
    refused!(
        controller,
        controller_unpublish_volume,
        Code::InvalidArgument,
        [(csi::ControllerUnpublishVolumeRequest::default(), "volume_id")]
    );
    refused!(
        controller,
        validate_volume_capabilities,
        Code::InvalidArgument,
        [
            (csi::ValidateVolumeCapabilitiesRequest::default(), "volume_id"),
            (
                csi::ValidateVolumeCapabilitiesRequest { volume_id: fake.into(), ..Default::default() },
                "volume_capabilities"
            ),
        ]
    );
    refused!(
        controller,
        create_snapshot,
        Code::InvalidArgument,
        [
            (csi::CreateSnapshotRequest { name: "s".into(), ..Default::default() }, "source_volume_id"),
            (csi::CreateSnapshotRequest { source_volume_id: fake.into(), ..Default::default() }, "name"),
        ]
    );
    refused!(
        controller,
        delete_snapshot,
        Code::InvalidArgument,
        [(csi::DeleteSnapshotRequest::default(), "snapshot_id")]
    );
    refused!(
        controller,
        get_snapshot,
        Code::InvalidArgument,
        [(csi::GetSnapshotRequest::default(), "snapshot_id")]
    );
    refused!(
        controller,
        controller_get_volume,
        Code::InvalidArgument,
        [(csi::ControllerGetVolumeRequest::default(), "volume_id")]
    );
    refused!(
        controller,
        controller_get_volume_health,
        Code::InvalidArgument,
        [(csi::ControllerGetVolumeHealthRequest::default(), "volume_id")]
    );
    refused!(
        controller,
        controller_modify_volume,
        Code::InvalidArgument,
        [(csi::ControllerModifyVolumeRequest::default(), "volume_id")]
    );
    refused!(
        controller,
        controller_expand_volume,
        Code::InvalidArgument,
        [
            (csi::ControllerExpandVolumeRequest::default(), "volume_id"),
            (
                csi::ControllerExpandVolumeRequest { volume_id: fake.into(), ..Default::default() },
                "capacity_range"
            ),
        ]
    );
    refused!(
        controller,
        list_volumes,
        Code::InvalidArgument,
        [(csi::ListVolumesRequest { max_entries: -1, ..Default::default() }, "max_entries"),]
    );
    refused!(
        group,
        create_volume_group_snapshot,
        Code::InvalidArgument,
        [
            (csi::CreateVolumeGroupSnapshotRequest::default(), "name"),
            (
                csi::CreateVolumeGroupSnapshotRequest { name: "g".into(), ..Default::default() },
                "source_volume_ids"
            ),
        ]
    );
    refused!(
        group,
        delete_volume_group_snapshot,
        Code::InvalidArgument,
        [(csi::DeleteVolumeGroupSnapshotRequest::default(), "group_snapshot_id")]
    );
    refused!(
        group,
        get_volume_group_snapshot,
        Code::InvalidArgument,
        [(csi::GetVolumeGroupSnapshotRequest::default(), "group_snapshot_id")]
    );
    refused!(
        node,
        node_stage_volume,
        Code::InvalidArgument,
        [
            (stage("", "/s", Some(writer())), "volume_id"),
            (stage(fake, "", Some(writer())), "staging_target_path"),
            (stage(fake, "/s", None), "volume_capability"),
            (stage(fake, "/s", Some(writer())), "publish_context"),
        ]
    );
    refused!(
        node,
        node_unstage_volume,
        Code::InvalidArgument,
        [
            (csi::NodeUnstageVolumeRequest::default(), "volume_id"),
            (
                csi::NodeUnstageVolumeRequest { volume_id: fake.into(), ..Default::default() },
                "staging_target_path"
            ),
        ]
    );
    refused!(
        node,
        node_publish_volume,
        Code::InvalidArgument,
        [
            (publish("", "/t", "/s"), "volume_id"),
            (publish(fake, "", "/s"), "target_path"),
            (
                csi::NodePublishVolumeRequest { volume_capability: None, ..publish(fake, "/t", "/s") },
                "volume_capability"
            ),
        ]
    );
    refused!(
        node,
        node_publish_volume,
        Code::FailedPrecondition,
        [(publish(fake, "/t", ""), "staging_target_path")]
    );
    refused!(
        node,
        node_unpublish_volume,
        Code::InvalidArgument,
        [
            (csi::NodeUnpublishVolumeRequest::default(), "volume_id"),
            (csi::NodeUnpublishVolumeRequest { volume_id: fake.into(), ..Default::default() }, "target_path"),
        ]
    );
    refused!(
        node,
        node_get_volume_stats,
        Code::InvalidArgument,
        [(stats("", "/p"), "volume_id"), (stats(fake, ""), "volume_path")]
    );
    refused!(
        node,
        node_expand_volume,
        Code::InvalidArgument,
        [(grow("", "/p"), "volume_id"), (grow(fake, ""), "volume_path")]
    );
    refused!(
        node,
        node_get_volume_health,
        Code::InvalidArgument,
        [(csi::NodeGetVolumeHealthRequest::default(), "volume_id")]
    );
}

#[tokio::test]
async fn foreign_ids_name_nothing() {
    let wire = Wire::new(Fake::default()).await;
    let (mut controller, mut group, mut node) = (wire.controller(), wire.group(), wire.node());
    let range = Some(csi::CapacityRange { required_bytes: MIB, limit_bytes: 0 });
    controller.create_volume(order("v")).await.unwrap();
    for id in ["fake-vol-id-x", "here/gone", "here/..", "here/a/b", "../../etc", "here/\0", "é", " "] {
        let volume_id = id.to_owned();
        controller
            .delete_volume(csi::DeleteVolumeRequest { volume_id: id.into(), ..Default::default() })
            .await
            .unwrap();
        let detach = csi::ControllerUnpublishVolumeRequest {
            volume_id: id.into(),
            node_id: "n".into(),
            ..Default::default()
        };
        controller.controller_unpublish_volume(detach).await.unwrap();
        let snapshot = csi::DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        controller.delete_snapshot(snapshot).await.unwrap();
        let list = csi::ListSnapshotsRequest { snapshot_id: id.into(), ..Default::default() };
        assert!(controller.list_snapshots(list).await.unwrap().into_inner().entries.is_empty());
        let list = csi::ListSnapshotsRequest { source_volume_id: id.into(), ..Default::default() };
        assert!(controller.list_snapshots(list).await.unwrap().into_inner().entries.is_empty());
        let members =
            csi::DeleteVolumeGroupSnapshotRequest { group_snapshot_id: id.into(), ..Default::default() };
        group.delete_volume_group_snapshot(members).await.unwrap();
        let get = csi::GetVolumeGroupSnapshotRequest { group_snapshot_id: id.into(), ..Default::default() };
        assert_eq!(failed(group.get_volume_group_snapshot(get).await), Code::NotFound, "{id}");
        assert_eq!(
            failed(controller.controller_publish_volume(publish_order(id, "n")).await),
            Code::NotFound
        );
        let modify = csi::ControllerModifyVolumeRequest { volume_id: id.into(), ..Default::default() };
        assert_eq!(failed(controller.controller_modify_volume(modify).await), Code::NotFound);
        let expand = csi::ControllerExpandVolumeRequest {
            volume_id: id.into(),
            capacity_range: range,
            ..Default::default()
        };
        assert_eq!(failed(controller.controller_expand_volume(expand).await), Code::NotFound);
        assert_eq!(
            failed(controller.controller_get_volume(csi::ControllerGetVolumeRequest { volume_id }).await),
            Code::NotFound
        );
        let get = csi::GetSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        assert_eq!(failed(controller.get_snapshot(get).await), Code::NotFound);
        for path in ["some/path", "/some/path", "/a/../b", "/a\0"] {
            assert_eq!(
                failed(node.node_get_volume_stats(stats(id, path)).await),
                Code::NotFound,
                "{id} {path:?}"
            );
            assert_eq!(
                failed(node.node_expand_volume(grow(id, path)).await),
                Code::NotFound,
                "{id} {path:?}"
            );
        }
    }
    for path in ["some/path", "/a/../b", "/a\0"] {
        assert_eq!(
            failed(node.node_get_volume_stats(stats("here/v", path)).await),
            Code::NotFound,
            "{path:?}"
        );
    }
    for bad in ["a b", "a/b", "..", ";", "é"] {
        assert_eq!(
            failed(controller.controller_publish_volume(publish_order("here/v", bad)).await),
            Code::NotFound
        );
        let detach = csi::ControllerUnpublishVolumeRequest {
            volume_id: "here/v".into(),
            node_id: bad.into(),
            ..Default::default()
        };
        controller.controller_unpublish_volume(detach).await.unwrap();
    }
    let token = csi::ListVolumesRequest { starting_token: "invalid-token".into(), ..Default::default() };
    assert_eq!(failed(controller.list_volumes(token).await), Code::Aborted);
}

#[tokio::test]
async fn hostile_text_is_refused_briefly_and_the_server_lives_on() {
    let wire = Wire::new(Fake::default()).await;
    let (mut controller, mut node) = (wire.controller(), wire.node());
    let huge = "x".repeat(1 << 20);
    for text in [huge.as_str(), "a\0b", "line\nbreak", "\u{7f}"] {
        let status = controller.create_volume(order(text)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() < 300);
    }
    for name in ["日本語 with blanks", "../../etc/passwd", "%2e%2e", &"Ü".repeat(64)] {
        let made = controller.create_volume(order(name)).await.unwrap().into_inner().volume.unwrap();
        let native = made.volume_id.strip_prefix("here/").unwrap();
        assert!(!native.contains('/') && made.volume_id.len() <= 128, "{native}");
        let again = controller.create_volume(order(name)).await.unwrap().into_inner().volume.unwrap();
        assert_eq!(again.volume_id, made.volume_id);
    }
    let big = BTreeMap::from([("k".to_owned(), "v".repeat(5000))]);
    let request = csi::CreateVolumeRequest { parameters: big, ..order("w") };
    assert_eq!(failed(controller.create_volume(request).await), Code::InvalidArgument);
    let delete = csi::DeleteVolumeRequest { volume_id: huge.clone(), ..Default::default() };
    assert_eq!(failed(controller.delete_volume(delete).await), Code::InvalidArgument);
    let long = format!("/{}", "d/".repeat(3000));
    for path in ["relative", "/a/../../etc", "/a\0b", "..", long.as_str()] {
        let context = controller.controller_publish_volume(publish_order("here/../x", "n")).await;
        assert_eq!(failed(context), Code::NotFound);
        assert_eq!(
            failed(node.node_stage_volume(stage("here/v", path, Some(writer()))).await),
            Code::InvalidArgument
        );
        let unstage =
            csi::NodeUnstageVolumeRequest { volume_id: "here/v".into(), staging_target_path: path.into() };
        assert_eq!(failed(node.node_unstage_volume(unstage).await), Code::InvalidArgument);
        for request in [publish("here/v", path, "/s"), publish("here/v", "/t", path)] {
            assert_eq!(failed(node.node_publish_volume(request).await), Code::InvalidArgument, "{path:?}");
        }
        let unpublish =
            csi::NodeUnpublishVolumeRequest { volume_id: "here/v".into(), target_path: path.into() };
        assert_eq!(failed(node.node_unpublish_volume(unpublish).await), Code::InvalidArgument);
    }
    for (required, limit, code) in [
        (-1, 0, Code::InvalidArgument),
        (0, i64::MIN, Code::InvalidArgument),
        (2, 1, Code::OutOfRange),
        (i64::MAX, 0, Code::OutOfRange),
    ] {
        let range = Some(csi::CapacityRange { required_bytes: required, limit_bytes: limit });
        let request = csi::CreateVolumeRequest { capacity_range: range, ..order("sized") };
        assert_eq!(failed(controller.create_volume(request).await), code, "{required} {limit}");
    }
    let fs = |fs: &str| csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs.into(), ..Default::default() })),
        ..writer()
    };
    for bad in ["zfs", "ext4\0", "../ext4", huge.as_str()] {
        let status = node.node_stage_volume(stage("here/v", "/s", Some(fs(bad)))).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().len() < 300);
    }
    assert_eq!(wire.identity().probe(csi::ProbeRequest {}).await.unwrap().into_inner().ready, Some(true));
}
