//! What the driver advertises: it follows from what the configured back ends can do, and from nothing else.
//!
//! It is read from the configuration alone: no cloud is asked for it. So every process says the same, whichever services it
//! has and whether or not a cloud can be reached, and says the same for as long as it lives. That is what callers build on:
//! sidecars ask once, when they start (CSI specification, GetPluginCapabilities).

use crate::backend::{Capabilities, Expansion};
use crate::proto::csi;

/// Of the driver as a whole.
pub(super) fn plugin(can: Capabilities) -> Vec<csi::PluginCapability> {
    use csi::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
    let service = |kind: service::Type| Type::Service(Service { r#type: kind.into() });
    let expansion =
        |kind: volume_expansion::Type| Type::VolumeExpansion(VolumeExpansion { r#type: kind.into() });
    let kinds = [
        (true, service(service::Type::ControllerService)),
        (true, service(service::Type::VolumeAccessibilityConstraints)),
        (can.group_snapshots, service(service::Type::GroupControllerService)),
        (can.expansion >= Expansion::Online, expansion(volume_expansion::Type::Online)),
        (can.expansion >= Expansion::Offline, expansion(volume_expansion::Type::Offline)),
    ];
    those(kinds).map(|kind| csi::PluginCapability { r#type: Some(kind) }).collect()
}

/// Of the Controller service. `lists_all`: whether listings have all volumes, by the ids that callers know. Where they have
/// not, external-attacher must not look there for who has a volume: it would take each that is missing for detached, and
/// attach it again, every minute.
pub(super) fn controller(can: Capabilities, lists_all: bool) -> Vec<csi::ControllerServiceCapability> {
    use csi::controller_service_capability::{Rpc, Type, rpc};
    let kinds = [
        (true, rpc::Type::CreateDeleteVolume),
        (true, rpc::Type::PublishUnpublishVolume),
        (true, rpc::Type::ListVolumes),
        (lists_all, rpc::Type::ListVolumesPublishedNodes),
        (true, rpc::Type::GetCapacity),
        (can.snapshots, rpc::Type::CreateDeleteSnapshot),
        (can.snapshots, rpc::Type::ListSnapshots),
        (can.snapshots, rpc::Type::GetSnapshot),
        (can.clones, rpc::Type::CloneVolume),
        (can.expansion >= Expansion::Offline, rpc::Type::ExpandVolume),
        (true, rpc::Type::GetVolume),
        // Also where there is nothing to change: whoever asks is told so, and the claim has an event that says it.
        (true, rpc::Type::ModifyVolume),
        (true, rpc::Type::SingleNodeMultiWriter),
        (can.readonly_attach, rpc::Type::PublishReadonly),
        (true, rpc::Type::GetVolumeHealth),
        (true, rpc::Type::ListVolumeHealth),
    ];
    those(kinds)
        .map(|kind| csi::ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })) })
        .collect()
}

/// Of the GroupController service.
pub(super) fn group(can: Capabilities) -> Vec<csi::GroupControllerServiceCapability> {
    use csi::group_controller_service_capability::{Rpc, Type, rpc};
    those([(can.group_snapshots, rpc::Type::CreateDeleteGetVolumeGroupSnapshot)])
        .map(|kind| csi::GroupControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        })
        .collect()
}

/// Of the Node service.
pub(super) fn node(can: Capabilities) -> Vec<csi::NodeServiceCapability> {
    use csi::node_service_capability::{Rpc, Type, rpc};
    let kinds = [
        (true, rpc::Type::StageUnstageVolume),
        (true, rpc::Type::GetVolumeStats),
        (can.expansion >= Expansion::Offline, rpc::Type::ExpandVolume),
        (true, rpc::Type::SingleNodeMultiWriter),
        (true, rpc::Type::GetVolumeHealth),
    ];
    those(kinds)
        .map(|kind| csi::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })) })
        .collect()
}

fn those<T>(kinds: impl IntoIterator<Item = (bool, T)>) -> impl Iterator<Item = T> {
    kinds.into_iter().filter_map(|(offered, kind)| offered.then_some(kind))
}
