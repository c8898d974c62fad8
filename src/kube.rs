//! The Kubernetes API, as far as the controller needs it: proofs that a server is off, a check that a node id still names
//! the Node's server, events for a volume's users and for the driver's operators, and the CSIDriver object's soundness.
//!
//! All of it is optional. Where there is no API, or it does not answer, the CSI calls do their work without it; only a
//! detach by force is refused then. The node never comes here and needs no credentials. What is asked for is in
//! `docs/kubernetes.md`, with the rights that it takes.

mod api;
mod attachment;
mod driver;
mod events;
mod fencing;
mod records;
mod server;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode};

use self::api::ApiServer;
use self::events::{About, Recorder};
use self::fencing::Question;
use self::server::Match;
use crate::backend::Warning;
use crate::config::{KubernetesAccess, Pod};
use crate::controller::{Cluster, Fencing, Notice};
use crate::error::{Error, Result};
use crate::volume::{BackendName, NodeId, VolumeId};

/// How long an attach waits for its check. It costs a few milliseconds; an API server that is slower than this tells
/// nothing, and nothing is what the check can do without.
const CHECK: Duration = Duration::from_secs(1);

/// The cluster behind its API.
#[derive(Debug)]
pub struct Kubernetes {
    api: ApiServer,
    driver: Arc<str>,
    events: Recorder,
}

impl Kubernetes {
    /// Reads the credentials and asks nothing yet. `driver` is the CSI driver's name, `pod` the one that this process is in.
    ///
    /// # Errors
    /// Where the credentials are missing or cannot be used.
    pub fn open(access: &KubernetesAccess, driver: &str, pod: Option<Pod>) -> Result<Self> {
        Ok(Self::new(ApiServer::open(access)?, driver, pod))
    }

    fn new(api: ApiServer, driver: &str, pod: Option<Pod>) -> Self {
        let driver: Arc<str> = driver.into();
        Self { events: Recorder::new(&api, Arc::clone(&driver), pod), api, driver }
    }

    /// What is wrong with the CSIDriver object, in words; `None` where all is well.
    ///
    /// # Errors
    /// Where the API server does not tell.
    pub async fn driver_fault(&self) -> Result<Option<String>> {
        let object = self.api.get::<CSIDriver>(&self.driver).await?;
        Ok(driver::fault(&self.driver, object.as_ref()))
    }
}

#[async_trait]
impl Cluster for Kubernetes {
    async fn fencing(&self, volume: &VolumeId, node: &NodeId) -> Result<Fencing> {
        Question { api: &self.api, driver: &self.driver, volume, server: node }.answer().await
    }

    /// One request for each attach, rather than a cache of all CSINodes that is kept fresh by a watch: the answer is never
    /// old, and a cluster of thousands of nodes costs no memory here.
    async fn check_server(&self, node: &NodeId) -> Result<()> {
        let found = match self.api.within(CHECK).get::<CSINode>(node.name()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%node, error = error.chain(), "the node's server is not checked");
                return Ok(());
            }
        };
        match found.and_then(|found| server::registered(&found, &self.driver)) {
            // The CSI specification's code for a node id that is not, or no longer, one.
            Some(registered) if server::compare(node, &registered) == Match::Other => {
                Err(Error::not_found(format!("Node {} is another server now, {registered}", node.name()))
                    .with("node", node))
            }
            _ => Ok(()),
        }
    }

    async fn tell(&self, volume: &VolumeId, node: &NodeId, notice: Notice) {
        self.events.tell(About { volume, node, notice: &notice }).await;
    }

    async fn warn(&self, backend: &BackendName, warning: &Warning) {
        self.events.warn(backend, warning).await;
    }
}
