//! Which server a Node is: what kubelet registered for it, held against a node id.
//!
//! A node id names a server by the Node's name and by its identities in the clouds (`worker-1;nova=<uuid>`). Kubelet
//! writes the id that NodeGetInfo told into the CSINode object of the Node's name. A Node can be deleted and made anew
//! under the same name for another server; its CSINode then has another id.

use k8s_openapi::api::storage::v1::CSINode;

use crate::volume::NodeId;

/// How a server that was asked about compares with one that is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The record names it: the same name, and all of its identities. A record may have more, of a back end that was
    /// configured later.
    Same,
    /// The record names another: another name, or another identity of the same kind.
    Other,
    /// The record lacks an identity, so it names perhaps this server and perhaps another.
    Unknown,
}

/// Compares.
pub(super) fn compare(asked: &NodeId, record: &NodeId) -> Match {
    let mut lacks = false;
    for (kind, value) in asked.identities() {
        match record.identity(kind) {
            Some(known) if known != value => return Match::Other,
            Some(_) => {}
            None => lacks = true,
        }
    }
    match asked.name() == record.name() {
        false => Match::Other,
        true if lacks => Match::Unknown,
        true => Match::Same,
    }
}

/// Whether both have an identity in common: the same server, whatever the Node is called.
pub(super) fn is_one_machine(one: &NodeId, other: &NodeId) -> bool {
    one.identities().any(|(kind, value)| other.identity(kind) == Some(value))
}

/// The server that is registered for a Node at present. None while the driver's node part is not running there.
pub(super) fn registered(node: &CSINode, driver: &str) -> Option<NodeId> {
    let entry = node.spec.drivers.iter().find(|entry| entry.name == driver)?;
    entry.node_id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_a_server_by_its_name_and_all_of_its_identities() {
        for (asked, record, wanted) in [
            ("w", "w", Match::Same),
            ("w", "w;nova=1", Match::Same),
            ("w;nova=1", "w;nova=1;storpool=7", Match::Same),
            ("w", "x", Match::Other),
            ("w;nova=1", "x;nova=1", Match::Other),
            ("w;nova=1", "w;nova=2", Match::Other),
            ("w;nova=1;storpool=7", "w;storpool=8", Match::Other),
            ("w;nova=1", "w", Match::Unknown),
            ("w;nova=1", "w;storpool=7", Match::Unknown),
        ] {
            let (asked, record): (NodeId, NodeId) = (asked.parse().unwrap(), record.parse().unwrap());
            assert_eq!(compare(&asked, &record), wanted, "{asked} {record}");
        }
    }
}
