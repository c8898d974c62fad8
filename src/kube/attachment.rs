//! The VolumeAttachment of a volume and a Node: Kubernetes' own record that the one was attached to the other.
//!
//! It stays until the detach has succeeded, so whoever detaches finds it, also where the Node itself is gone.

use k8s_openapi::api::storage::v1::VolumeAttachment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use super::api::ApiServer;
use crate::error::Result;
use crate::volume::{NodeId, VolumeId};

/// Where external-attacher writes the node id under which it attaches, for when the CSINode is gone.
const NODE_ID: &str = "csi.alpha.kubernetes.io/node-id";

/// What it tells.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The server that the Node was when the volume was attached.
    pub(super) server: Option<NodeId>,
    /// When it was ordered.
    pub(super) made: Option<Time>,
    /// The volume's PersistentVolume.
    pub(super) persistent_volume: Option<String>,
}

/// The record, if there is one.
///
/// # Errors
/// Where the API server did not say.
pub(super) async fn find(
    api: &ApiServer,
    driver: &str,
    volume: &VolumeId,
    node: &NodeId,
) -> Result<Option<Record>> {
    // A handle that another driver made is the back end's own id alone.
    for handle in [volume.to_string(), volume.native.to_string()] {
        if let Some(found) = api.get::<VolumeAttachment>(&name(&handle, driver, node.name())).await? {
            let server =
                found.metadata.annotations.as_ref().and_then(|notes| notes.get(NODE_ID)?.parse().ok());
            return Ok(Some(Record {
                server,
                made: found.metadata.creation_timestamp,
                persistent_volume: found.spec.source.persistent_volume_name,
            }));
        }
    }
    Ok(None)
}

/// Its name: the controller manager and every kubelet compute it each for itself, so it cannot change
/// (`getAttachmentName` in Kubernetes' pkg/volume/csi/csi_attacher.go).
pub(super) fn name(handle: &str, driver: &str, node: &str) -> String {
    let hash = Sha256::digest(format!("{handle}{driver}{node}"));
    hash.iter().fold("csi-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}
