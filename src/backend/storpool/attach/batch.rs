//! Orders of the same moment go to the cluster in one call.
//!
//! An order goes at once where none is under way (in a crowd, after a moment), and those that come meanwhile go together as
//! soon as that one is answered. A call does all or nothing, so one that is refused is taken apart until the
//! bad order fails alone. A client that does not answer holds up its own orders, and the others only for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::oneshot;

use super::crowd::Crowd;
use super::quoted;
use crate::backend::storpool::client::{Client, Entry, Failure, Refusal, Retry};
use crate::error::{Error, Result};

/// Orders in one call.
const MOST: usize = 256;
/// From then on a call is slow: others no longer wait for it, and its clients' orders go alone.
const SLOW: Duration = Duration::from_millis(250);
/// How long a call that is about several clients waits for them. The slow ones are then waited for alone.
const TOGETHER: Duration = Duration::from_secs(2);

/// Why an order was not carried out.
#[derive(Clone, Debug)]
pub(super) enum Undone {
    /// The cluster refused it.
    Refused(Refusal),
    /// It is not known whether it was.
    Failed(Error),
}

struct Waiting {
    entry: Entry,
    tell: oneshot::Sender<Result<(), Undone>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Whether a call is under way that others wait for.
    busy: bool,
    /// Clients with a slow call under way.
    slow: BTreeSet<u16>,
}

/// Those who collect orders, one for the clients of each cluster.
pub(super) struct Batches {
    client: Arc<Client>,
    timeout: Duration,
    crowd: Crowd,
    clusters: Mutex<BTreeMap<Option<String>, Arc<Collector>>>,
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Batches {
    /// Sends orders with this client, which waits so long for a cluster's clients.
    pub(super) fn new(client: Arc<Client>, timeout: Duration, crowd: &Crowd) -> Self {
        Self { client, timeout, crowd: crowd.clone(), clusters: Mutex::default() }
    }

    /// Has an order about a client of this cluster carried out.
    ///
    /// # Errors
    /// Why it was not.
    pub(super) async fn carry_out(&self, cluster: Option<&str>, entry: Entry) -> Result<(), Undone> {
        let cluster = cluster.map(str::to_owned);
        let collector = {
            let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                Arc::new(Collector {
                    client: Arc::clone(&self.client),
                    cluster: cluster.clone(),
                    timeout: self.timeout,
                    crowd: self.crowd.clone(),
                    state: Mutex::default(),
                })
            };
            Arc::clone(clusters.entry(cluster.clone()).or_insert_with(new))
        };
        collector.carry_out(entry).await
    }
}

/// Collects a cluster's orders and sends them.
struct Collector {
    client: Arc<Client>,
    cluster: Option<String>,
    timeout: Duration,
    crowd: Crowd,
    state: Mutex<State>,
}

impl Collector {
    async fn carry_out(self: &Arc<Self>, entry: Entry) -> Result<(), Undone> {
        let (tell, told) = oneshot::channel();
        self.lock().waiting.push(Waiting { entry, tell });
        self.pump();
        told.await.unwrap_or_else(|_| Err(Undone::Failed(Error::internal("the order was dropped"))))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that panics runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits, where nothing is under way that it has to wait for.
    fn pump(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.busy || state.waiting.is_empty() {
            return;
        }
        state.busy = true;
        drop(state);
        tokio::spawn(Arc::clone(self).fly());
    }

    /// What goes now: orders that go together, and such that each go alone.
    fn take(&self) -> (Vec<Waiting>, Vec<Waiting>) {
        let mut state = self.lock();
        let State { waiting, slow, .. } = &mut *state;
        let (mut batch, mut alone, mut rest, mut seen) =
            (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        for order in waiting.drain(..) {
            // What two orders for one volume in one call come to is nowhere said.
            let fits = batch.len() < MOST && !seen.contains(&order.entry.volume);
            match (fits, slow.contains(&order.entry.client)) {
                (true, slow) => {
                    seen.insert(order.entry.volume.clone());
                    if slow { alone.push(order) } else { batch.push(order) }
                }
                (false, _) => rest.push(order),
            }
        }
        *waiting = rest;
        (batch, alone)
    }

    async fn fly(self: Arc<Self>) {
        self.crowd.gather().await;
        let (batch, alone) = self.take();
        for order in alone {
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.send(vec![order]).await });
        }
        let clients: BTreeSet<u16> = batch.iter().map(|order| order.entry.client).collect();
        let mut call = self.send(batch);
        let slow = tokio::time::timeout(SLOW, &mut call).await.is_err();
        if slow {
            self.lock().slow.extend(&clients);
        }
        self.lock().busy = false;
        self.pump();
        if slow {
            call.await;
            self.lock().slow.retain(|client| !clients.contains(client));
        }
    }

    /// Sends orders in one call, and in several where that is refused.
    fn send(&self, batch: Vec<Waiting>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if batch.is_empty() {
                return;
            }
            let several =
                batch.iter().any(|order| Some(order.entry.client) != batch.first().map(|o| o.entry.client));
            let timeout = if several { TOGETHER.min(self.timeout) } else { self.timeout };
            let entries: Vec<_> = batch.iter().map(|order| order.entry.clone()).collect();
            match self.reassign(&entries, timeout).await {
                Ok(()) => tell(batch, || Ok(())),
                Err(Undone::Failed(error)) => tell(batch, || Err(Undone::Failed(error.clone()))),
                Err(Undone::Refused(refusal)) if batch.len() == 1 => {
                    tell(batch, || Err(Undone::Refused(refusal.clone())));
                }
                Err(Undone::Refused(refusal)) => {
                    let parts = split(batch, &refusal).into_iter().map(|part| self.send(part));
                    join_all(parts).await;
                }
            }
        })
    }

    /// One call. To send it again does no harm: who has a volume gets it once, and who has none loses none.
    async fn reassign(&self, entries: &[Entry], timeout: Duration) -> Result<(), Undone> {
        let mut retry = Retry::default();
        loop {
            match self.client.reassign(self.cluster.as_deref(), entries, timeout).await {
                Ok(()) => return Ok(()),
                Err(Failure::Refused(refusal)) if !refusal.transient => return Err(Undone::Refused(refusal)),
                Err(failure) => retry.again(failure).await.map_err(Undone::Failed)?,
            }
        }
    }
}

fn tell(batch: Vec<Waiting>, result: impl Fn() -> Result<(), Undone>) {
    for order in batch {
        // Who does not wait any more needs no answer.
        drop(order.tell.send(result()));
    }
}

/// Takes orders apart that were refused together: the ones that the refusal names, else by client, else in halves.
fn split(batch: Vec<Waiting>, refusal: &Refusal) -> Vec<Vec<Waiting>> {
    let named = |order: &Waiting| refusal.text.contains(&quoted(&order.entry.volume));
    let (bad, good): (Vec<_>, Vec<_>) = batch.into_iter().partition(named);
    if !bad.is_empty() {
        let alone = bad.into_iter().map(|order| vec![order]);
        return alone.chain([good]).filter(|part| !part.is_empty()).collect();
    }
    let mut parts: Vec<Vec<Waiting>> = Vec::new();
    let mut good = good;
    good.sort_by_key(|order| order.entry.client);
    for order in good {
        match parts.last_mut() {
            Some(part) if part.first().is_some_and(|first| first.entry.client == order.entry.client) => {
                part.push(order);
            }
            _ => parts.push(vec![order]),
        }
    }
    if let [only] = parts.as_mut_slice() {
        let half = only.split_off(only.len() / 2);
        parts.push(half);
    }
    parts
}
