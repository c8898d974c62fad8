//! Which node a client is. A cluster knows clients by number alone; who orders an attachment names both. In a location, the
//! numbers of one cluster say nothing in another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::volume::NodeId;

/// The kind of identity by which a node tells which client it is: `<number>`, or `<cluster id>.<number>`.
pub const IDENTITY: &str = "storpool";

/// One client among all that a back end reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// Its cluster, where the back end reaches several.
    pub cluster: Option<String>,
    /// Its number.
    pub client: u16,
}

/// As an identity has it.
impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "{cluster}.{}", self.client),
            None => write!(f, "{}", self.client),
        }
    }
}

/// The nodes that were named to this process, by their clients.
#[derive(Debug, Default)]
pub struct Nodes {
    known: Mutex<BTreeMap<Seat, NodeId>>,
    /// Whether the back end reaches all clusters of a location.
    everywhere: bool,
    /// The only cluster that it reaches, where that is known.
    cluster: Option<String>,
}

/// What a node tells of its client, the cluster only where it knows that; `None` where it is none of StorPool's. A node id of
/// StorPool's own driver is the identity alone.
#[must_use]
pub fn client(node: &NodeId) -> Option<Seat> {
    let text = match node.identity(IDENTITY) {
        Some(identity) => identity,
        None if super::names::is_global_id(node.name()) => node.name(),
        None => return None,
    };
    let (cluster, number) =
        text.rsplit_once('.').map_or((None, text), |(cluster, rest)| (Some(cluster), rest));
    let client = number.parse().ok().filter(|number| (1..=0xfff).contains(number))?;
    Some(Seat { cluster: cluster.map(str::to_owned), client })
}

impl Nodes {
    /// Of a back end that reaches all clusters of a location, or only this one.
    pub(super) fn new(everywhere: bool, cluster: Option<&str>) -> Self {
        Self { known: Mutex::default(), everywhere, cluster: cluster.map(str::to_owned) }
    }

    /// Remembers a node and tells which client it is.
    ///
    /// # Errors
    /// `NotFound` where it is none; `FailedPrecondition` where it is not known of which cluster it is, or it is one that this
    /// back end does not reach.
    pub fn learn(&self, node: &NodeId) -> Result<Seat> {
        let told = client(node).ok_or_else(|| {
            Error::not_found(
                "the node has not told which StorPool client it is: is the node's driver running?",
            )
            .with("node", node)
        })?;
        let refuse = |text: String| Err(Error::precondition(text).with("node", node));
        let seat = match (self.everywhere, &told.cluster, &self.cluster) {
            (true, None, _) => {
                return refuse(
                    "the node has not told which cluster of the location it is in: set SP_CLUSTER_ID in its \
                     storpool.conf, or \"node.clusterId\""
                        .to_owned(),
                );
            }
            (true, Some(_), _) => told,
            (false, Some(cluster), Some(own)) if cluster != own => {
                return refuse(format!(
                    "the node is in the StorPool cluster {cluster}, and the management API is that of {own}: if both are in \
                     one location, set \"multiCluster: true\""
                ));
            }
            (false, ..) => Seat { cluster: None, ..told },
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(seat.clone(), node.clone());
        Ok(seat)
    }

    /// The node of a client. Of one that was not named yet, the number is the name too.
    ///
    /// # Errors
    /// Never: a number can be a part of a node id.
    pub fn of(&self, seat: &Seat) -> Result<NodeId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(seat).cloned();
        let unnamed =
            || NodeId::new(&format!("client-{seat}"), [(IDENTITY.to_owned(), seat.to_string())].into());
        known.map_or_else(unnamed, Ok)
    }

    /// A client for people: with its node's name, where that is known.
    #[must_use]
    pub fn told(&self, seat: &Seat) -> String {
        match self.known.lock().unwrap_or_else(PoisonError::into_inner).get(seat) {
            Some(node) => format!("{} (client {seat})", node.name()),
            None => format!("client {seat}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn seat(cluster: Option<&str>, client: u16) -> Seat {
        Seat { cluster: cluster.map(str::to_owned), client }
    }

    #[test]
    fn clients_are_known_in_every_form() {
        let of = |text: &str| client(&text.parse().unwrap());
        assert_eq!(of("alpha;storpool=12"), Some(seat(None, 12)));
        assert_eq!(of("alpha;storpool=d.n.12"), Some(seat(Some("d.n"), 12)));
        assert_eq!(of("d.n.12"), Some(seat(Some("d.n"), 12)), "a node id of StorPool's own driver");
        for none in ["alpha", "alpha;storpool=d.n", "alpha;storpool=0", "alpha;storpool=4096", "d.n.x"] {
            assert_eq!(of(none), None, "{none}");
        }
        let nodes = Nodes::default();
        let seven = seat(None, 7);
        assert_eq!(
            (nodes.told(&seven), nodes.of(&seven).unwrap().to_string()),
            ("client 7".into(), "client-7;storpool=7".into())
        );
        nodes.learn(&"alpha;storpool=7".parse().unwrap()).unwrap();
        assert_eq!(nodes.told(&seven), "alpha (client 7)");
    }

    #[test]
    fn a_number_means_a_client_of_its_own_cluster() {
        let node = |text: &str| text.parse::<NodeId>().unwrap();
        let location = Nodes::new(true, None);
        let (here, there) = (node("alpha;storpool=d.n.7"), node("beta;storpool=d.b.7"));
        assert_eq!(location.learn(&here).unwrap(), seat(Some("d.n"), 7));
        assert_eq!(location.learn(&there).unwrap(), seat(Some("d.b"), 7));
        assert_eq!(location.told(&seat(Some("d.b"), 7)), "beta (client d.b.7)");
        assert_eq!(location.of(&seat(Some("d.c"), 7)).unwrap().to_string(), "client-d.c.7;storpool=d.c.7");
        let error = location.learn(&node("gamma;storpool=7")).unwrap_err();
        assert!(error.kind() == Kind::FailedPrecondition && error.to_string().contains("SP_CLUSTER_ID"));
        let one = Nodes::new(false, Some("d.n"));
        assert_eq!(one.learn(&here).unwrap(), seat(None, 7));
        let error = one.learn(&there).unwrap_err();
        assert!(
            error.kind() == Kind::FailedPrecondition && error.to_string().contains("multiCluster"),
            "{error}"
        );
    }
}
