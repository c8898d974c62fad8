//! The configured back ends of one process, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::volume::{BackendName, Parameters, VolumeId};

/// The StorageClass parameter that picks a back end.
const PARAMETER: &str = "backend";

/// A back end with its name.
type Named<'a> = (&'a BackendName, &'a Arc<dyn Backend>);

/// The back ends of a controller.
#[derive(Debug)]
pub struct Backends {
    map: BTreeMap<BackendName, Arc<dyn Backend>>,
    foreign: Option<BackendName>,
}

/// Collects back ends; see [`Backends::builder`].
#[derive(Debug, Default)]
pub struct BackendsBuilder {
    map: BTreeMap<BackendName, Arc<dyn Backend>>,
    foreign: Option<BackendName>,
}

impl BackendsBuilder {
    /// Adds a back end; one of the same name is replaced.
    #[must_use]
    pub fn add(mut self, name: BackendName, backend: Arc<dyn Backend>) -> Self {
        self.map.insert(name, backend);
        self
    }

    /// Names the back end that takes over bare native ids, made by another driver.
    #[must_use]
    pub fn foreign(mut self, name: Option<BackendName>) -> Self {
        self.foreign = name;
        self
    }

    /// The finished set.
    #[must_use]
    pub fn build(self) -> Backends {
        Backends { map: self.map, foreign: self.foreign }
    }
}

impl Backends {
    /// An empty set to add to.
    #[must_use]
    pub fn builder() -> BackendsBuilder {
        BackendsBuilder::default()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&BackendName, &Arc<dyn Backend>)> {
        self.map.iter()
    }

    /// Whether one of them takes over volumes that another driver made.
    #[must_use]
    pub const fn take_over(&self) -> bool {
        self.foreign.is_some()
    }

    /// The back end of an id.
    ///
    /// # Errors
    /// `NotFound`: an object in a back end that is not configured is none of ours.
    pub fn get(&self, name: &BackendName) -> Result<&Arc<dyn Backend>> {
        self.map.get(name).ok_or_else(|| {
            Error::not_found(format!("no back end {name:?} is configured here: known are {}", self.names()))
        })
    }

    /// A volume's id. Where a back end takes over foreign handles, a text without `/` is an id of that one.
    ///
    /// # Errors
    /// `NotFound` for what cannot be an id of ours.
    pub fn volume_id(&self, text: &str) -> Result<VolumeId> {
        VolumeId::adopt(text, self.foreign.as_ref())
    }

    /// The back end that parameters pick by the key `backend` (the only one where they name none), and the
    /// parameters that are left for it.
    ///
    /// # Errors
    /// `InvalidArgument` where the name is unknown, or missing while there are several.
    pub fn choose(&self, parameters: &Parameters) -> Result<(&BackendName, &Arc<dyn Backend>, Parameters)> {
        let mut rest = parameters.clone();
        let chosen = match rest.0.remove(PARAMETER) {
            Some(name) => self.map.iter().find(|(known, _)| known.as_str() == name).ok_or_else(|| {
                Error::invalid(format!(
                    "parameter {PARAMETER:?} has the value {name:?}: allowed is one of {}",
                    self.names()
                ))
            })?,
            None => match (self.map.iter().next(), self.map.len()) {
                (Some(only), 1) => only,
                _ => {
                    return Err(Error::invalid(format!(
                        "parameter {PARAMETER:?} is missing: several back ends are configured; name one of {}",
                        self.names()
                    )));
                }
            },
        };
        Ok((chosen.0, chosen.1, rest))
    }

    /// The back ends that parameters allow: the one that they pick, or all where they name none. With the parameters
    /// that are left for them.
    ///
    /// # Errors
    /// `InvalidArgument` where the name is unknown.
    pub fn candidates(&self, parameters: &Parameters) -> Result<(Vec<Named<'_>>, Parameters)> {
        if parameters.0.contains_key(PARAMETER) {
            return self.choose(parameters).map(|(name, backend, rest)| (vec![(name, backend)], rest));
        }
        Ok((self.map.iter().collect(), parameters.clone()))
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.map.keys().map(BackendName::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
