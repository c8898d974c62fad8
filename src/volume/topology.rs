//! Where a volume can be reached from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Segments such as `topology.kubernetes.io/zone: z1`. Empty means everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topology(pub BTreeMap<String, String>);

impl Topology {
    /// Whether a place with these segments lies within `self`: every segment of `self` is there with the same value.
    #[must_use]
    pub fn contains(&self, place: &Self) -> bool {
        self.0.iter().all(|(key, value)| place.0.get(key) == Some(value))
    }
}

/// Where a new volume must and should be reachable from (CSI spec, TopologyRequirement). Both empty: anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyRequirement {
    /// The volume must be reachable from at least one of these.
    pub requisite: Vec<Topology>,
    /// Best first.
    pub preferred: Vec<Topology>,
}

impl TopologyRequirement {
    /// Whether a volume reachable from `reach` serves at least one place that is asked for.
    #[must_use]
    pub fn met_by(&self, reach: &Topology) -> bool {
        let places = if self.requisite.is_empty() { &self.preferred } else { &self.requisite };
        places.is_empty() || places.iter().any(|place| reach.contains(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(pairs: &[(&str, &str)]) -> Topology {
        Topology(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_requirement_is_met_from_inside() {
        let requirement = TopologyRequirement {
            requisite: vec![topology(&[("zone", "a"), ("rack", "1")]), topology(&[("zone", "b")])],
            preferred: vec![],
        };
        assert!(requirement.met_by(&Topology::default()));
        assert!(requirement.met_by(&topology(&[("zone", "b")])));
        assert!(!requirement.met_by(&topology(&[("zone", "c")])));
        assert!(TopologyRequirement::default().met_by(&topology(&[("zone", "c")])));
    }
}
