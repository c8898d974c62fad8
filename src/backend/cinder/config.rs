//! What an operator can set for a back end of kind `cinder`. A node gets the same settings and reads no credentials.

use std::collections::BTreeMap;
use std::path::Path;

use super::connector::settings::NodeSettings;
use super::dialect::{Dialect, Feature};
use crate::volume::{Bytes, SizeRules, Topology};

pub use super::credentials::{Choice, Interface, Source, Variables};
pub use crate::http::{Rate, Rates};

/// Where `clouds.yaml` is when nothing else is said, as for all tools of OpenStack.
pub const CLOUDS_FILE: &str = "/etc/openstack/clouds.yaml";
/// Whose the volumes are when nothing else is said.
pub const CLUSTER: &str = "kubernetes";
/// The value of the place's segment where zones do not matter.
const REACHABLE: &str = "reachable";
/// The longest value of a Kubernetes label.
const LONGEST_LABEL: usize = 63;

/// Settings of one `cinder` back end.
#[derive(Clone, Debug, PartialEq)]
pub struct CinderConfig {
    /// What kind of cloud it is.
    pub dialect: &'static Dialect,
    /// Where the credentials come from.
    pub source: Source,
    /// What stands above what they say.
    pub choice: Choice,
    /// How fast each service of the cloud may be called.
    pub rates: Rates,
    /// Volumes that one server can have at once, where the operator knows better than the cloud tells.
    pub per_server: Option<u32>,
    /// Volumes of this cluster all together, beside the cloud's own quota.
    pub max_volumes: Option<u64>,
    /// Bytes of this cluster's volumes all together, beside the cloud's own quota.
    pub max_bytes: Option<Bytes>,
    /// Sizes that the cloud can make, multiples of a gibibyte, where the operator knows better than what is usual.
    pub sizes: Option<SizeRules>,
    /// The same, and limits of the region, of single types by their names.
    pub types: BTreeMap<String, TypeLimits>,
    /// Whose the volumes are: those of other clusters in the same project are neither listed nor cleaned up.
    pub cluster: String,
    /// What the cloud's names begin with, before the CSI name.
    pub name_prefix: String,
    /// The key of the segment that tells in which zone a server or a volume is; `None`: everything is reached from
    /// everywhere.
    pub zone_key: Option<String>,
    /// The key of the segment that tells which server a node is, for volumes that only one server can ever have; `None`: there
    /// are none.
    pub server_key: Option<String>,
    /// Whether a volume of any zone can be reached from each server, and zones are left to the cloud.
    pub ignore_volume_az: bool,
    /// The type of volumes whose StorageClass names none; `None`: the cloud's default.
    pub volume_type: Option<String>,
    /// The zone of volumes for which neither their StorageClass nor their place names one.
    pub availability_zone: Option<String>,
    /// Group types whose snapshots show all volumes at one moment, as the operator knows: clouds do not tell users.
    pub consistent_group_types: Vec<String>,
    /// What nodes alone read.
    pub node: NodeSettings,
}

/// What an operator says of a type of volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeLimits {
    /// Sizes that it has.
    pub sizes: Option<SizeRules>,
    /// Volumes of it in the region, whoever made them.
    pub volumes: Option<u64>,
    /// Bytes of it in the region, likewise.
    pub bytes: Option<Bytes>,
}

impl CinderConfig {
    /// The defaults of an OpenStack, with credentials from there.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self::of(Dialect::OPENSTACK, source)
    }

    /// The defaults of a kind of cloud, with credentials from there.
    #[must_use]
    pub fn of(dialect: &'static Dialect, source: Source) -> Self {
        Self {
            dialect,
            source,
            choice: Choice::default(),
            rates: Rates::default(),
            per_server: None,
            max_volumes: None,
            max_bytes: None,
            sizes: None,
            types: BTreeMap::new(),
            cluster: CLUSTER.to_owned(),
            name_prefix: String::new(),
            zone_key: None,
            server_key: None,
            ignore_volume_az: !dialect.can(Feature::Zones),
            volume_type: None,
            availability_zone: None,
            consistent_group_types: Vec::new(),
            node: NodeSettings::default(),
        }
    }

    /// The credentials of a `clouds.yaml`.
    #[must_use]
    pub fn clouds(file: &Path, cloud: Option<String>) -> Source {
        Source::Clouds { file: file.to_owned(), cloud }
    }

    /// The sizes of volumes of a type, by its name; `None`: of the type of volumes for which none is named.
    #[must_use]
    pub fn sizes(&self, volume_type: Option<&str>) -> SizeRules {
        let name = self.type_name(volume_type);
        let own = name.and_then(|name| self.types.get(name)?.sizes);
        let usual = self.dialect.rules(name).map_or(self.dialect.sizes, |rules| rules.sizes);
        own.or(self.sizes).unwrap_or(usual)
    }

    /// The name of the type of volumes for which this one is named, or none.
    #[must_use]
    pub fn type_name<'a>(&'a self, volume_type: Option<&'a str>) -> Option<&'a str> {
        let usual = || self.dialect.rules(None).map(|rules| rules.name);
        volume_type.or(self.volume_type.as_deref()).or_else(usual)
    }

    /// The place of a server or volume in this zone, in this back end's own segment. Nodes and the controller both say
    /// it with this function, so that they mean the same.
    #[must_use]
    pub fn place(&self, zone: Option<&str>) -> Topology {
        let Some(key) = &self.zone_key else { return Topology::default() };
        let value = match zone {
            Some(zone) if !self.ignore_volume_az => label(zone),
            _ => REACHABLE.to_owned(),
        };
        Topology([(key.clone(), value)].into())
    }

    /// The place of a server, or of a volume that no other server can have, in a cloud without zones.
    #[must_use]
    pub fn place_of_server(&self, server: &str) -> Topology {
        let mut place = self.place(None);
        place.0.extend(self.server_key.clone().map(|key| (key, label(server))));
        place
    }
}

/// A zone's name as the value of a Kubernetes label: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit
/// at both ends. Most names are that as they are.
#[must_use]
pub fn label(zone: &str) -> String {
    let sound = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let text: String = zone.chars().map(sound).collect();
    let ends = |c: char| !c.is_ascii_alphanumeric();
    let text = text.trim_start_matches(ends);
    text.get(..LONGEST_LABEL.min(text.len())).unwrap_or_default().trim_end_matches(ends).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_volumes_of_one_zone_meet() {
        let mut config = CinderConfig::new(CinderConfig::clouds(Path::new("/c.yaml"), None));
        assert!(config.place(Some("az1")).0.is_empty());
        config.zone_key = Some("csi.fairlead.dev/east".to_owned());
        let place = config.place(Some("az 1 (old)"));
        assert_eq!(place.0["csi.fairlead.dev/east"], "az_1__old");
        assert!(!config.place(Some("az2")).contains(&place));
        config.ignore_volume_az = true;
        assert_eq!(config.place(Some("az1")), config.place(None));
    }

    #[test]
    fn a_volume_of_one_server_is_reached_from_there_alone() {
        let mut config = CinderConfig::new(CinderConfig::clouds(Path::new("/c.yaml"), None));
        config.zone_key = Some("csi.fairlead.dev/east".to_owned());
        assert_eq!(config.place_of_server("42"), config.place(None));
        config.server_key = Some("csi.fairlead.dev/east.server".to_owned());
        let [here, there] = ["42", "43"].map(|server| config.place_of_server(server));
        assert!(config.place(None).contains(&here) && here.contains(&here) && !here.contains(&there));
        assert!(!here.contains(&config.place(None)), "a node that does not tell its server cannot have it");
    }

    #[test]
    fn a_zone_becomes_a_label() {
        assert_eq!(label("nova"), "nova");
        assert_eq!(label("_ä.b-"), "b");
        assert_eq!(label(&"x".repeat(70)).len(), 63);
        assert_eq!(label("..."), "");
    }
}
