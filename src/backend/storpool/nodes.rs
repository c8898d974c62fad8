//! Which node a client is. The cluster knows clients by number alone; who orders an attachment names both.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::volume::NodeId;

/// The kind of identity by which a node tells which client it is: `<number>`, or `<cluster id>.<number>`.
pub const IDENTITY: &str = "storpool";

/// The nodes that were named to this process, by their clients.
#[derive(Debug, Default)]
pub struct Nodes(Mutex<BTreeMap<u16, NodeId>>);

/// The client's number in a node's id; `None` where the node is none of StorPool's. A node id of StorPool's own driver is
/// the identity alone.
#[must_use]
pub fn client(node: &NodeId) -> Option<u16> {
    let number =
        |text: &str| text.rsplit('.').next()?.parse().ok().filter(|number| (1..=0xfff).contains(number));
    match node.identity(IDENTITY) {
        Some(identity) => number(identity),
        None if super::names::is_global_id(node.name()) => number(node.name()),
        None => None,
    }
}

impl Nodes {
    /// Remembers a node and tells which client it is.
    ///
    /// # Errors
    /// `NotFound` where it is none.
    pub fn learn(&self, node: &NodeId) -> Result<u16> {
        let client = client(node).ok_or_else(|| {
            Error::not_found(
                "the node has not told which StorPool client it is: is the node's driver running?",
            )
            .with("node", node)
        })?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(client, node.clone());
        Ok(client)
    }

    /// The node of a client. Of one that was not named yet, the number is the name too.
    ///
    /// # Errors
    /// Never: a number can be a part of a node id.
    pub fn of(&self, client: u16) -> Result<NodeId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let unnamed =
            || NodeId::new(&format!("client-{client}"), [(IDENTITY.to_owned(), client.to_string())].into());
        known.map_or_else(unnamed, Ok)
    }

    /// A client for people: with its node's name, where that is known.
    #[must_use]
    pub fn told(&self, client: u16) -> String {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&client) {
            Some(node) => format!("{} (client {client})", node.name()),
            None => format!("client {client}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_in_every_form() {
        let of = |text: &str| client(&text.parse().unwrap());
        assert_eq!(of("alpha;storpool=12"), Some(12));
        assert_eq!(of("alpha;storpool=d.n.12"), Some(12));
        assert_eq!(of("d.n.12"), Some(12), "a node id of StorPool's own driver");
        for none in ["alpha", "alpha;storpool=d.n", "alpha;storpool=0", "alpha;storpool=4096", "d.n.x"] {
            assert_eq!(of(none), None, "{none}");
        }
        let nodes = Nodes::default();
        assert_eq!(
            (nodes.told(7), nodes.of(7).unwrap().to_string()),
            ("client 7".into(), "client-7;storpool=7".into())
        );
        nodes.learn(&"alpha;storpool=7".parse().unwrap()).unwrap();
        assert_eq!(nodes.told(7), "alpha (client 7)");
    }
}
