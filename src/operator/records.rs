//! The seam to the cluster: what it has on record about volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::Serialize;

use crate::error::Result;
use crate::volume::NodeId;

/// A PersistentVolume of this driver.
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
}

/// A VolumeAttachment of this driver.
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

/// What a cluster knows.
#[async_trait]
pub trait Records: Debug + Send + Sync {
    /// The PersistentVolumes of this driver.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn claims(&self) -> Result<Vec<Claim>>;

    /// The VolumeAttachments of this driver.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn holds(&self) -> Result<Vec<Hold>>;

    /// Which server each Node is, of those where this driver's node part is registered.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn servers(&self) -> Result<BTreeMap<String, NodeId>>;

    /// For each Node: the ids of this driver's volumes that its kubelet has in use.
    ///
    /// # Errors
    /// Where not all of them are told.
    async fn in_use(&self) -> Result<BTreeMap<String, BTreeSet<String>>>;
}
