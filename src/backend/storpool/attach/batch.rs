//! Orders of the same moment go to the cluster in one call.
//!
//! An order goes at once where none is under way (in a crowd, after a moment), and those that come meanwhile go together as
//! soon as that one is answered. A call does all or nothing, so one that is refused is taken apart until the
//! bad order fails alone. A client that does not answer holds up its own orders, and the others only for a moment.
//!
//! The cluster answers when the clients have taken the change over, or their time is up. What it answers then is nowhere
//! said, so an `ok` that took that long is no proof: which clients have taken it over is asked for. Neither is one that
//! comes after a try which failed, for where that one was carried out, the next has nothing to wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::crowd::{Crowd, Near};
use super::quoted;
use crate::backend::storpool::client::{Client, Entry, Failure, Refusal, Retry};
use crate::error::{Error, Kind, Result};

/// Orders in one call.
const MOST: usize = 256;
/// From then on a call is slow: others no longer wait for it, and each of its clients' orders go for themselves.
const SLOW: Duration = Duration::from_millis(250);
/// How long a call that is about several clients waits for them. The slow ones are then waited for alone.
const TOGETHER: Duration = Duration::from_secs(2);
/// How often it is asked whether clients have taken a change over.
const LOOK: Duration = Duration::from_millis(200);

/// Why an order was not carried out.
#[derive(Clone, Debug)]
pub(super) enum Undone {
    /// The cluster refused it.
    Refused(Refusal),
    /// The same, and an earlier try may be carried out all the same, or this one was: that took as long as clients are waited
    /// for, and what is answered then is nowhere said.
    Doubtful(Refusal),
    /// It is not known whether it was.
    Failed(Error),
}

impl Undone {
    /// What the cluster answered.
    pub(super) const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Doubtful(refusal) => Some(refusal),
            Self::Failed(_) => None,
        }
    }
}

/// When an order was carried out, or why it was not.
type Done = Result<Instant, Undone>;

struct Waiting {
    entry: Entry,
    tell: oneshot::Sender<Done>,
    /// As long as it waits.
    near: Option<Near>,
}

/// What became of a call.
enum Outcome {
    Done,
    Undone(Undone),
    /// These clients have not taken it over in time, and the others have.
    Late(BTreeSet<u16>),
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

    /// Has the order about a client of this cluster carried out, of one who was near. Tells when the cluster had answered.
    ///
    /// # Errors
    /// Why it was not.
    pub(super) async fn carry_out(&self, cluster: Option<&str>, entry: Entry, near: Near) -> Done {
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
        collector.carry_out(entry, near).await
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
    async fn carry_out(self: &Arc<Self>, entry: Entry, near: Near) -> Done {
        let (tell, told) = oneshot::channel();
        self.lock().waiting.push(Waiting { entry, tell, near: Some(near) });
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

    /// What goes now: orders that go together, and those for clients that are slow, which go without the others.
    fn take(&self) -> (Vec<Waiting>, Vec<Waiting>) {
        let mut state = self.lock();
        let State { waiting, slow, .. } = &mut *state;
        let (mut batch, mut alone, mut rest, mut seen) =
            (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        for mut order in waiting.drain(..) {
            // What two orders for one volume in one call come to is nowhere said.
            let fits = batch.len() < MOST && !seen.contains(&order.entry.volume);
            match (fits, slow.contains(&order.entry.client)) {
                (true, slow) => {
                    order.near = None;
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
        self.crowd.gather(|| self.lock().waiting.len(), MOST).await;
        let (batch, alone) = self.take();
        for part in by_client(alone) {
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.send(part, false).await });
        }
        let clients: BTreeSet<u16> = batch.iter().map(|order| order.entry.client).collect();
        let mut call = self.send(batch, false);
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

    /// Sends orders in one call, and in several where that is refused. In doubt, an earlier call may have carried them out.
    fn send(&self, batch: Vec<Waiting>, doubt: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if batch.is_empty() {
                return;
            }
            let several =
                batch.iter().any(|order| Some(order.entry.client) != batch.first().map(|o| o.entry.client));
            let timeout = if several { TOGETHER.min(self.timeout) } else { self.timeout };
            let entries: Vec<_> = batch.iter().map(|order| order.entry.clone()).collect();
            match self.reassign(&entries, timeout, doubt).await {
                Outcome::Done => tell(batch, &Ok(Instant::now())),
                Outcome::Undone(undone) => match undone.refusal() {
                    Some(refusal) if batch.len() > 1 => {
                        let doubt = matches!(undone, Undone::Doubtful(_));
                        let parts = split(batch, refusal).into_iter().map(|part| self.send(part, doubt));
                        join_all(parts).await;
                    }
                    _ => tell(batch, &Err(undone)),
                },
                Outcome::Late(clients) => {
                    let (late, done): (Vec<_>, Vec<_>) =
                        batch.into_iter().partition(|order| clients.contains(&order.entry.client));
                    tell(done, &Ok(Instant::now()));
                    if several {
                        // Each is waited for alone, for as long as it may take.
                        let parts = by_client(late).into_iter().map(|part| self.send(part, true));
                        join_all(parts).await;
                    } else {
                        tell(late, &Err(Undone::Failed(too_late(timeout))));
                    }
                }
            }
        })
    }

    /// One call. To send it again does no harm: who has a volume gets it once, and who has none loses none.
    async fn reassign(&self, entries: &[Entry], timeout: Duration, mut doubt: bool) -> Outcome {
        let mut retry = Retry::default();
        loop {
            let sent = Instant::now();
            let answer = self.client.reassign(self.cluster.as_deref(), entries, timeout).await;
            let late = sent.elapsed() >= timeout / 2;
            let failure = match answer {
                // The one that counts is that of the call that was carried out, and nobody told it.
                Ok(_) if doubt => return self.confirmed(entries, 0, sent + timeout).await,
                Ok(generation) if late => return self.confirmed(entries, generation, sent + timeout).await,
                Ok(_) => return Outcome::Done,
                Err(Failure::Refused(refusal)) if !refusal.transient => {
                    let late = late && !refusal.is_stranger() && !refusal.is_crowded();
                    return Outcome::Undone(match late || doubt {
                        true => Undone::Doubtful(refusal),
                        false => Undone::Refused(refusal),
                    });
                }
                Err(failure) => failure,
            };
            doubt = true;
            if let Err(error) = retry.again(failure).await {
                return Outcome::Undone(Undone::Failed(error));
            }
        }
    }

    /// Whether clients have taken over, until then, what was answered as done and need not be.
    async fn confirmed(&self, entries: &[Entry], generation: u64, until: Instant) -> Outcome {
        loop {
            let clients = match self.client.clients(self.cluster.as_deref()).await {
                Ok(clients) => clients,
                Err(error) => return Outcome::Undone(Undone::Failed(error)),
            };
            let has =
                |number: u16| clients.iter().any(|client| client.id == number && client.has(generation));
            let late: BTreeSet<u16> =
                entries.iter().map(|entry| entry.client).filter(|number| !has(*number)).collect();
            if late.is_empty() {
                return Outcome::Done;
            }
            if Instant::now() >= until {
                return Outcome::Late(late);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn too_late(timeout: Duration) -> Error {
    let text = format!(
        "the cluster answered that it is done, but the client has not taken it over within {} s",
        timeout.as_secs()
    );
    Error::unknown(Kind::Unavailable, text)
}

fn tell(batch: Vec<Waiting>, result: &Done) {
    for order in batch {
        // Who does not wait any more needs no answer.
        drop(order.tell.send(result.clone()));
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
    let mut parts = by_client(good);
    if let [only] = parts.as_mut_slice() {
        let half = only.split_off(only.len() / 2);
        parts.push(half);
    }
    parts
}

fn by_client(orders: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut parts = BTreeMap::<u16, Vec<Waiting>>::new();
    for order in orders {
        parts.entry(order.entry.client).or_default().push(order);
    }
    parts.into_values().collect()
}
