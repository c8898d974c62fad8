//! Back ends that see the same volumes.
//!
//! A volume bears the `clusterId` of the back end that made it, not that back end's name. So two back ends on one cloud with
//! one `clusterId` take each other's volumes for their own.

use super::BackendConfig;
use crate::backend::cinder::config::{CinderConfig, Source};
use crate::backend::storpool::config::StorpoolConfig;
use crate::volume::BackendName;

/// What two back ends have in common that each must have for itself.
pub(super) fn common(one: &BackendConfig, other: &BackendConfig) -> Option<&'static str> {
    match (one, other) {
        (BackendConfig::File(one), BackendConfig::File(other)) => {
            (one.directory == other.directory).then_some("directory")
        }
        (BackendConfig::Cinder(one), BackendConfig::Cinder(other)) => (one.source == other.source
            && one.choice.region == other.choice.region)
            .then_some("cloud and region"),
        // One cluster may be several back ends, as long as each knows its own volumes.
        (BackendConfig::Storpool(one), BackendConfig::Storpool(other)) if share(one, other) => {
            if one.prefix == other.prefix {
                return Some("cluster, \"clusterId\" and \"namePrefix\"");
            }
            let nested = one.prefix.begins(other.prefix.as_str()) || other.prefix.begins(one.prefix.as_str());
            nested.then_some("cluster and \"clusterId\", and one \"namePrefix\" begins with the other")
        }
        _ => None,
    }
}

/// Whether both are the same StorPool and mark their volumes alike, as far as the settings tell.
fn share(one: &StorpoolConfig, other: &StorpoolConfig) -> bool {
    let endpoint = one.endpoints.iter().any(|endpoint| other.endpoints.contains(endpoint));
    let conf = one.endpoints == other.endpoints && one.conf_file == other.conf_file;
    (endpoint || conf) && one.cluster == other.cluster
}

/// Tells the StorPool back ends that share a `clusterId` by what they know each other's volumes.
pub(super) fn introduce(backends: &mut [(BackendName, BackendConfig)]) {
    let all: Vec<_> = backends
        .iter()
        .filter_map(|(name, backend)| match backend {
            BackendConfig::Storpool(config) => Some((name.clone(), config.as_ref().clone())),
            _ => None,
        })
        .collect();
    for (name, backend) in backends {
        if let BackendConfig::Storpool(config) = backend {
            let siblings = all.iter().filter(|(other, known)| other != name && share(config, known));
            config.siblings = siblings.map(|(_, known)| known.prefix.clone()).collect();
        }
    }
}

/// Pairs of back ends that are perhaps one cloud, each as a text. Two files may name two clouds by the same entry, as the
/// Secrets of two back ends often do, so this is no fault.
pub(super) fn doubts(backends: &[(BackendName, BackendConfig)]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, (name, backend)) in backends.iter().enumerate() {
        for (twin, other) in backends.iter().take(at) {
            if let (BackendConfig::Cinder(one), BackendConfig::Cinder(other)) = (other, backend)
                && perhaps_one(one, other)
            {
                found.push(format!(
                    "the back ends {:?} and {:?} have credentials of different files, but the same entry there, region \
                     and \"clusterId\" ({:?}): if both are the same project of one cloud, each takes the other's volumes \
                     for its own; then give each its own \"clusterId\" before it has volumes, or leave one out",
                    twin.as_str(),
                    name.as_str(),
                    one.cluster
                ));
            }
        }
    }
    found
}

fn perhaps_one(one: &CinderConfig, other: &CinderConfig) -> bool {
    let entry = match (&one.source, &other.source) {
        (Source::Clouds { cloud: one, .. }, Source::Clouds { cloud: other, .. })
        | (Source::Conf { cloud: one, .. }, Source::Conf { cloud: other, .. }) => one == other,
        _ => false,
    };
    entry && one.choice.region == other.choice.region && one.cluster == other.cluster
}
