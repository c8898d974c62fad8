//! One flight per key: a mutating operation runs as its own task, whatever becomes of the call that asked for it.
//!
//! A cancelled or timed-out call does not stop its flight; the retry joins it and gets its result. The same key with
//! other arguments is refused as busy. A flight knows its phase and for how long it has been in it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::Instrument;

use crate::error::{Error, Kind, Result};

tokio::task_local! {
    static PHASE: Arc<Mutex<Phase>>;
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    name: &'static str,
    since: Instant,
}

/// Says what the flight that runs this task is doing now. Outside a flight it does nothing.
pub fn phase(name: &'static str) {
    // Outside a flight there is no phase to set, and nobody to tell.
    PHASE.try_with(|phase| *lock(phase) = Phase { name, since: Instant::now() }).unwrap_or_default();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that panics runs under these locks; a poisoned one still holds a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Flight<T> {
    arguments: String,
    phase: Arc<Mutex<Phase>>,
    result: watch::Receiver<Option<Result<T>>>,
}

/// What a flight is doing, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightStatus {
    /// Its key.
    pub key: String,
    /// Its phase.
    pub phase: &'static str,
    /// How long it has been in this phase.
    pub age: Duration,
}

type Board<T> = Arc<Mutex<HashMap<String, Flight<T>>>>;

/// The flights of one kind of result. Cloning gives another handle to the same board.
pub struct Flights<T> {
    board: Board<T>,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self { board: Arc::clone(&self.board) }
    }
}

impl<T> std::fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").field("keys", &lock(&self.board).keys().collect::<Vec<_>>()).finish()
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { board: Arc::default() }
    }
}

/// Takes its flight off the board however the task ends, also by a panic.
struct Landing<T> {
    board: Board<T>,
    key: String,
    result: watch::Sender<Option<Result<T>>>,
}

impl<T> Landing<T> {
    /// Off the board first, so that whoever sees the result can fly again under the same key. From then on the key may
    /// be another flight's.
    fn land(&self, result: Result<T>) {
        lock(&self.board).remove(&self.key);
        self.result.send_replace(Some(result));
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        if self.result.borrow().is_none() {
            self.land(Err(Error::internal("the operation ended without a result (see the log)")));
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Runs `work` under `key`, or joins the flight that is under way with the same `arguments`, and waits for its
    /// result. Dropping the returned future leaves the flight under way.
    ///
    /// # Errors
    /// [`Kind::Busy`] where a flight with other arguments holds the key; else what `work` says.
    pub async fn run<F>(&self, key: impl Into<String>, arguments: impl Into<String>, work: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (key, arguments) = (key.into(), arguments.into());
        let mut result = self.join(key, arguments, work)?;
        let landed = result.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(result)) => result.clone(),
            _ => Err(Error::internal("the operation ended without a result (see the log)")),
        }
    }

    fn join<F>(&self, key: String, arguments: String, work: F) -> Result<watch::Receiver<Option<Result<T>>>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut board = lock(&self.board);
        if let Some(flight) = board.get(&key) {
            if flight.arguments == arguments {
                return Ok(flight.result.clone());
            }
            let Phase { name, since } = *lock(&flight.phase);
            return Err(Error::unknown(
                Kind::Busy,
                format!(
                    "another operation on {key} is under way ({name} for {:.1} s): try again",
                    since.elapsed().as_secs_f64()
                ),
            ));
        }
        let (sender, receiver) = watch::channel(None);
        let phase = Arc::new(Mutex::new(Phase { name: "start", since: Instant::now() }));
        let landing = Landing { board: Arc::clone(&self.board), key: key.clone(), result: sender };
        board.insert(key, Flight { arguments, phase: Arc::clone(&phase), result: receiver.clone() });
        drop(board);
        tokio::spawn(
            async move {
                landing.land(PHASE.scope(phase, work).await);
            }
            .in_current_span(),
        );
        Ok(receiver)
    }

    /// What is under way now.
    #[must_use]
    pub fn status(&self) -> Vec<FlightStatus> {
        let status = |(key, flight): (&String, &Flight<T>)| {
            let Phase { name, since } = *lock(&flight.phase);
            FlightStatus { key: key.clone(), phase: name, age: since.elapsed() }
        };
        lock(&self.board).iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use futures_util::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_retry_joins_the_flight_that_its_cancelled_caller_left() {
        let flights = Flights::<u32>::default();
        let (gate, runs) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (gate, runs) = (Arc::clone(&gate), Arc::clone(&runs));
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                phase("waiting");
                gate.notified().await;
                Ok(7)
            }
        };
        let first = flights.run("v", "a", work());
        assert!(tokio::time::timeout(Duration::from_millis(20), first).await.is_err());
        assert_eq!(flights.status().first().map(|s| s.phase), Some("waiting"));
        let other = flights.run("v", "b", async { Ok(0) }).await.unwrap_err();
        assert_eq!(other.kind(), Kind::Busy);
        assert!(other.to_string().contains("waiting"), "{other}");
        let retry = tokio::spawn({
            let (flights, work) = (flights.clone(), work());
            async move { flights.run("v", "a", work).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        gate.notify_one();
        assert_eq!(retry.await.unwrap().unwrap(), 7);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(flights.status().is_empty());
    }

    /// Flies again under the key as soon as it is woken: within the landing itself.
    struct Successor {
        flights: Flights<u32>,
        woken: AtomicUsize,
    }

    impl Wake for Successor {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::SeqCst);
            let flight = self.flights.run("v", "b", std::future::pending());
            assert!(flight.now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn a_landing_leaves_its_successor_on_the_board() {
        let flights = Flights::<u32>::default();
        let successor = Arc::new(Successor { flights: flights.clone(), woken: AtomicUsize::new(0) });
        let mut first = Box::pin(flights.run("v", "a", async { Ok(7) }));
        let waker = Waker::from(Arc::clone(&successor));
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // Not polled meanwhile: that would give it another waker.
        while successor.woken.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(first.await.unwrap(), 7);
        assert_eq!(flights.status().len(), 1);
        assert_eq!(flights.run("v", "c", async { Ok(0) }).await.unwrap_err().kind(), Kind::Busy);
        assert_eq!(successor.woken.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_lands_as_an_error_and_frees_the_key() {
        let flights = Flights::<u32>::default();
        let error = flights.run("v", "a", async { panic!("boom") }).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(flights.run("v", "b", async { Ok(1) }).await.unwrap(), 1);
    }
}
