//! Which node a client or an initiator is. The cluster knows clients by number alone, and initiators by their names; who
//! orders an attachment names both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::iscsi::INITIATOR;
use crate::error::{Error, Result};
use crate::volume::NodeId;

/// The kind of identity by which a node tells which client it is: `<number>`, or `<cluster id>.<number>`.
pub const IDENTITY: &str = "storpool";

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

/// The kind of identity by which a node tells its initiator's name.
pub const INITIATOR_IDENTITY: &str = "iscsi";

/// The initiator's name in a node's id; `None` where it has told none.
#[must_use]
pub fn initiator(node: &NodeId) -> Option<&str> {
    node.identity(INITIATOR_IDENTITY).filter(|name| is_initiator(name))
}

/// Whether a text can be the name of an initiator of iSCSI, as the API takes them.
#[must_use]
pub fn is_initiator(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind)) && name.chars().all(sound)
}

/// What this process was told of nodes.
#[derive(Debug, Default)]
struct Known {
    clients: BTreeMap<u16, NodeId>,
    initiators: BTreeMap<String, NodeId>,
    /// The initiators' names by their numbers, as the cluster told them last.
    names: BTreeMap<u16, String>,
}

/// The nodes that were named to this process, by their clients and initiators.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<Mutex<Known>>);

impl Nodes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        self.known().clients.insert(client, node.clone());
        Ok(client)
    }

    /// Remembers a node by its initiator, where it has told one.
    pub fn learn_initiator(&self, node: &NodeId) {
        if let Some(name) = initiator(node) {
            self.known().initiators.insert(name.to_owned(), node.clone());
        }
    }

    /// Remembers which numbers the cluster gives to initiators.
    pub fn note(&self, names: BTreeMap<u16, String>) {
        self.known().names = names;
    }

    /// Whether a client, or an initiator, is this node's.
    #[must_use]
    pub fn is(&self, number: u16, node: &NodeId) -> bool {
        match number < INITIATOR {
            true => client(node) == Some(number),
            false => self.known().names.get(&number).is_some_and(|name| initiator(node) == Some(name)),
        }
    }

    /// The node of a client or initiator. Of one that was not named yet, the number is the name too.
    ///
    /// # Errors
    /// `InvalidArgument` where the initiator of a node that is not ours has too long a name for a node id.
    pub fn of(&self, number: u16) -> Result<NodeId> {
        let known = self.known();
        if number < INITIATOR {
            let unnamed = || {
                let identity = [(IDENTITY.to_owned(), number.to_string())];
                NodeId::new(&format!("client-{number}"), identity.into())
            };
            return known.clients.get(&number).cloned().map_or_else(unnamed, Ok);
        }
        let name = known.names.get(&number).cloned().unwrap_or_default();
        let unnamed = || {
            let identity = [(INITIATOR_IDENTITY.to_owned(), name.clone())];
            NodeId::new(&format!("initiator-{}", number - INITIATOR), identity.into())
        };
        known.initiators.get(&name).cloned().map_or_else(unnamed, Ok)
    }

    /// A client or initiator for people: with its node's name, where that is known.
    #[must_use]
    pub fn told(&self, number: u16) -> String {
        let known = self.known();
        let (what, node) = match number < INITIATOR {
            true => (format!("client {number}"), known.clients.get(&number)),
            false => {
                let name = known.names.get(&number).map_or("", String::as_str);
                (format!("initiator {name}"), known.initiators.get(name))
            }
        };
        match node {
            Some(node) => format!("{} ({what})", node.name()),
            None => what,
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

    #[test]
    fn initiators_are_known_by_their_names() {
        let node: NodeId = "beta;iscsi=iqn.2026-01.example:beta".parse().unwrap();
        assert_eq!(initiator(&node), Some("iqn.2026-01.example:beta"));
        for none in ["beta", "beta;iscsi=beta", "beta;iscsi=iqn.A", "beta;storpool=3"] {
            assert_eq!(initiator(&none.parse().unwrap()), None, "{none}");
        }
        let (nodes, number) = (Nodes::default(), INITIATOR | 3);
        nodes.note([(number, "iqn.2026-01.example:beta".to_owned())].into());
        assert_eq!(nodes.told(number), "initiator iqn.2026-01.example:beta");
        assert_eq!(nodes.of(number).unwrap().to_string(), "initiator-3;iscsi=iqn.2026-01.example:beta");
        assert!(nodes.is(number, &node) && !nodes.is(INITIATOR, &node) && !nodes.is(3, &node));
        let other: NodeId = "gamma;storpool=3".parse().unwrap();
        assert!(nodes.is(3, &other) && !nodes.is(INITIATOR | 9, &other));
        nodes.learn_initiator(&node);
        assert_eq!(nodes.told(number), "beta (initiator iqn.2026-01.example:beta)");
        assert_eq!(nodes.of(number).unwrap(), node);
    }
}
