//! The Node service.

use std::sync::Arc;

use tonic::Request;

use crate::backend::Capabilities;
use crate::csi::observe::{Reply, observe};
use crate::csi::status::Rpc;
use crate::csi::{answer, offer, parse};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::node::{Expand, Node, Publish, Stage, Stats};
use crate::proto::csi;
use crate::proto::csi::volume_usage::Unit;
use crate::volume::{Attachment, Bytes};

pub(super) struct Service {
    node: Arc<Node>,
    offered: Capabilities,
    metrics: Arc<Metrics>,
}

impl Service {
    pub(super) fn new(node: Arc<Node>, offered: Capabilities, metrics: Arc<Metrics>) -> Self {
        Self { node, offered, metrics }
    }

    async fn stage(&self, raw: csi::NodeStageVolumeRequest) -> Result<csi::NodeStageVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let path = parse::path(&raw.staging_target_path, "staging_target_path")?;
        let access = parse::required_capability(raw.volume_capability)?;
        let attachment = Attachment::from_context(&raw.publish_context)?;
        let volume = self.node.volume_id(id)?;
        self.node.stage(&Stage { volume, attachment, path, access }).await?;
        Ok(csi::NodeStageVolumeResponse {})
    }

    async fn unstage(&self, raw: csi::NodeUnstageVolumeRequest) -> Result<csi::NodeUnstageVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let path = parse::path(&raw.staging_target_path, "staging_target_path")?;
        self.node.unstage(&self.node.volume_id(id)?, &path).await?;
        Ok(csi::NodeUnstageVolumeResponse {})
    }

    async fn publish(&self, raw: csi::NodePublishVolumeRequest) -> Result<csi::NodePublishVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let target = parse::path(&raw.target_path, "target_path")?;
        let access = parse::required_capability(raw.volume_capability)?;
        if raw.staging_target_path.is_empty() {
            return Err(Error::precondition(
                "staging_target_path is missing: the volume must be staged by NodeStageVolume first",
            ));
        }
        let staging = parse::path(&raw.staging_target_path, "staging_target_path")?;
        // kubelet tells the node of a claim that is read-only, but not of a PV that is: that stands in the attachment alone.
        let attached_readonly = match raw.publish_context.is_empty() {
            true => false,
            false => Attachment::from_context(&raw.publish_context)?.readonly,
        };
        let readonly = raw.readonly || attached_readonly || access.mode.read_only();
        let volume = self.node.volume_id(id)?;
        self.node.publish(&Publish { volume, staging, target, access, readonly }).await?;
        Ok(csi::NodePublishVolumeResponse {})
    }

    async fn unpublish(
        &self,
        raw: csi::NodeUnpublishVolumeRequest,
    ) -> Result<csi::NodeUnpublishVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let target = parse::path(&raw.target_path, "target_path")?;
        self.node.unpublish(&self.node.volume_id(id)?, &target).await?;
        Ok(csi::NodeUnpublishVolumeResponse {})
    }

    async fn stats(&self, raw: csi::NodeGetVolumeStatsRequest) -> Result<csi::NodeGetVolumeStatsResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let path = parse::looked_for(&raw.volume_path, "volume_path")?;
        let (volume, path) = (self.node.volume_id(id)?, path?);
        Ok(csi::NodeGetVolumeStatsResponse { usage: usage(self.node.stats(&volume, &path).await?) })
    }

    async fn expand(&self, raw: csi::NodeExpandVolumeRequest) -> Result<csi::NodeExpandVolumeResponse> {
        let id = parse::id(&raw.volume_id, "volume_id")?;
        let path = parse::looked_for(&raw.volume_path, "volume_path")?;
        // The kind of volume is read from the path; a capability is only checked for sense.
        parse::capabilities(raw.volume_capability.into_iter().collect())?;
        let size = parse::range(raw.capacity_range)?;
        let (volume, path) = (self.node.volume_id(id)?, path?);
        let size = self.node.expand(&Expand { volume, path, size }).await?;
        Ok(csi::NodeExpandVolumeResponse { capacity_bytes: size.as_i64() })
    }

    async fn health(&self, raw: csi::NodeGetVolumeHealthRequest) -> Result<csi::NodeGetVolumeHealthResponse> {
        let id = self.node.volume_id(parse::id(&raw.volume_id, "volume_id")?)?;
        let health = self.node.health(&id).await?;
        Ok(csi::NodeGetVolumeHealthResponse { volume_health: Some(answer::health(raw.volume_id, health)) })
    }

    async fn info(&self) -> Result<csi::NodeGetInfoResponse> {
        let info = self.node.info().await?;
        Ok(csi::NodeGetInfoResponse {
            node_id: info.id.to_string(),
            // 0 is CSI's word for "no limit is known".
            max_volumes_per_node: info.max_volumes.map_or(0, i64::from),
            accessible_topology: answer::topology(&info.topology),
        })
    }
}

fn usage(stats: Stats) -> Vec<csi::VolumeUsage> {
    let count = |number: u64| Bytes::new(number).as_i64();
    match stats {
        Stats::Block(size) => {
            vec![csi::VolumeUsage { available: 0, total: size.as_i64(), used: 0, unit: Unit::Bytes.into() }]
        }
        Stats::FileSystem(usage) => {
            let bytes = csi::VolumeUsage {
                available: count(usage.available),
                total: count(usage.total),
                used: count(usage.used),
                unit: Unit::Bytes.into(),
            };
            // A file system that makes inodes as needed has no number of them to tell.
            let inodes = (usage.inodes > 0).then(|| csi::VolumeUsage {
                available: count(usage.inodes_free),
                total: count(usage.inodes),
                used: count(usage.inodes.saturating_sub(usage.inodes_free)),
                unit: Unit::Inodes.into(),
            });
            std::iter::once(bytes).chain(inodes).collect()
        }
    }
}

#[tonic::async_trait]
impl csi::node_server::Node for Service {
    async fn node_stage_volume(
        &self,
        request: Request<csi::NodeStageVolumeRequest>,
    ) -> Reply<csi::NodeStageVolumeResponse> {
        observe(&self.metrics, Rpc::NodeStageVolume, request, |raw| self.stage(raw)).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Reply<csi::NodeUnstageVolumeResponse> {
        observe(&self.metrics, Rpc::NodeUnstageVolume, request, |raw| self.unstage(raw)).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<csi::NodePublishVolumeRequest>,
    ) -> Reply<csi::NodePublishVolumeResponse> {
        observe(&self.metrics, Rpc::NodePublishVolume, request, |raw| self.publish(raw)).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Reply<csi::NodeUnpublishVolumeResponse> {
        observe(&self.metrics, Rpc::NodeUnpublishVolume, request, |raw| self.unpublish(raw)).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Reply<csi::NodeGetVolumeStatsResponse> {
        observe(&self.metrics, Rpc::NodeGetVolumeStats, request, |raw| self.stats(raw)).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<csi::NodeGetVolumeHealthRequest>,
    ) -> Reply<csi::NodeGetVolumeHealthResponse> {
        observe(&self.metrics, Rpc::NodeGetVolumeHealth, request, |raw| self.health(raw)).await
    }

    async fn node_get_storage_health(
        &self,
        request: Request<csi::NodeGetStorageHealthRequest>,
    ) -> Reply<csi::NodeGetStorageHealthResponse> {
        observe(&self.metrics, Rpc::NodeGetStorageHealth, request, async |_| {
            Err(Error::refused(Kind::Unsupported, "the health of a whole back end is not told by a node"))
        })
        .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<csi::NodeExpandVolumeRequest>,
    ) -> Reply<csi::NodeExpandVolumeResponse> {
        observe(&self.metrics, Rpc::NodeExpandVolume, request, |raw| self.expand(raw)).await
    }

    async fn node_get_capabilities(
        &self,
        request: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Reply<csi::NodeGetCapabilitiesResponse> {
        observe(&self.metrics, Rpc::NodeGetCapabilities, request, async |_| {
            Ok(csi::NodeGetCapabilitiesResponse { capabilities: offer::node(self.offered) })
        })
        .await
    }

    async fn node_get_info(
        &self,
        request: Request<csi::NodeGetInfoRequest>,
    ) -> Reply<csi::NodeGetInfoResponse> {
        observe(&self.metrics, Rpc::NodeGetInfo, request, |_| self.info()).await
    }
}
