//! What this node is to the controller.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::node::NodeInfo;
use crate::node::core::Core;
use crate::volume::NodeId;

impl Core {
    /// Joins every back end, which is idempotent, and puts together what they tell.
    ///
    /// CSI has one cap for all back ends of a node: the smallest one is told, so that none is ever exceeded by what the
    /// scheduler believes. The back ends count each their own once more when they attach.
    pub(super) async fn info(&self) -> Result<NodeInfo> {
        let mut identities = BTreeMap::new();
        let mut topology = self.config.topology.clone();
        let mut max_volumes = self.config.max_volumes;
        for (name, presence) in self.presences().await? {
            if let Some((kind, value)) = presence.identity {
                same(&mut identities, "identity", kind, value)
                    .map_err(|error| error.with("backend", name))?;
            }
            for (key, value) in presence.topology.0 {
                same(&mut topology.0, "topology segment", key, value)
                    .map_err(|error| error.with("backend", name))?;
            }
            max_volumes = [max_volumes, presence.max_volumes].into_iter().flatten().min();
        }
        Ok(NodeInfo { id: NodeId::new(&self.config.name, identities)?, max_volumes, topology })
    }
}

/// Adds a pair that nobody has told otherwise: two truths about one node would send volumes to the wrong place.
fn same(known: &mut BTreeMap<String, String>, what: &str, key: String, value: String) -> Result<()> {
    match known.get(&key) {
        Some(other) if *other != value => Err(Error::precondition(format!(
            "this node has two values for the {what} {key:?}: {other:?} and {value:?}; configure one of them away"
        ))),
        _ => {
            known.insert(key, value);
            Ok(())
        }
    }
}
