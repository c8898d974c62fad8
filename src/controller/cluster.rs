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

/// What happened to a volume that its users learn from no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was taken from a server that did not let go.
    Fenced(FencingProof),
    /// It could not be taken from a server, for this reason.
    Held(String),
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

    /// Whether `node` is the server that the cluster means by that name now. Where the cluster cannot be asked or does
    /// not know, it is: what the caller says stands.
    ///
    /// # Errors
    /// `NotFound` where another server bears the name.
    async fn check_server(&self, node: &NodeId) -> Result<()>;

    /// Tells the users of `volume` what happened to it at `node`, while the detach is not yet answered. What cannot be
    /// told within seconds is only logged.
    async fn tell(&self, volume: &VolumeId, node: &NodeId, notice: Notice);
}
