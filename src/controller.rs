//! The controller's use cases: provision, attach, snapshot, group, expand, modify, capacity, health, listings.
//!
//! Every change runs as a flight (see [`crate::flight`]): a cancelled call does not stop it, and its retry joins
//! it. All changes of one volume share one key, so that none overtakes another, whatever they are.

mod access;
mod attach;
mod capacity;
mod cluster;
mod expand;
#[cfg(test)]
pub(crate) mod fake;
mod group;
mod health;
mod list;
mod modify;
mod parameters;
mod snapshot;
#[cfg(test)]
mod tests;
mod volume;

use std::any::Any;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

pub use attach::Attach;
pub use capacity::Room;
pub use cluster::{Cluster, Fencing, Notice};
pub use group::Group;
pub use list::Listed;
pub use snapshot::{Cut, SnapshotQuery};
pub use volume::{Origin, Provision, Verdict};

use crate::backend::{Backend, Backends};
use crate::error::{Error, Result};
use crate::flight::{FlightStatus, Flights};
use crate::volume::{BackendName, VolumeId};

/// An object with the back end that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The back end's name.
    pub backend: BackendName,
    /// The object.
    pub item: T,
}

/// Any result of a flight. Its type follows from the operation's name, which is part of a flight's arguments.
type Landed = Arc<dyn Any + Send + Sync>;

/// The controller's use cases over all configured back ends.
#[derive(Debug)]
pub struct Controller {
    backends: Arc<Backends>,
    flights: Flights<Landed>,
    cluster: Option<Arc<dyn Cluster>>,
}

impl Controller {
    /// A controller of these back ends that knows of no cluster. Does no I/O.
    #[must_use]
    pub fn new(backends: Arc<Backends>) -> Self {
        Self { backends, flights: Flights::default(), cluster: None }
    }

    /// The same in a cluster that can be asked.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Arc<dyn Cluster>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// A volume's id from what the caller sent.
    ///
    /// # Errors
    /// `NotFound` for what cannot be an id of ours.
    pub fn volume_id(&self, text: &str) -> Result<VolumeId> {
        self.backends.volume_id(text)
    }

    /// Whether every volume that a caller knows by an id is in the listings, under that id. Not where volumes of another
    /// driver are taken over: they bear none of our marks, and their ids are bare.
    #[must_use]
    pub fn lists_all(&self) -> bool {
        !self.backends.take_over()
    }

    /// Whether there is a back end of this name. Where there is none, an object's absence says nothing.
    #[must_use]
    pub fn is_configured(&self, backend: &BackendName) -> bool {
        self.backends.get(backend).is_ok()
    }

    /// What is under way.
    #[must_use]
    pub fn flights(&self) -> Vec<FlightStatus> {
        self.flights.status()
    }

    /// The back end of an object that is to be taken away.
    ///
    /// An id that does not parse is none of ours, and its deletion succeeds; one that names a back end which is not
    /// configured (any more) may well be ours, and to call it gone would leak it or free a volume that is still attached.
    fn holder(&self, name: &BackendName) -> Result<Arc<dyn Backend>> {
        self.backends.get(name).map(Arc::clone).map_err(|error| {
            Error::precondition(format!(
                "back end {name} is not configured here, so nothing can be taken from it: configure it again"
            ))
            .caused_by(error)
        })
    }

    /// Runs a change as the flight of `key`. The name and the debug form of the order are what a retry must share.
    async fn fly<T, F>(
        &self,
        key: String,
        operation: &'static str,
        order: &(dyn Debug + Sync),
        work: F,
    ) -> Result<T>
    where
        T: Any + Clone + Send + Sync,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let arguments = format!("{operation} {order:?}");
        let boxed = async move { work.await.map(|landed| -> Landed { Arc::new(landed) }) };
        let landed = self.flights.run(key, arguments, boxed).await.map_err(|e| e.during(operation))?;
        landed.downcast_ref::<T>().cloned().ok_or_else(|| {
            Error::internal("a flight landed with the result of another operation").during(operation)
        })
    }
}

/// The key that all changes of one volume share.
fn volume_key(id: &VolumeId) -> String {
    format!("volume/{id}")
}
