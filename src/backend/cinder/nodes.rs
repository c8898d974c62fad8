//! Which node a server is. The cloud knows servers alone; who orders an attachment names both.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::volume::NodeId;

/// The kind of identity by which a node tells which server it is.
pub const IDENTITY: &str = "nova";

/// The nodes that were named to this process, by their servers.
#[derive(Debug, Default)]
pub struct Nodes(Mutex<BTreeMap<String, NodeId>>);

impl Nodes {
    /// Remembers a node, where it says which server it is.
    pub fn learn(&self, node: &NodeId) {
        if let Some(server) = node.identity(IDENTITY) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(server.to_owned(), node.clone());
        }
    }

    /// The node of a server. Of one that was not named yet, the server's id is the name too.
    ///
    /// # Errors
    /// `InvalidArgument` for a server id that cannot be a part of a node id.
    pub fn of(&self, server: &str) -> Result<NodeId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned();
        known.map_or_else(|| NodeId::new(server, [(IDENTITY.to_owned(), server.to_owned())].into()), Ok)
    }
}
