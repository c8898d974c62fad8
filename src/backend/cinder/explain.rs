//! Refusals in the words of those who must change something: with what the cloud has instead.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::backend::VolumeOrder;
use crate::backend::cinder::client::{self, Source};
use crate::backend::cinder::model::{VolumeType, Zone};
use crate::error::{Error, Kind, Result};
use crate::volume::Topology;

use super::parameters::Class;
use super::{Cloud, config};

/// The extra spec of types whose volumes several servers can have.
const MULTIATTACH: &str = "multiattach";
/// What an extra spec says where it is so.
const TRUE: &str = "<is> True";

/// The types of volumes, as they were last told.
#[derive(Debug, Default)]
pub(super) struct Types(Mutex<Vec<VolumeType>>);

impl Types {
    pub(super) fn set(&self, types: Vec<VolumeType>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = types;
    }

    pub(super) fn all(&self) -> Vec<VolumeType> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what a volume says of its type and what was asked for, each a name or an id, are the same type.
    pub(super) fn is_same(&self, found: &str, asked: &str) -> bool {
        found == asked || self.find(found).is_some_and(|known| known.id == asked || known.name == asked)
    }

    /// Whether volumes of this type, by name or id, stay with the server that they are made on.
    pub(super) fn binds(&self, kind: &str) -> bool {
        self.find(kind).is_some_and(|known| known.detachable == Some(false))
    }

    /// What people call the type of this name or id.
    pub(super) fn name_of(&self, asked: &str) -> String {
        self.find(asked).map_or_else(|| asked.to_owned(), |known| known.name)
    }

    /// The name of the type of this name or id.
    pub(super) fn name(&self, asked: &str) -> Option<String> {
        self.find(asked).map(|known| known.name)
    }

    /// The type of this name or id.
    pub(super) fn find(&self, asked: &str) -> Option<VolumeType> {
        self.all().into_iter().find(|known| known.name == asked || known.id == asked)
    }

    /// The names of all types; of those for several servers alone.
    fn names(&self, shared: bool) -> String {
        let types = self.all();
        let names: BTreeSet<_> = types
            .iter()
            .filter(|known| !shared || is_shared(known))
            .map(|known| known.name.as_str())
            .collect();
        list(names)
    }

    /// The names of all types.
    pub(super) fn all_names(&self) -> String {
        self.names(false)
    }

    /// Whether there is a type of this name or id.
    pub(super) fn has(&self, asked: &str) -> bool {
        self.find(asked).is_some()
    }

    /// Whether there is a type for several servers.
    pub(super) fn any_shared(&self) -> bool {
        self.all().iter().any(is_shared)
    }
}

fn is_shared(known: &VolumeType) -> bool {
    known.extra_specs.get(MULTIATTACH).is_some_and(|value| value == TRUE)
}

fn list(names: BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

impl Cloud {
    /// The refusal of a create, with what there is instead.
    pub(super) async fn explain(&self, error: Error, order: &client::VolumeOrder) -> Error {
        let text = error.message().to_owned();
        match error.kind() {
            Kind::ResourceExhausted => self.exhausted(error, order.size, order.volume_type.as_deref()).await,
            // "Volume type with name x could not be found." (cinder/exception.py)
            Kind::NotFound if text.starts_with("Volume type") => {
                if let Ok(types) = self.client.volume_types().await {
                    self.types.set(types);
                }
                error
                    .with_kind(Kind::InvalidArgument)
                    .and(format!("the types are {}", self.types.names(false)))
            }
            Kind::NotFound if matches!(order.source, Some(Source::Image(_))) => {
                error.with_kind(Kind::InvalidArgument)
            }
            Kind::InvalidArgument if text.contains("vailability zone") => {
                error.and(format!("the zones are {}", self.fresh_zones().await))
            }
            // cinder/volume/volume_types.py, provision_filter_on_size
            Kind::InvalidArgument
                if text.contains("minimum required size") || text.contains("maximum allowable size") =>
            {
                error.with_kind(Kind::OutOfRange)
            }
            _ => error,
        }
    }

    async fn fresh_zones(&self) -> String {
        let zones = self.client.volume_zones().await.unwrap_or_default();
        list(zones.iter().filter(|zone| zone.state.available).map(|zone| zone.name.as_str()).collect())
    }

    /// Refuses a use by several nodes where the type is known to be for one alone.
    ///
    /// # Errors
    /// `InvalidArgument` naming the types that would do.
    pub(super) fn check_shared(&self, order: &VolumeOrder, volume_type: Option<&str>) -> Result<()> {
        let wanted = order.access.iter().any(|access| access.mode.multi_node());
        let known = volume_type.and_then(|asked| self.types.find(asked));
        match known {
            Some(known) if wanted && !is_shared(&known) => Err(self.not_shared(&known.name)),
            _ => Ok(()),
        }
    }

    /// The refusal of a volume that only one server can have.
    pub(super) fn not_shared(&self, volume_type: &str) -> Error {
        Error::invalid(format!(
            "several nodes are to have the volume, and the type {volume_type} is for one server at a time: name a type \
             with {MULTIATTACH} = {TRUE:?}; there are {}",
            self.types.names(true)
        ))
    }

    /// Whether zones say from where a volume can be reached.
    pub(super) fn zones_matter(&self) -> bool {
        self.config.zone_key.is_some() && !self.config.ignore_volume_az && !self.heritage().ignore_volume_az
    }

    /// Whether volumes can be made that are reached from there.
    pub(super) fn reaches(&self, place: &Topology) -> bool {
        let Some(key) = &self.config.zone_key else { return true };
        match place.0.get(key) {
            None => false,
            Some(_) if !self.zones_matter() => true,
            Some(label) => self.zone_of(label).is_some(),
        }
    }

    /// The zone whose label this is.
    fn zone_of(&self, label: &str) -> Option<String> {
        let found = self.zones.iter().find(|zone: &&Zone| config::label(&zone.name) == label);
        found.map(|zone| zone.name.clone())
    }

    /// The zone to make a volume in; `None`: the cloud's choice, or the source's.
    ///
    /// # Errors
    /// `ResourceExhausted` where no zone can be reached from where it must be.
    pub(super) fn zone(
        &self,
        order: &VolumeOrder,
        class: &Class,
        source: Option<&Source>,
    ) -> Result<Option<String>> {
        let places = order.topology.preferred.iter().chain(&order.topology.requisite);
        let mut places = places.peekable();
        if let (Some(key), true) = (&self.config.zone_key, places.peek().is_some()) {
            let asked: BTreeSet<_> =
                places.clone().filter_map(|place| place.0.get(key)).map(String::as_str).collect();
            if asked.is_empty() {
                return Err(Error::refused(
                    Kind::ResourceExhausted,
                    format!(
                        "none of the places that are asked for has the segment {key:?}: no volume here can be reached from there"
                    ),
                ));
            }
            if self.zones_matter() && !asked.iter().any(|label| self.zone_of(label).is_some()) {
                let known = list(self.zones.iter().map(|zone| zone.name.as_str()).collect());
                return Err(Error::refused(
                    Kind::ResourceExhausted,
                    format!(
                        "the volume is to be in one of the zones {}; the cloud has volumes in {known}",
                        list(asked)
                    ),
                ));
            }
        }
        if class.zone.is_some() {
            return Ok(class.zone.clone());
        }
        // A copy is where its source is, unless the cloud is told otherwise.
        if matches!(source, Some(Source::Volume(_) | Source::Snapshot(_))) {
            return Ok(None);
        }
        let label = |place: &Topology| place.0.get(self.config.zone_key.as_ref()?).cloned();
        let chosen = match self.zones_matter() {
            true => places.filter_map(label).find_map(|label| self.zone_of(&label)),
            false => None,
        };
        Ok(chosen.or_else(|| self.config.availability_zone.clone()))
    }
}
