//! Which node a client or an initiator is. A cluster knows clients by number alone, and initiators by their names; who
//! orders an attachment names both. In a location, the numbers of one cluster say nothing in another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::model::iscsi::INITIATOR;
use crate::error::{Error, Result};
use crate::volume::NodeId;

/// The kind of identity by which a node tells which client it is: `<number>`, or `<cluster id>.<number>`.
pub const IDENTITY: &str = "storpool";

/// One client among all that a back end reaches, or an initiator under the number that stands for it ([`INITIATOR`]).
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

impl Seat {
    /// That of an initiator. Exports are of the one cluster that is asked.
    pub(super) const fn of_initiator(number: u16) -> Self {
        Self { cluster: None, client: number }
    }
}

/// The kind of identity by which a node tells its initiator's name.
pub const INITIATOR_IDENTITY: &str = "iscsi";

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
    clients: BTreeMap<Seat, NodeId>,
    initiators: BTreeMap<String, NodeId>,
    /// The initiators' names by their numbers, as the cluster told them last.
    names: BTreeMap<u16, String>,
}

/// The nodes that were named to this process, by their clients and initiators. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    known: Arc<Mutex<Known>>,
    /// Whether the back end reaches all clusters of a location.
    everywhere: bool,
    /// The only cluster that it reaches, where that is known.
    cluster: Option<String>,
}

impl Nodes {
    /// Of a back end that reaches all clusters of a location, or only this one.
    pub(super) fn new(everywhere: bool, cluster: Option<&str>) -> Self {
        Self { known: Arc::default(), everywhere, cluster: cluster.map(str::to_owned) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a node and tells which client it is.
    ///
    /// # Errors
    /// `NotFound` where it is none; `FailedPrecondition` where it is not known of which cluster it is, or it is one that this
    /// back end does not reach.
    pub fn learn(&self, node: &NodeId) -> Result<Seat> {
        let seat = self.seat(node)?;
        self.known().clients.insert(seat.clone(), node.clone());
        Ok(seat)
    }

    fn seat(&self, node: &NodeId) -> Result<Seat> {
        let told = client(node).ok_or_else(|| {
            Error::not_found(
                "the node has not told which StorPool client it is: is the node's driver running?",
            )
            .with("node", node)
        })?;
        let refuse = |text: String| Err(Error::precondition(text).with("node", node));
        let own = self.cluster.as_deref().unwrap_or_default();
        match (self.everywhere, &told.cluster) {
            (true, None) => refuse(
                "the node has not told which cluster of the location it is in: set SP_CLUSTER_ID in its storpool.conf, or \
                 \"node.clusterId\""
                    .to_owned(),
            ),
            (true, Some(_)) => Ok(told),
            (false, Some(cluster)) if self.is_elsewhere(node) => refuse(format!(
                "the node is in the StorPool cluster {cluster}, and the management API is that of {own}: if both are in one \
                 location, set \"multiCluster: true\""
            )),
            (false, ..) => Ok(Seat { cluster: None, ..told }),
        }
    }

    /// Whether a node is a client of a cluster that this back end does not reach, so that it has nothing from here.
    #[must_use]
    pub fn is_elsewhere(&self, node: &NodeId) -> bool {
        let told = client(node).and_then(|seat| seat.cluster);
        !self.everywhere && told.zip(self.cluster.as_ref()).is_some_and(|(cluster, own)| cluster != *own)
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
    pub fn is(&self, holder: &Seat, node: &NodeId) -> bool {
        match holder.client < INITIATOR {
            true => self.seat(node).is_ok_and(|seat| seat == *holder),
            false => self.known().names.get(&holder.client).is_some_and(|name| initiator(node) == Some(name)),
        }
    }

    /// Whether a client was named to this process as this node's, which may tell another number by now, or none.
    #[must_use]
    pub fn was(&self, holder: &Seat, node: &NodeId) -> bool {
        self.known().clients.get(holder).is_some_and(|known| known.name() == node.name())
    }

    /// The node of a client or initiator. Of one that was not named yet, the number is the name too.
    ///
    /// # Errors
    /// `InvalidArgument` where the initiator of a node that is not ours has too long a name for a node id.
    pub fn of(&self, holder: &Seat) -> Result<NodeId> {
        let known = self.known();
        if holder.client < INITIATOR {
            let unnamed = || {
                let identity = [(IDENTITY.to_owned(), holder.to_string())];
                NodeId::new(&format!("client-{holder}"), identity.into())
            };
            return known.clients.get(holder).cloned().map_or_else(unnamed, Ok);
        }
        let name = known.names.get(&holder.client).cloned().unwrap_or_default();
        let unnamed = || {
            let identity = [(INITIATOR_IDENTITY.to_owned(), name.clone())];
            NodeId::new(&format!("initiator-{}", holder.client - INITIATOR), identity.into())
        };
        known.initiators.get(&name).cloned().map_or_else(unnamed, Ok)
    }

    /// A client or initiator for people: with its node's name, where that is known.
    #[must_use]
    pub fn told(&self, holder: &Seat) -> String {
        let known = self.known();
        let (what, node) = match holder.client < INITIATOR {
            true => (format!("client {holder}"), known.clients.get(holder)),
            false => {
                let name = known.names.get(&holder.client).map_or("", String::as_str);
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

    #[test]
    fn initiators_are_known_by_their_names() {
        let node: NodeId = "beta;iscsi=iqn.2026-01.example:beta".parse().unwrap();
        assert_eq!(initiator(&node), Some("iqn.2026-01.example:beta"));
        for none in ["beta", "beta;iscsi=beta", "beta;iscsi=iqn.A", "beta;storpool=3"] {
            assert_eq!(initiator(&none.parse().unwrap()), None, "{none}");
        }
        let (nodes, number) = (Nodes::default(), INITIATOR | 3);
        nodes.note([(number, "iqn.2026-01.example:beta".to_owned())].into());
        assert_eq!(nodes.told(&Seat::of_initiator(number)), "initiator iqn.2026-01.example:beta");
        assert_eq!(
            nodes.of(&Seat::of_initiator(number)).unwrap().to_string(),
            "initiator-3;iscsi=iqn.2026-01.example:beta"
        );
        assert!(
            nodes.is(&Seat::of_initiator(number), &node)
                && !nodes.is(&Seat::of_initiator(INITIATOR), &node)
                && !nodes.is(&Seat::of_initiator(3), &node)
        );
        let other: NodeId = "gamma;storpool=3".parse().unwrap();
        assert!(
            nodes.is(&Seat::of_initiator(3), &other) && !nodes.is(&Seat::of_initiator(INITIATOR | 9), &other)
        );
        nodes.learn_initiator(&node);
        assert_eq!(nodes.told(&Seat::of_initiator(number)), "beta (initiator iqn.2026-01.example:beta)");
        assert_eq!(nodes.of(&Seat::of_initiator(number)).unwrap(), node);
    }
}
