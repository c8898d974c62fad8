mod hostile;
mod observed;
mod offered;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tower::service_fn;

use super::{Edge, Ready};
use crate::backend::Backends;
use crate::controller::Controller;
use crate::controller::fake::Fake;
use crate::error::{Error, Kind, Outcome};
use crate::metrics::Metrics;
use crate::node::model;
use crate::proto::csi;
use crate::proto::csi::controller_client::ControllerClient;
use crate::proto::csi::group_controller_client::GroupControllerClient;
use crate::proto::csi::identity_client::IdentityClient;
use crate::proto::csi::node_client::NodeClient;
use crate::proto::csi::volume_capability::access_mode::Mode;
use crate::proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};

const MIB: i64 = 1 << 20;

/// A client of the services, which end with it.
struct Wire {
    fake: Arc<Fake>,
    controller: Arc<Controller>,
    metrics: Arc<Metrics>,
    channel: Channel,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    All,
    Controller,
    Node,
}

impl Wire {
    async fn new(fake: Fake) -> Self {
        Self::serving(fake, Serves::All, Arc::new(|| Ok(()))).await
    }

    async fn serving(fake: Fake, serves: Serves, ready: Ready) -> Self {
        Self::taking_over(None, fake, serves, ready).await
    }

    /// With a back end that takes over other drivers' volumes.
    async fn taking_over(foreign: Option<&str>, fake: Fake, serves: Serves, ready: Ready) -> Self {
        let offered = fake.capabilities;
        let fake = Arc::new(fake);
        let backends = Backends::builder().add("here".parse().unwrap(), Arc::<Fake>::clone(&fake));
        let backends = backends.foreign(foreign.map(|name| name.parse().unwrap())).build();
        let controller = Arc::new(Controller::new(Arc::new(backends)));
        let metrics = Arc::new(Metrics::default());
        let edge = Edge::new(
            "csi.fairlead.dev".into(),
            offered,
            (serves != Serves::Node).then(|| Arc::clone(&controller)),
            (serves != Serves::Controller).then(|| Arc::new(model::node())),
            Arc::clone(&metrics),
            ready,
        );
        let (here, there) = tokio::io::duplex(1 << 16);
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(there));
        let server = tokio::spawn(Server::builder().add_routes(edge.routes()).serve_with_incoming(incoming));
        let mut end = Some(TokioIo::new(here));
        let connector = service_fn(move |_| {
            let end = end.take().ok_or_else(|| std::io::Error::other("connected already"));
            async move { end }
        });
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
        Self { fake, controller, metrics, channel, server }
    }

    fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    fn group(&self) -> GroupControllerClient<Channel> {
        GroupControllerClient::new(self.channel.clone())
    }

    fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }
}

fn mount(mode: Mode) -> csi::VolumeCapability {
    csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

fn block(mode: Mode) -> csi::VolumeCapability {
    csi::VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..mount(mode) }
}

fn writer() -> csi::VolumeCapability {
    mount(Mode::SingleNodeMultiWriter)
}

fn order(name: &str) -> csi::CreateVolumeRequest {
    csi::CreateVolumeRequest {
        name: name.into(),
        volume_capabilities: vec![writer()],
        capacity_range: Some(csi::CapacityRange { required_bytes: 512 * MIB, limit_bytes: 512 * MIB }),
        ..Default::default()
    }
}

fn publish_order(volume: &str, node: &str) -> csi::ControllerPublishVolumeRequest {
    csi::ControllerPublishVolumeRequest {
        volume_id: volume.into(),
        node_id: node.into(),
        volume_capability: Some(writer()),
        ..Default::default()
    }
}

fn failed<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code()
}

#[tokio::test]
async fn every_process_advertises_the_same() {
    let mut seen = Vec::new();
    for serves in [Serves::All, Serves::Controller, Serves::Node] {
        let wire = Wire::serving(Fake::default(), serves, Arc::new(|| Ok(()))).await;
        let mut identity = wire.identity();
        let info = identity.get_plugin_info(csi::GetPluginInfoRequest {}).await.unwrap().into_inner();
        assert_eq!((info.name.as_str(), info.vendor_version.as_str()), ("csi.fairlead.dev", "0.1.0"));
        let answer = identity.get_plugin_capabilities(csi::GetPluginCapabilitiesRequest {}).await.unwrap();
        seen.push(answer.into_inner());
        let controller = wire.controller().get_capacity(csi::GetCapacityRequest::default()).await;
        assert_eq!(controller.is_ok(), serves != Serves::Node);
        let node = wire.node().node_get_info(csi::NodeGetInfoRequest {}).await;
        assert_eq!(node.is_ok(), serves != Serves::Controller);
        for unserved in [controller.err(), node.err()].into_iter().flatten() {
            assert_eq!(unserved.code(), Code::Unimplemented);
        }
    }
    assert_eq!(seen[0].capabilities.len(), 5);
    assert!(seen.iter().all(|one| *one == seen[0]));
}

#[tokio::test]
async fn probe_tells_whether_the_process_can_serve() {
    for (ready, expected) in [
        (Arc::new(|| Ok(())) as Ready, true),
        (Arc::new(|| Err(Error::unknown(Kind::Unavailable, "still starting"))) as Ready, false),
    ] {
        let wire = Wire::serving(Fake::default(), Serves::All, ready).await;
        let probe = wire.identity().probe(csi::ProbeRequest {}).await.unwrap().into_inner();
        assert_eq!(probe.ready, Some(expected));
    }
}

#[tokio::test]
async fn a_volume_goes_from_order_to_mount_and_back() {
    let wire = Wire::new(Fake::default()).await;
    let (mut controller, mut node) = (wire.controller(), wire.node());
    let volume = controller.create_volume(order("v")).await.unwrap().into_inner().volume.unwrap();
    assert_eq!((volume.volume_id.as_str(), volume.capacity_bytes), ("here/v", 512 * MIB));
    let id = volume.volume_id;
    let info = node.node_get_info(csi::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.accessible_topology.unwrap().segments["zone"], "a");
    let attached =
        controller.controller_publish_volume(publish_order(&id, &info.node_id)).await.unwrap().into_inner();
    let list = controller.list_volumes(csi::ListVolumesRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.entries[0].status.as_ref().unwrap().published_node_ids, vec![info.node_id.clone()]);
    let stage = csi::NodeStageVolumeRequest {
        volume_id: id.clone(),
        publish_context: attached.publish_context,
        staging_target_path: "/kubelet/staging".into(),
        volume_capability: Some(writer()),
        volume_context: BTreeMap::from([("unknown".into(), "key".into())]),
        ..Default::default()
    };
    node.node_stage_volume(stage).await.unwrap();
    let publish = csi::NodePublishVolumeRequest {
        volume_id: id.clone(),
        staging_target_path: "/kubelet/staging".into(),
        target_path: "/kubelet/pods/mount".into(),
        volume_capability: Some(writer()),
        ..Default::default()
    };
    node.node_publish_volume(publish).await.unwrap();
    let stats = csi::NodeGetVolumeStatsRequest {
        volume_id: id.clone(),
        volume_path: "/kubelet/pods/mount".into(),
        ..Default::default()
    };
    let usage = node.node_get_volume_stats(stats).await.unwrap().into_inner().usage;
    assert_eq!(usage[0].unit, i32::from(csi::volume_usage::Unit::Bytes));
    assert!(usage[0].total > 0);
    let unpublish =
        csi::NodeUnpublishVolumeRequest { volume_id: id.clone(), target_path: "/kubelet/pods/mount".into() };
    node.node_unpublish_volume(unpublish).await.unwrap();
    let unstage = csi::NodeUnstageVolumeRequest {
        volume_id: id.clone(),
        staging_target_path: "/kubelet/staging".into(),
    };
    node.node_unstage_volume(unstage).await.unwrap();
    let detach = csi::ControllerUnpublishVolumeRequest { volume_id: id.clone(), ..Default::default() };
    controller.controller_unpublish_volume(detach).await.unwrap();
    let delete = csi::DeleteVolumeRequest { volume_id: id.clone(), ..Default::default() };
    controller.delete_volume(delete).await.unwrap();
    let get = controller.controller_get_volume(csi::ControllerGetVolumeRequest { volume_id: id }).await;
    assert_eq!(failed(get), Code::NotFound);
}

/// kubelet tells the node's publish nothing of a PV that is read-only: the attachment alone does.
#[tokio::test]
async fn what_is_attached_read_only_is_published_read_only() {
    for capability in [writer(), block(Mode::SingleNodeMultiWriter)] {
        let wire = Wire::new(Fake::default()).await;
        let (mut controller, mut node) = (wire.controller(), wire.node());
        let id = controller.create_volume(order("v")).await.unwrap().into_inner().volume.unwrap().volume_id;
        // A blank volume can be formatted only while it may be written.
        for readonly in [false, true] {
            let attach = csi::ControllerPublishVolumeRequest {
                volume_capability: Some(capability.clone()),
                readonly,
                ..publish_order(&id, "worker-1")
            };
            let attached = controller.controller_publish_volume(attach).await.unwrap().into_inner();
            let stage = csi::NodeStageVolumeRequest {
                volume_id: id.clone(),
                publish_context: attached.publish_context.clone(),
                staging_target_path: "/kubelet/staging".into(),
                volume_capability: Some(capability.clone()),
                ..Default::default()
            };
            node.node_stage_volume(stage).await.unwrap();
            let publish = csi::NodePublishVolumeRequest {
                volume_id: id.clone(),
                publish_context: attached.publish_context,
                staging_target_path: "/kubelet/staging".into(),
                target_path: "/kubelet/pods/mount".into(),
                volume_capability: Some(capability.clone()),
                ..Default::default()
            };
            node.node_publish_volume(publish.clone()).await.unwrap();
            // The same order without the attachment shows what came of it.
            for asked in [false, true] {
                let again = csi::NodePublishVolumeRequest {
                    publish_context: BTreeMap::new(),
                    readonly: asked,
                    ..publish.clone()
                };
                let again = node.node_publish_volume(again).await.map(drop).map_err(|status| status.code());
                let told = if asked == readonly {
                    Ok(())
                } else if readonly && capability == writer() {
                    Err(Code::FailedPrecondition)
                } else {
                    Err(Code::AlreadyExists)
                };
                assert_eq!(again, told, "{readonly} {asked} {capability:?}");
            }
            let unpublish = csi::NodeUnpublishVolumeRequest {
                volume_id: id.clone(),
                target_path: "/kubelet/pods/mount".into(),
            };
            node.node_unpublish_volume(unpublish).await.unwrap();
            let unstage = csi::NodeUnstageVolumeRequest {
                volume_id: id.clone(),
                staging_target_path: "/kubelet/staging".into(),
            };
            node.node_unstage_volume(unstage).await.unwrap();
            let detach =
                csi::ControllerUnpublishVolumeRequest { volume_id: id.clone(), ..Default::default() };
            controller.controller_unpublish_volume(detach).await.unwrap();
        }
    }
}

#[tokio::test]
async fn snapshots_sources_and_topology_are_told_as_they_were_asked_for() {
    use csi::volume_content_source::{SnapshotSource, Type};
    let wire = Wire::new(Fake::default()).await;
    let mut controller = wire.controller();
    let place = csi::Topology { segments: BTreeMap::from([("zone".into(), "b".into())]) };
    let placed = csi::CreateVolumeRequest {
        accessibility_requirements: Some(csi::TopologyRequirement {
            requisite: vec![place.clone()],
            preferred: vec![],
        }),
        ..order("v")
    };
    let volume = controller.create_volume(placed).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(volume.accessible_topology, [place]);
    let cut = csi::CreateSnapshotRequest {
        source_volume_id: "here/v".into(),
        name: "s".into(),
        ..Default::default()
    };
    let snapshot = controller.create_snapshot(cut).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!((snapshot.snapshot_id.as_str(), snapshot.source_volume_id.as_str()), ("here/s", "here/v"));
    assert_eq!(snapshot.creation_time.unwrap().seconds, 1_700_000_000);
    assert!(snapshot.ready_to_use && snapshot.group_snapshot_id.is_empty());
    let source = csi::VolumeContentSource {
        r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: "here/s".into() })),
    };
    let restore = csi::CreateVolumeRequest { volume_content_source: Some(source.clone()), ..order("r") };
    let restored = controller.create_volume(restore).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(restored.content_source, Some(source));
    let group = csi::CreateVolumeGroupSnapshotRequest {
        name: "g".into(),
        source_volume_ids: vec!["here/v".into(), "here/r".into()],
        ..Default::default()
    };
    let group = wire.group().create_volume_group_snapshot(group).await.unwrap().into_inner();
    let group = group.group_snapshot.unwrap();
    assert_eq!((group.group_snapshot_id.as_str(), group.snapshots.len()), ("here/g", 2));
    assert!(group.snapshots.iter().all(|member| member.group_snapshot_id == "here/g"));
    let health = csi::ControllerGetVolumeHealthRequest { volume_id: "here/v".into(), ..Default::default() };
    let health = controller.controller_get_volume_health(health).await.unwrap().into_inner();
    let health = health.volume_health.expect("a healthy volume is told of too");
    assert_eq!((health.volume_id.as_str(), health.health_statuses.len()), ("here/v", 0));
    controller.create_volume(order("sick")).await.unwrap();
    let request = csi::ControllerListVolumeHealthRequest::default();
    let list = controller.controller_list_volume_health(request).await.unwrap().into_inner();
    assert_eq!(list.entries.len(), 1);
    assert_eq!(list.entries[0].health_statuses[0].reason, "OneCopy");
}

#[tokio::test]
async fn validation_confirms_what_it_echoes_or_says_why_not() {
    let wire = Wire::new(Fake::default()).await;
    let mut controller = wire.controller();
    controller.create_volume(order("v")).await.unwrap();
    let zfs = csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume { fs_type: "zfs".into(), ..Default::default() })),
        ..writer()
    };
    for (capabilities, good) in [
        (vec![writer()], true),
        (vec![block(Mode::MultiNodeMultiWriter)], true),
        (vec![mount(Mode::MultiNodeMultiWriter)], false),
        (vec![writer(), block(Mode::SingleNodeWriter)], false),
        (vec![zfs], false),
    ] {
        let mut request = csi::ValidateVolumeCapabilitiesRequest {
            volume_id: "here/v".into(),
            volume_capabilities: capabilities.clone(),
            ..Default::default()
        };
        let answer = controller.validate_volume_capabilities(request.clone()).await.unwrap().into_inner();
        let confirmed = answer.confirmed.map(|confirmed| confirmed.volume_capabilities);
        assert_eq!(confirmed, good.then(|| capabilities.clone()), "{capabilities:?}");
        assert_eq!(answer.message.is_empty(), good);
        request.volume_id = "here/gone".into();
        assert_eq!(failed(controller.validate_volume_capabilities(request).await), Code::NotFound);
    }
}

#[tokio::test]
async fn only_a_refusal_is_final() {
    let wire = Wire::new(Fake::default()).await;
    let mut controller = wire.controller();
    for (kind, outcome, code) in [
        (Kind::ResourceExhausted, Outcome::Refused, Code::ResourceExhausted),
        (Kind::ResourceExhausted, Outcome::Unknown, Code::Aborted),
        (Kind::Internal, Outcome::Unknown, Code::Aborted),
        (Kind::Timeout, Outcome::Unknown, Code::DeadlineExceeded),
    ] {
        wire.fake.fail(kind, outcome);
        assert_eq!(failed(controller.create_volume(order("v")).await), code, "{kind:?} {outcome:?}");
        let delete = csi::DeleteVolumeRequest { volume_id: "here/v".into(), ..Default::default() };
        let status = controller.delete_volume(delete).await.unwrap_err();
        assert_eq!(status.code(), code);
        assert!(status.details().is_empty() && !status.message().is_empty());
    }
}
