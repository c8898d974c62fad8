//! Typed answers to raw ones.

use crate::controller::{Found, Listed};
use crate::proto::csi;
use crate::proto::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};
use crate::volume::{
    BackendName, GroupSnapshot, GroupSnapshotId, Health, HealthStatus, Snapshot, SnapshotId, Source,
    Topology, Volume, VolumeId,
};

/// A volume under the id by which it was asked for, or its own.
pub(super) fn volume(backend: &BackendName, volume: &Volume, id: Option<String>) -> csi::Volume {
    let own = || VolumeId::new(backend.clone(), volume.id.clone()).to_string();
    csi::Volume {
        capacity_bytes: volume.size.as_i64(),
        volume_id: id.unwrap_or_else(own),
        volume_context: std::collections::BTreeMap::new(),
        content_source: volume.source.as_ref().map(|source| content_source(backend, source)),
        accessible_topology: topology(&volume.reach).into_iter().collect(),
    }
}

fn content_source(backend: &BackendName, source: &Source) -> csi::VolumeContentSource {
    let source = match source.clone() {
        Source::Snapshot(id) => {
            Type::Snapshot(SnapshotSource { snapshot_id: SnapshotId::new(backend.clone(), id).to_string() })
        }
        Source::Volume(id) => {
            Type::Volume(VolumeSource { volume_id: VolumeId::new(backend.clone(), id).to_string() })
        }
    };
    csi::VolumeContentSource { r#type: Some(source) }
}

/// A place; everywhere is `None`.
pub(super) fn topology(topology: &Topology) -> Option<csi::Topology> {
    (!topology.0.is_empty()).then(|| csi::Topology { segments: topology.0.clone() })
}

/// The ids of the nodes that have a volume.
pub(super) fn nodes(volume: &Volume) -> Vec<String> {
    volume.attached.iter().map(ToString::to_string).collect()
}

/// A snapshot, with its source under the id by which it was asked for, or its own.
pub(super) fn snapshot(backend: &BackendName, snapshot: &Snapshot, source: Option<String>) -> csi::Snapshot {
    let own = || VolumeId::new(backend.clone(), snapshot.volume.clone()).to_string();
    let group = snapshot.group.as_ref().map(|id| GroupSnapshotId::new(backend.clone(), id.clone()));
    csi::Snapshot {
        size_bytes: snapshot.size.as_i64(),
        snapshot_id: SnapshotId::new(backend.clone(), snapshot.id.clone()).to_string(),
        source_volume_id: source.unwrap_or_else(own),
        creation_time: Some(snapshot.created.into()),
        ready_to_use: snapshot.ready,
        group_snapshot_id: group.map(|id| id.to_string()).unwrap_or_default(),
        accessible_topology: Vec::new(),
    }
}

/// A group snapshot: ready when all of its members are.
pub(super) fn group(found: &Found<GroupSnapshot>) -> csi::VolumeGroupSnapshot {
    let Found { backend, item } = found;
    csi::VolumeGroupSnapshot {
        group_snapshot_id: GroupSnapshotId::new(backend.clone(), item.id.clone()).to_string(),
        snapshots: item.members.iter().map(|member| snapshot(backend, member, None)).collect(),
        creation_time: Some(item.created.into()),
        ready_to_use: item.members.iter().all(|member| member.ready),
    }
}

/// The faults of a volume. A healthy one is told of too, without faults.
pub(super) fn health(volume_id: String, health: Health) -> csi::VolumeHealth {
    let health_statuses = health
        .into_iter()
        .map(|fault| csi::volume_health::VolumeHealthEntry {
            status: match fault.status {
                HealthStatus::Degraded => csi::VolumeHealthErrorType::Degraded,
                HealthStatus::Inaccessible => csi::VolumeHealthErrorType::Inaccessible,
                HealthStatus::DataLoss => csi::VolumeHealthErrorType::DataLoss,
            }
            .into(),
            reason: fault.reason.to_owned(),
            message: fault.message,
        })
        .collect();
    csi::VolumeHealth { volume_id, health_statuses }
}

/// A page of anything: its entries, and the token of the next one.
pub(super) fn page<T, E>(listed: Listed<T>, entry: impl Fn(Found<T>) -> E) -> (Vec<E>, String) {
    (listed.items.into_iter().map(entry).collect(), listed.next.unwrap_or_default())
}
