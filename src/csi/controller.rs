//! The Controller service.

use std::sync::Arc;

use tonic::Request;

use crate::backend::Capabilities;
use crate::controller::{
    Attach, Controller, Cut, Found, Listed, Origin, Provision, Room, SnapshotQuery, Verdict,
};
use crate::csi::observe::{Reply, observe};
use crate::csi::status::Rpc;
use crate::csi::{answer, offer, parse};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::proto::csi;
use crate::proto::csi::validate_volume_capabilities_response::Confirmed;
use crate::proto::csi::volume_content_source;
use crate::volume::SnapshotId;

pub(super) struct Service {
    controller: Arc<Controller>,
    offered: Capabilities,
    metrics: Arc<Metrics>,
}

impl Service {
    pub(super) fn new(controller: Arc<Controller>, offered: Capabilities, metrics: Arc<Metrics>) -> Self {
        Self { controller, offered, metrics }
    }

    async fn create(&self, raw: csi::CreateVolumeRequest) -> Result<csi::CreateVolumeResponse> {
        let name = parse::name(&raw.name)?.to_owned();
        let access = parse::required_capabilities(raw.volume_capabilities)?;
        let size = parse::range(raw.capacity_range)?;
        let parameters = parse::parameters(raw.parameters, "parameters")?;
        let mutable = parse::parameters(raw.mutable_parameters, "mutable_parameters")?;
        let topology = parse::requirement(raw.accessibility_requirements)?;
        let origin = raw.volume_content_source.as_ref().map(|source| self.origin(source)).transpose()?;
        let order = Provision { name, size, origin, access, parameters, mutable, topology };
        let Found { backend, item } = self.controller.create(order).await?;
        let volume = csi::Volume {
            // As it was sent: a caller compares it with its request.
            content_source: raw.volume_content_source,
            ..answer::volume(&backend, &item, None)
        };
        Ok(csi::CreateVolumeResponse { volume: Some(volume) })
    }

    fn origin(&self, source: &csi::VolumeContentSource) -> Result<Origin> {
        match &source.r#type {
            Some(volume_content_source::Type::Snapshot(source)) => {
                parse::id(&source.snapshot_id, "volume_content_source.snapshot_id")?
                    .parse()
                    .map(Origin::Snapshot)
            }
            Some(volume_content_source::Type::Volume(source)) => self
                .controller
                .volume_id(parse::id(&source.volume_id, "volume_content_source.volume_id")?)
                .map(Origin::Volume),
            None => Err(parse::missing("volume_content_source.type")),
        }
    }

    async fn delete(&self, raw: csi::DeleteVolumeRequest) -> Result<csi::DeleteVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        if let Some(id) = parse::known(self.controller.volume_id(id))? {
            self.controller.delete(&id).await?;
        }
        Ok(csi::DeleteVolumeResponse {})
    }

    async fn attach(
        &self,
        raw: csi::ControllerPublishVolumeRequest,
    ) -> Result<csi::ControllerPublishVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let node = parse::node_id(&raw.node_id)?;
        let access = parse::required_capability(raw.volume_capability)?;
        let (volume, node) = (self.controller.volume_id(id)?, node.parse()?);
        let order = Attach { volume, node, access, readonly: raw.readonly };
        let attachment = self.controller.attach(order).await?;
        Ok(csi::ControllerPublishVolumeResponse { publish_context: attachment.to_context()? })
    }

    async fn detach(
        &self,
        raw: csi::ControllerUnpublishVolumeRequest,
    ) -> Result<csi::ControllerUnpublishVolumeResponse> {
        let done = csi::ControllerUnpublishVolumeResponse {};
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let node = parse::optional_node_id(&raw.node_id)?;
        let Some(volume) = parse::known(self.controller.volume_id(id))? else {
            return Ok(done);
        };
        let node = match node.map(|node| parse::known(node.parse())).transpose()? {
            // A node that cannot be one of ours has nothing of ours.
            Some(None) => return Ok(done),
            node => node.flatten(),
        };
        self.controller.detach(&volume, node).await?;
        Ok(done)
    }

    async fn validate(
        &self,
        raw: csi::ValidateVolumeCapabilitiesRequest,
    ) -> Result<csi::ValidateVolumeCapabilitiesResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let confirmed = Confirmed {
            volume_context: raw.volume_context,
            volume_capabilities: raw.volume_capabilities.clone(),
            parameters: raw.parameters.clone(),
            mutable_parameters: raw.mutable_parameters.clone(),
        };
        let unmade = raw.volume_capabilities.iter().find_map(parse::unmade);
        let parameters = parse::parameters(raw.parameters, "parameters")?;
        let mutable = parse::parameters(raw.mutable_parameters, "mutable_parameters")?;
        let verdict = match unmade {
            Some(reason) => {
                self.controller.get(&self.controller.volume_id(id)?).await?;
                Verdict::Unsupported(reason)
            }
            None => {
                let access = parse::required_capabilities(raw.volume_capabilities)?;
                let id = self.controller.volume_id(id)?;
                self.controller.validate(&id, &access, parameters, mutable).await?
            }
        };
        Ok(match verdict {
            Verdict::Confirmed => {
                csi::ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() }
            }
            Verdict::Unsupported(message) => {
                csi::ValidateVolumeCapabilitiesResponse { confirmed: None, message }
            }
        })
    }

    async fn list(&self, raw: csi::ListVolumesRequest) -> Result<csi::ListVolumesResponse> {
        use csi::list_volumes_response::{Entry, VolumeStatus};
        let page = parse::page(raw.max_entries, raw.starting_token)?;
        let (entries, next_token) =
            answer::page(self.controller.list(&page).await?, |Found { backend, item }| Entry {
                volume: Some(answer::volume(&backend, &item, None)),
                status: Some(VolumeStatus { published_node_ids: answer::nodes(&item) }),
            });
        Ok(csi::ListVolumesResponse { entries, next_token })
    }

    async fn list_health(
        &self,
        raw: csi::ControllerListVolumeHealthRequest,
    ) -> Result<csi::ControllerListVolumeHealthResponse> {
        let page = parse::page(raw.max_entries, raw.starting_token)?;
        let (entries, next_token) = answer::page(self.controller.list_health(&page).await?, |found| {
            let (id, health) = found.item;
            answer::health(id.to_string(), health)
        });
        Ok(csi::ControllerListVolumeHealthResponse { entries, next_token })
    }

    async fn health(
        &self,
        raw: csi::ControllerGetVolumeHealthRequest,
    ) -> Result<csi::ControllerGetVolumeHealthResponse> {
        let id = self.controller.volume_id(parse::id(&raw.volume_id, "volume_id")?)?;
        let health = self.controller.health(&id).await?;
        Ok(csi::ControllerGetVolumeHealthResponse {
            volume_health: Some(answer::health(raw.volume_id, health)),
        })
    }

    async fn capacity(&self, raw: csi::GetCapacityRequest) -> Result<csi::GetCapacityResponse> {
        let room = Room {
            access: parse::capabilities(raw.volume_capabilities)?,
            parameters: parse::parameters(raw.parameters, "parameters")?,
            place: raw.accessible_topology.map(parse::topology).transpose()?,
        };
        let capacity = self.controller.capacity(room).await?;
        Ok(csi::GetCapacityResponse {
            available_capacity: capacity.available.as_i64(),
            maximum_volume_size: Some(capacity.largest.as_i64()),
            minimum_volume_size: Some(capacity.smallest.as_i64()),
        })
    }

    async fn create_snapshot(&self, raw: csi::CreateSnapshotRequest) -> Result<csi::CreateSnapshotResponse> {
        let source = parse::id(&raw.source_volume_id, "source_volume_id")?;
        let name = parse::name(&raw.name)?.to_owned();
        let parameters = parse::parameters(raw.parameters, "parameters")?;
        let volume = self.controller.volume_id(source)?;
        let made = self.controller.create_snapshot(Cut { name, volume, parameters }).await?;
        let snapshot = answer::snapshot(&made.backend, &made.item, Some(raw.source_volume_id));
        Ok(csi::CreateSnapshotResponse { snapshot: Some(snapshot) })
    }

    async fn delete_snapshot(&self, raw: csi::DeleteSnapshotRequest) -> Result<csi::DeleteSnapshotResponse> {
        let id = parse::id(&raw.snapshot_id, "snapshot_id")?;
        if let Some(id) = parse::known(id.parse::<SnapshotId>())? {
            self.controller.delete_snapshot(&id).await?;
        }
        Ok(csi::DeleteSnapshotResponse {})
    }

    async fn list_snapshots(&self, raw: csi::ListSnapshotsRequest) -> Result<csi::ListSnapshotsResponse> {
        use csi::list_snapshots_response::Entry;
        let page = parse::page(raw.max_entries, raw.starting_token)?;
        let snapshot = parse::optional_id(&raw.snapshot_id, "snapshot_id")?;
        let volume = parse::optional_id(&raw.source_volume_id, "source_volume_id")?;
        let snapshot = snapshot.map(|id| parse::known(id.parse())).transpose()?;
        let volume = volume.map(|id| parse::known(self.controller.volume_id(id))).transpose()?;
        let listed = if snapshot == Some(None) || volume == Some(None) {
            // Nothing has an id that cannot be one.
            Listed { items: Vec::new(), next: None }
        } else {
            let query = SnapshotQuery { snapshot: snapshot.flatten(), volume: volume.flatten() };
            self.controller.list_snapshots(&query, &page).await?
        };
        let (entries, next_token) = answer::page(listed, |Found { backend, item }| Entry {
            snapshot: Some(answer::snapshot(&backend, &item, None)),
        });
        Ok(csi::ListSnapshotsResponse { entries, next_token })
    }

    async fn get_snapshot(&self, raw: csi::GetSnapshotRequest) -> Result<csi::GetSnapshotResponse> {
        let id = parse::id(&raw.snapshot_id, "snapshot_id")?.parse()?;
        let found = self.controller.get_snapshot(&id).await?;
        let snapshot = answer::snapshot(&found.backend, &found.item, None);
        Ok(csi::GetSnapshotResponse { snapshot: Some(snapshot) })
    }

    async fn expand(
        &self,
        raw: csi::ControllerExpandVolumeRequest,
    ) -> Result<csi::ControllerExpandVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let size = parse::required_range(raw.capacity_range)?;
        let access = raw.volume_capability.map(|one| parse::required_capability(Some(one))).transpose()?;
        let expanded = self.controller.expand(&self.controller.volume_id(id)?, size, access).await?;
        Ok(csi::ControllerExpandVolumeResponse {
            capacity_bytes: expanded.size.as_i64(),
            node_expansion_required: expanded.node_expansion,
        })
    }

    async fn get(&self, raw: csi::ControllerGetVolumeRequest) -> Result<csi::ControllerGetVolumeResponse> {
        use csi::controller_get_volume_response::VolumeStatus;
        let id = self.controller.volume_id(parse::id(&raw.volume_id, "volume_id")?)?;
        let volume = self.controller.get(&id).await?;
        Ok(csi::ControllerGetVolumeResponse {
            volume: Some(answer::volume(&id.backend, &volume, Some(raw.volume_id))),
            status: Some(VolumeStatus { published_node_ids: answer::nodes(&volume) }),
        })
    }

    async fn modify(
        &self,
        raw: csi::ControllerModifyVolumeRequest,
    ) -> Result<csi::ControllerModifyVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let mutable = parse::parameters(raw.mutable_parameters, "mutable_parameters")?;
        self.controller.modify(&self.controller.volume_id(id)?, mutable).await?;
        Ok(csi::ControllerModifyVolumeResponse {})
    }
}

#[tonic::async_trait]
impl csi::controller_server::Controller for Service {
    async fn create_volume(
        &self,
        request: Request<csi::CreateVolumeRequest>,
    ) -> Reply<csi::CreateVolumeResponse> {
        observe(&self.metrics, Rpc::CreateVolume, request, |raw| Self::create(self, raw)).await
    }

    async fn delete_volume(
        &self,
        request: Request<csi::DeleteVolumeRequest>,
    ) -> Reply<csi::DeleteVolumeResponse> {
        observe(&self.metrics, Rpc::DeleteVolume, request, |raw| Self::delete(self, raw)).await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<csi::ControllerPublishVolumeRequest>,
    ) -> Reply<csi::ControllerPublishVolumeResponse> {
        observe(&self.metrics, Rpc::ControllerPublishVolume, request, |raw| Self::attach(self, raw)).await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<csi::ControllerUnpublishVolumeRequest>,
    ) -> Reply<csi::ControllerUnpublishVolumeResponse> {
        observe(&self.metrics, Rpc::ControllerUnpublishVolume, request, |raw| Self::detach(self, raw)).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<csi::ValidateVolumeCapabilitiesRequest>,
    ) -> Reply<csi::ValidateVolumeCapabilitiesResponse> {
        observe(&self.metrics, Rpc::ValidateVolumeCapabilities, request, |raw| Self::validate(self, raw))
            .await
    }

    async fn list_volumes(
        &self,
        request: Request<csi::ListVolumesRequest>,
    ) -> Reply<csi::ListVolumesResponse> {
        observe(&self.metrics, Rpc::ListVolumes, request, |raw| Self::list(self, raw)).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<csi::ControllerListVolumeHealthRequest>,
    ) -> Reply<csi::ControllerListVolumeHealthResponse> {
        observe(&self.metrics, Rpc::ControllerListVolumeHealth, request, |raw| Self::list_health(self, raw))
            .await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<csi::ControllerGetVolumeHealthRequest>,
    ) -> Reply<csi::ControllerGetVolumeHealthResponse> {
        observe(&self.metrics, Rpc::ControllerGetVolumeHealth, request, |raw| Self::health(self, raw)).await
    }

    async fn get_capacity(
        &self,
        request: Request<csi::GetCapacityRequest>,
    ) -> Reply<csi::GetCapacityResponse> {
        observe(&self.metrics, Rpc::GetCapacity, request, |raw| Self::capacity(self, raw)).await
    }

    async fn create_snapshot(
        &self,
        request: Request<csi::CreateSnapshotRequest>,
    ) -> Reply<csi::CreateSnapshotResponse> {
        observe(&self.metrics, Rpc::CreateSnapshot, request, |raw| Self::create_snapshot(self, raw)).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<csi::DeleteSnapshotRequest>,
    ) -> Reply<csi::DeleteSnapshotResponse> {
        observe(&self.metrics, Rpc::DeleteSnapshot, request, |raw| Self::delete_snapshot(self, raw)).await
    }

    async fn list_snapshots(
        &self,
        request: Request<csi::ListSnapshotsRequest>,
    ) -> Reply<csi::ListSnapshotsResponse> {
        observe(&self.metrics, Rpc::ListSnapshots, request, |raw| Self::list_snapshots(self, raw)).await
    }

    async fn get_snapshot(
        &self,
        request: Request<csi::GetSnapshotRequest>,
    ) -> Reply<csi::GetSnapshotResponse> {
        observe(&self.metrics, Rpc::GetSnapshot, request, |raw| Self::get_snapshot(self, raw)).await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<csi::ControllerExpandVolumeRequest>,
    ) -> Reply<csi::ControllerExpandVolumeResponse> {
        observe(&self.metrics, Rpc::ControllerExpandVolume, request, |raw| Self::expand(self, raw)).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<csi::ControllerGetVolumeRequest>,
    ) -> Reply<csi::ControllerGetVolumeResponse> {
        observe(&self.metrics, Rpc::ControllerGetVolume, request, |raw| Self::get(self, raw)).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<csi::ControllerModifyVolumeRequest>,
    ) -> Reply<csi::ControllerModifyVolumeResponse> {
        observe(&self.metrics, Rpc::ControllerModifyVolume, request, |raw| Self::modify(self, raw)).await
    }

    async fn controller_get_capabilities(
        &self,
        request: Request<csi::ControllerGetCapabilitiesRequest>,
    ) -> Reply<csi::ControllerGetCapabilitiesResponse> {
        observe(&self.metrics, Rpc::ControllerGetCapabilities, request, async |_| {
            let capabilities = offer::controller(self.offered, self.controller.lists_all());
            Ok(csi::ControllerGetCapabilitiesResponse { capabilities })
        })
        .await
    }
}
