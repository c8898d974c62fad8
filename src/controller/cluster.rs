//! The seam to the cluster: what it knows of servers and no back end can find out. Nothing here needs one.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::backend::FencingProof;
use crate::error::Result;
use crate::volume::{NodeId, VolumeId};

/// Whether a server certainly writes no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It does not, and this is why.
    Proven(FencingProof),
    /// Nothing proves it; the reason, in words for the user.
    Unproven(String),
}

/// The cluster that the controller serves.
#[async_trait]
pub trait Cluster: Debug + Send + Sync {
    /// Whether the server that `node` names, to which `volume` is attached, certainly writes no more although it did
    /// not let go. Answers in seconds.
    ///
    /// # Errors
    /// Where the cluster cannot be asked.
    async fn fencing(&self, volume: &VolumeId, node: &NodeId) -> Result<Fencing>;
}
