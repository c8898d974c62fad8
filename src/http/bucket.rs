//! How fast a cloud is called: a token bucket for the reads and one for the writes of each of its services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Kind, Result};

/// How many calls may be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls in a second, in the long run. Above 0.
    pub per_second: f64,
    /// Calls at once, after a time without any. At least 1.
    pub burst: u32,
}

/// The rates of each service of a cloud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Calls that change nothing.
    pub read: Rate,
    /// All others.
    pub write: Rate,
}

impl Default for Rates {
    /// Above what a burst of a hundred volumes needs, and below what hurts a cloud's API.
    fn default() -> Self {
        Self { read: Rate { per_second: 50.0, burst: 100 }, write: Rate { per_second: 25.0, burst: 50 } }
    }
}

/// The buckets of one cloud. They outlive the connections, so that new credentials do not bring a new burst.
#[derive(Debug, Default)]
pub struct Throttle {
    rates: Rates,
    buckets: Mutex<HashMap<(&'static str, bool), Arc<Bucket>>>,
}

impl Throttle {
    /// Full buckets.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, buckets: Mutex::default() }
    }

    /// The bucket of a service's reads or writes.
    pub(super) fn bucket(&self, service: &'static str, writes: bool) -> Arc<Bucket> {
        let rate = if writes { self.rates.write } else { self.rates.read };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry((service, writes)).or_insert_with(|| Arc::new(Bucket::new(rate))))
    }
}

/// A token bucket as the generic cell rate algorithm (ITU-T I.371) keeps it: one time instead of a count, and a place in
/// the queue for everyone who waits.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    tolerance: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When the bucket is full again.
    full: Instant,
    /// Until when the cloud asked not to be called.
    held: Instant,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(Duration::MAX);
        let tolerance = interval.saturating_mul(rate.burst.saturating_sub(1));
        let now = Instant::now();
        Self { interval, tolerance, state: Mutex::new(State { full: now, held: now }) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// At once, where the turn comes after the deadline: `Unavailable`; nothing was sent.
    pub(super) async fn wait(&self, deadline: Instant) -> Result<()> {
        loop {
            let turn = self.turn(deadline)?;
            sleep_until(turn).await;
            // The cloud may have asked for silence meanwhile.
            if self.state().held <= turn.max(Instant::now()) {
                return Ok(());
            }
        }
    }

    /// Nobody is let through before `until`, and then one by one.
    pub(super) fn hold(&self, until: Instant) {
        let mut state = self.state();
        if until > state.held {
            state.held = until;
            state.full = state.full.max(until + self.tolerance);
        }
    }

    fn turn(&self, deadline: Instant) -> Result<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let early = state.full.checked_sub(self.tolerance).unwrap_or(now);
        let turn = early.max(now).max(state.held);
        if turn >= deadline {
            let seconds = turn.duration_since(now).as_secs_f64();
            let why =
                if state.held > now { "the cloud asked for a pause" } else { "the rate limit is used up" };
            return Err(Error::unknown(
                Kind::Unavailable,
                format!("{why}: the next call could go out in {seconds:.1} s, after its deadline"),
            ));
        }
        state.full = state.full.max(now) + self.interval;
        Ok(turn)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(Rate { per_second, burst })
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_the_rest_at_the_rate() {
        let bucket = bucket(10.0, 5);
        let start = Instant::now();
        for _ in 0..5 {
            bucket.wait(later(60)).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            bucket.wait(later(60)).await.unwrap();
        }
        let took = start.elapsed();
        assert!((1000..=1020).contains(&took.as_millis()), "{took:?}");
        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        for _ in 0..5 {
            bucket.wait(later(60)).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "it is full again, and not fuller than full");
        bucket.wait(later(60)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_after_the_deadline_is_refused_at_once_and_takes_no_place() {
        let bucket = bucket(1.0, 1);
        bucket.wait(later(1)).await.unwrap();
        let start = Instant::now();
        for _ in 0..100 {
            let soon = Instant::now() + Duration::from_millis(500);
            let error = bucket.wait(soon).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        bucket.wait(later(2)).await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(1010));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone_also_those_who_wait_already() {
        let bucket = Arc::new(bucket(10.0, 1));
        bucket.wait(later(60)).await.unwrap();
        let start = Instant::now();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                tokio::spawn(async move {
                    bucket.wait(later(60)).await.unwrap();
                    start.elapsed()
                })
            })
            .collect();
        tokio::task::yield_now().await;
        bucket.hold(later(10));
        let mut times = Vec::new();
        for task in waiting {
            times.push(task.await.unwrap().as_millis());
        }
        times.sort_unstable();
        assert!(times[0] >= 10_000, "{times:?}");
        assert!(times[1] >= times[0] + 99 && times[2] >= times[1] + 99, "one by one: {times:?}");
    }
}
