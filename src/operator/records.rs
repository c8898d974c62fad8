//! The seam to the cluster: what it has on record about volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::Serialize;

use crate::error::Result;
use crate::volume::{NodeId, VolumeId};

/// A PersistentVolume of a CSI driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The id under which it knows the volume.
    #[serde(skip)]
    pub handle: String,
    /// Its name.
    pub persistent_volume: String,
    /// Who claims it, `<namespace>/<name>`.
    pub claim: Option<String>,
    /// Its phase: Bound, Released, ...
    pub phase: String,
    /// The driver that has it, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A VolumeAttachment, of whatever driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its PersistentVolume.
    #[serde(skip)]
    pub persistent_volume: String,
    /// Its Node.
    pub node: String,
    /// Whether Kubernetes believes that it is attached, as against being on its way.
    pub attached: bool,
}

/// The volumes that Nodes have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// For each Node: the ids of this driver's volumes that its kubelet has in use.
    pub ours: BTreeMap<String, BTreeSet<String>>,
    /// The ids of all CSI drivers' volumes that any Node has in use or attached.
    pub any: BTreeSet<String>,
}

impl InUse {
    /// Whether any Node has the volume, under whatever driver and back end.
    #[must_use]
    pub fn has(&self, volume: &VolumeId) -> bool {
        self.any.iter().any(|handle| native(handle) == volume.native.as_str())
    }
}

/// What a handle calls the volume in its cloud. Two back ends or two drivers that see the same cloud know a volume by two
/// ids, `<back end>/<native id>`, and one that was taken over has its native id for a handle. So the native part is what
/// tells whether a volume is somebody's. It may say so of another cloud's of the same name, which then is left alone too.
#[must_use]
pub fn native(handle: &str) -> &str {
    handle.rsplit_once('/').map_or(handle, |(_, native)| native)
}

/// What a cluster knows.
#[async_trait]
pub trait Records: Debug + Send + Sync {
    /// The PersistentVolumes of all CSI drivers.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn claims(&self) -> Result<Vec<Claim>>;

    /// The VolumeAttachments of PersistentVolumes.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn holds(&self) -> Result<Vec<Hold>>;

    /// Which server each Node is, of those where this driver's node part is registered.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn servers(&self) -> Result<BTreeMap<String, NodeId>>;

    /// The volumes that Nodes have.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn in_use(&self) -> Result<InUse>;
}
