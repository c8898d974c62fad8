//! The GroupController service.

use std::sync::Arc;

use tonic::Request;

use crate::backend::Capabilities;
use crate::controller::{Controller, Group};
use crate::csi::observe::{Reply, observe};
use crate::csi::status::Rpc;
use crate::csi::{answer, offer, parse};
use crate::error::{Kind, Result};
use crate::metrics::Metrics;
use crate::proto::csi;
use crate::volume::{GroupSnapshotId, SnapshotId};

pub(super) struct Service {
    controller: Arc<Controller>,
    offered: Capabilities,
    metrics: Arc<Metrics>,
}

impl Service {
    pub(super) fn new(controller: Arc<Controller>, offered: Capabilities, metrics: Arc<Metrics>) -> Self {
        Self { controller, offered, metrics }
    }

    async fn create(
        &self,
        raw: csi::CreateVolumeGroupSnapshotRequest,
    ) -> Result<csi::CreateVolumeGroupSnapshotResponse> {
        let name = parse::name(&raw.name)?.to_owned();
        let sources = parse::ids(&raw.source_volume_ids, "source_volume_ids")?;
        let parameters = parse::parameters(raw.parameters, "parameters")?;
        let volumes = sources.iter().map(|id| self.controller.volume_id(id)).collect::<Result<_>>()?;
        let made = self.controller.create_group(Group { name, volumes, parameters }).await?;
        Ok(csi::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(answer::group(&made)) })
    }

    async fn delete(
        &self,
        raw: csi::DeleteVolumeGroupSnapshotRequest,
    ) -> Result<csi::DeleteVolumeGroupSnapshotResponse> {
        let id = parse::id(&raw.group_snapshot_id, "group_snapshot_id")?;
        if let Some(id) = parse::known(id.parse::<GroupSnapshotId>())? {
            self.controller.delete_group(&id, &members(&raw.snapshot_ids)?).await?;
        }
        Ok(csi::DeleteVolumeGroupSnapshotResponse {})
    }

    async fn get(
        &self,
        raw: csi::GetVolumeGroupSnapshotRequest,
    ) -> Result<csi::GetVolumeGroupSnapshotResponse> {
        let id: GroupSnapshotId = parse::id(&raw.group_snapshot_id, "group_snapshot_id")?.parse()?;
        let found = self.controller.get_group(&id, &members(&raw.snapshot_ids)?).await?;
        Ok(csi::GetVolumeGroupSnapshotResponse { group_snapshot: Some(answer::group(&found)) })
    }
}

/// What cannot be an id cannot be a member's: the list is another than the group's.
fn members(ids: &[String]) -> Result<Vec<SnapshotId>> {
    ids.iter()
        .map(|id| parse::id(id, "snapshot_ids"))
        .map(|id| id?.parse().map_err(|error: crate::error::Error| error.with_kind(Kind::InvalidArgument)))
        .collect()
}

#[tonic::async_trait]
impl csi::group_controller_server::GroupController for Service {
    async fn group_controller_get_capabilities(
        &self,
        request: Request<csi::GroupControllerGetCapabilitiesRequest>,
    ) -> Reply<csi::GroupControllerGetCapabilitiesResponse> {
        observe(&self.metrics, Rpc::GroupControllerGetCapabilities, request, async |_| {
            Ok(csi::GroupControllerGetCapabilitiesResponse { capabilities: offer::group(self.offered) })
        })
        .await
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<csi::CreateVolumeGroupSnapshotRequest>,
    ) -> Reply<csi::CreateVolumeGroupSnapshotResponse> {
        observe(&self.metrics, Rpc::CreateVolumeGroupSnapshot, request, |raw| self.create(raw)).await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<csi::DeleteVolumeGroupSnapshotRequest>,
    ) -> Reply<csi::DeleteVolumeGroupSnapshotResponse> {
        observe(&self.metrics, Rpc::DeleteVolumeGroupSnapshot, request, |raw| self.delete(raw)).await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<csi::GetVolumeGroupSnapshotRequest>,
    ) -> Reply<csi::GetVolumeGroupSnapshotResponse> {
        observe(&self.metrics, Rpc::GetVolumeGroupSnapshot, request, |raw| self.get(raw)).await
    }
}
