//! Which node a server is. The cloud knows servers alone; who orders an attachment names both.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
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

    /// The error with the names of the nodes whose servers it speaks of: people know nodes.
    #[must_use]
    pub fn name_in(&self, error: Error) -> Error {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spoken = known.iter().filter(|(server, _)| error.message().contains(server.as_str()));
        let names: Vec<_> =
            spoken.map(|(server, node)| format!("server {server} is node {}", node.name())).collect();
        if names.is_empty() { error } else { error.and(names.join(", ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_nodes() {
        let nodes = Nodes::default();
        let node: NodeId = "alpha;nova=s-1".parse().unwrap();
        nodes.learn(&node);
        nodes.learn(&"bare".parse().unwrap());
        assert_eq!(nodes.of("s-1").unwrap(), node);
        assert_eq!(nodes.of("s-2").unwrap().to_string(), "s-2;nova=s-2");
        let error = nodes.name_in(Error::precondition("it is attached to server s-1"));
        assert_eq!(error.to_string(), "it is attached to server s-1; server s-1 is node alpha");
        assert_eq!(nodes.name_in(Error::precondition("it is gone")).to_string(), "it is gone");
    }
}
