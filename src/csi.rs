//! The edge: a raw request becomes a typed one, a use case is called, its typed answer becomes a raw one. No logic.
//!
//! What the driver advertises follows from its configuration (see `offer`): it is what one of its back ends or another can do.
//! What a single one lacks is refused call by call.

mod answer;
mod controller;
mod group;
mod identity;
mod node;
mod observe;
mod offer;
mod parse;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tonic::service::Routes;

pub use status::{Rpc, code};

use crate::backend::Capabilities;
use crate::controller::Controller;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::proto::csi::controller_server::ControllerServer;
use crate::proto::csi::group_controller_server::GroupControllerServer;
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;

/// Tells whether the process can serve; the error says what it waits for.
pub type Ready = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// The CSI services of one process.
#[derive(Clone)]
pub struct Edge {
    driver: String,
    offered: Capabilities,
    controller: Option<Arc<Controller>>,
    node: Option<Arc<Node>>,
    metrics: Arc<Metrics>,
    ready: Ready,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge")
            .field("driver", &self.driver)
            .field("offered", &self.offered)
            .field("controller", &self.controller.is_some())
            .field("node", &self.node.is_some())
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// The services of the driver named `driver`: Identity always, the others where their use cases are given. They advertise
    /// what `offered` has.
    #[must_use]
    pub fn new(
        driver: String,
        offered: Capabilities,
        controller: Option<Arc<Controller>>,
        node: Option<Arc<Node>>,
        metrics: Arc<Metrics>,
        ready: Ready,
    ) -> Self {
        Self { driver, offered, controller, node, metrics, ready }
    }

    /// The services, to be served on a socket.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let offered = self.offered;
        let identity = identity::Service::new(
            self.driver.clone(),
            offered,
            Arc::clone(&self.metrics),
            Arc::clone(&self.ready),
        );
        let mut routes = Routes::new(IdentityServer::new(identity));
        if let Some(controller) = &self.controller {
            let service =
                controller::Service::new(Arc::clone(controller), offered, Arc::clone(&self.metrics));
            routes = routes.add_service(ControllerServer::new(service));
            let service = group::Service::new(Arc::clone(controller), offered, Arc::clone(&self.metrics));
            routes = routes.add_service(GroupControllerServer::new(service));
        }
        if let Some(node) = &self.node {
            let service = node::Service::new(Arc::clone(node), offered, Arc::clone(&self.metrics));
            routes = routes.add_service(NodeServer::new(service));
        }
        routes.prepare()
    }
}
