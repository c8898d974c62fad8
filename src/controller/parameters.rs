//! What Kubernetes itself adds to parameters, told apart from what is meant for the back end.

use crate::volume::{Owner, Parameters};

/// The prefix of Kubernetes' own keys.
const RESERVED: &str = "csi.storage.k8s.io/";

/// Splits what external-provisioner's `--extra-create-metadata` adds from the rest. Reserved keys that are not
/// known are dropped: they are never meant for a back end.
pub(super) fn split(parameters: Parameters) -> (Parameters, Owner) {
    let mut owner = Owner::default();
    let mut rest = Parameters::default();
    for (key, value) in parameters.0 {
        match key.strip_prefix(RESERVED) {
            Some("pvc/name") => owner.claim = Some(value),
            Some("pvc/namespace") => owner.namespace = Some(value),
            Some("pv/name") => owner.volume = Some(value),
            Some(_) => {}
            None => {
                rest.0.insert(key, value);
            }
        }
    }
    (rest, owner)
}
