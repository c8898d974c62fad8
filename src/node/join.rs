//! Which back ends this node belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future;
use tokio::sync::Notify;

use crate::backend::Presence;
use crate::error::{Error, Kind, Result};
use crate::flight::Flights;
use crate::node::core::Core;
use crate::volume::BackendName;

/// How long NodeGetInfo waits for a back end: kubelet gives up after two minutes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the back ends.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// Dead storage holds a thread, so it is asked once for all who want to know.
    flights: Flights<Presence>,
    known: Mutex<Known>,
    renewal: OnceLock<Arc<Notify>>,
}

#[derive(Debug, Default)]
struct Known {
    /// What they told last.
    presences: BTreeMap<BackendName, Presence>,
    /// Those without which this node was told of.
    left_out: BTreeSet<BackendName>,
}

impl Joins {
    /// Where it is told that NodeGetInfo would say more now. Only where somebody asks for this is a back end left out.
    pub(super) fn renewal(&self) -> Arc<Notify> {
        Arc::clone(self.renewal.get_or_init(Arc::default))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that panics runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, name: &BackendName, presence: &Presence) {
        let mut known = self.known();
        known.presences.insert(name.clone(), presence.clone());
        if known.left_out.remove(name)
            && let Some(renewal) = self.renewal.get()
        {
            tracing::info!(backend = %name, "a back end that this node was told of without is joined now");
            renewal.notify_one();
        }
    }

    /// What a back end that cannot be joined now told before; else it is left out from now on.
    fn recall(&self, name: &BackendName) -> Option<Presence> {
        let mut known = self.known();
        let presence = known.presences.get(name).cloned();
        if presence.is_none() {
            known.left_out.insert(name.clone());
        }
        presence
    }
}

impl Core {
    /// Joins a back end, however long that takes.
    pub(super) async fn join(&self, name: &BackendName) -> Result<Presence> {
        let unknown = || Error::not_found(format!("no back end {:?} is configured", name.as_str()));
        let connector = Arc::clone(self.connectors.get(name).ok_or_else(unknown)?);
        let work = async move { connector.join().await };
        let joined = self.joins.flights.run(name.as_str(), "join", work).await;
        let presence = joined.map_err(|error| error.with("backend", name))?;
        self.joins.learn(name, &presence);
        Ok(presence)
    }

    /// What the back ends tell of this node, all asked at once. One whose storage is down must not keep the volumes of the
    /// others from their pods: it is told of as it was before, or left out until it can be joined.
    ///
    /// One that gives nodes an identity is never left out: the controller would take a node id without it for a node that
    /// has none of the back end's volumes, and call them detached.
    pub(super) async fn presences(&self) -> Result<Vec<(&BackendName, Presence)>> {
        let asked = self.connectors.keys().map(|name| async move {
            let late = || {
                let text = format!("the back end did not answer for {} s", PATIENCE.as_secs());
                Error::unknown(Kind::Timeout, text).with("backend", name)
            };
            (name, tokio::time::timeout(PATIENCE, self.join(name)).await.unwrap_or_else(|_| Err(late())))
        });
        let asked = future::join_all(asked).await;
        let one = asked
            .iter()
            .any(|(name, joined)| joined.is_ok() || self.joins.known().presences.contains_key(*name));
        let mut presences = Vec::new();
        for (name, joined) in asked {
            let error = match joined {
                Ok(presence) => {
                    presences.push((name, presence));
                    continue;
                }
                Err(error) => error,
            };
            let identified = self.connectors.get(name).is_none_or(|connector| connector.tells_identity());
            let indispensable = identified || !one || self.joins.renewal.get().is_none();
            if indispensable && !self.joins.known().presences.contains_key(name) {
                return Err(error);
            }
            let recalled = self.joins.recall(name);
            let told = if recalled.is_some() { "as it was before" } else { "without it" };
            tracing::warn!(backend = %name, error = %error.chain(), "a back end cannot be joined: this node is told of {told}");
            presences.extend(recalled.map(|presence| (name, presence)));
        }
        Ok(presences)
    }
}
