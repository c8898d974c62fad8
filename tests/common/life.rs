//! The calls of a volume's life, as the sidecars and the kubelet make them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test code, of which each test takes the part that it needs"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fairlead::client::Client;
use fairlead::proto::csi;
use tonic::Status;

pub fn mount(fs: &str) -> csi::VolumeCapability {
    use csi::volume_capability::access_mode::Mode;
    use csi::volume_capability::{AccessMode, AccessType, MountVolume};
    csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs.into(), ..Default::default() })),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeMultiWriter.into() }),
    }
}

pub fn block() -> csi::VolumeCapability {
    use csi::volume_capability::{AccessType, BlockVolume};
    csi::VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..mount("") }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// One server as the kubelet sees it: a driver and the paths of one volume there.
#[derive(Clone, Debug)]
pub struct Seat {
    pub client: Client,
    pub home: PathBuf,
    pub capability: csi::VolumeCapability,
}

impl Seat {
    /// The staging directory of a volume, made as the kubelet makes it.
    pub fn staging(&self, volume: &str) -> PathBuf {
        let path = self.home.join(volume.replace('/', "_")).join("globalmount");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn target(&self, volume: &str) -> PathBuf {
        self.staging(volume).with_file_name("mount")
    }

    pub async fn create(
        &self,
        name: &str,
        bytes: i64,
        source: Option<csi::VolumeContentSource>,
    ) -> Result<String, Status> {
        let request = csi::CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(csi::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            volume_capabilities: vec![self.capability.clone()],
            volume_content_source: source,
            ..Default::default()
        };
        Ok(self.client.controller().create_volume(request).await?.into_inner().volume.unwrap().volume_id)
    }

    pub async fn delete(&self, volume: &str) -> Result<(), Status> {
        let request = csi::DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() };
        self.client.controller().delete_volume(request).await.map(|_| ())
    }

    pub async fn snapshot(&self, name: &str, volume: &str) -> Result<String, Status> {
        let request = csi::CreateSnapshotRequest {
            name: name.into(),
            source_volume_id: volume.into(),
            ..Default::default()
        };
        Ok(self
            .client
            .controller()
            .create_snapshot(request)
            .await?
            .into_inner()
            .snapshot
            .unwrap()
            .snapshot_id)
    }

    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<(), Status> {
        let request = csi::DeleteSnapshotRequest { snapshot_id: snapshot.into(), ..Default::default() };
        self.client.controller().delete_snapshot(request).await.map(|_| ())
    }

    pub async fn node_id(&self) -> Result<String, Status> {
        Ok(self.client.node().node_get_info(csi::NodeGetInfoRequest {}).await?.into_inner().node_id)
    }

    pub async fn attach(&self, volume: &str) -> Result<BTreeMap<String, String>, Status> {
        let request = csi::ControllerPublishVolumeRequest {
            volume_id: volume.into(),
            node_id: self.node_id().await?,
            volume_capability: Some(self.capability.clone()),
            ..Default::default()
        };
        Ok(self.client.controller().controller_publish_volume(request).await?.into_inner().publish_context)
    }

    pub async fn detach(&self, volume: &str) -> Result<(), Status> {
        let request = csi::ControllerUnpublishVolumeRequest {
            volume_id: volume.into(),
            node_id: self.node_id().await?,
            ..Default::default()
        };
        self.client.controller().controller_unpublish_volume(request).await.map(|_| ())
    }

    pub async fn stage(&self, volume: &str, context: &BTreeMap<String, String>) -> Result<(), Status> {
        let request = csi::NodeStageVolumeRequest {
            volume_id: volume.into(),
            publish_context: context.clone(),
            staging_target_path: text(&self.staging(volume)),
            volume_capability: Some(self.capability.clone()),
            ..Default::default()
        };
        self.client.node().node_stage_volume(request).await.map(|_| ())
    }

    pub async fn unstage(&self, volume: &str) -> Result<(), Status> {
        let request = csi::NodeUnstageVolumeRequest {
            volume_id: volume.into(),
            staging_target_path: text(&self.staging(volume)),
        };
        self.client.node().node_unstage_volume(request).await.map(|_| ())
    }

    pub async fn publish(
        &self,
        volume: &str,
        context: &BTreeMap<String, String>,
        readonly: bool,
    ) -> Result<(), Status> {
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.into(),
            publish_context: context.clone(),
            staging_target_path: text(&self.staging(volume)),
            target_path: text(&self.target(volume)),
            volume_capability: Some(self.capability.clone()),
            readonly,
            ..Default::default()
        };
        self.client.node().node_publish_volume(request).await.map(|_| ())
    }

    pub async fn unpublish(&self, volume: &str) -> Result<(), Status> {
        let request = csi::NodeUnpublishVolumeRequest {
            volume_id: volume.into(),
            target_path: text(&self.target(volume)),
        };
        self.client.node().node_unpublish_volume(request).await.map(|_| ())
    }

    pub async fn expand(&self, volume: &str, bytes: i64) -> Result<(), Status> {
        let request = csi::ControllerExpandVolumeRequest {
            volume_id: volume.into(),
            capacity_range: Some(csi::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            ..Default::default()
        };
        self.client.controller().controller_expand_volume(request).await.map(|_| ())
    }

    pub async fn expand_node(&self, volume: &str, bytes: i64) -> Result<(), Status> {
        let request = csi::NodeExpandVolumeRequest {
            volume_id: volume.into(),
            volume_path: text(&self.target(volume)),
            capacity_range: Some(csi::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            ..Default::default()
        };
        self.client.node().node_expand_volume(request).await.map(|_| ())
    }
}

/// A volume's source, from a snapshot's id.
pub fn from_snapshot(snapshot: &str) -> csi::VolumeContentSource {
    use csi::volume_content_source::{SnapshotSource, Type};
    csi::VolumeContentSource { r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: snapshot.into() })) }
}

/// A volume's source, from another volume's id.
pub fn from_volume(volume: &str) -> csi::VolumeContentSource {
    use csi::volume_content_source::{Type, VolumeSource};
    csi::VolumeContentSource { r#type: Some(Type::Volume(VolumeSource { volume_id: volume.into() })) }
}
