//! The seam to the cluster: what it knows of servers and no back end can find out. Nothing here needs one.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::backend::{FencingProof, Warning};
use crate::controller::Controller;
use crate::error::Result;
use crate::volume::{BackendName, NodeId, VolumeId};

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

    /// Tells the cluster's operators what is wrong with a back end. It may be told again and again while it is so: the
    /// cluster sees to it that they are not flooded. What cannot be told is only logged.
    async fn warn(&self, backend: &BackendName, warning: &Warning);
}

impl Controller {
    /// Tells the cluster what is wrong with back ends at this moment. To be called from time to time.
    pub async fn pass_warnings_on(&self) {
        let Some(cluster) = &self.cluster else { return };
        for (name, backend) in self.backends.iter() {
            if let Some(warning) = backend.warning() {
                cluster.warn(name, &warning).await;
            }
        }
    }
}
