//! Attaches whose answer was lost. Nova may carry such an order out long after, so that a volume which is on no server now may
//! come to be on one by itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So long after it was sent an order may be carried out. A server does one thing with its disks after the other, and a guest
/// that does not let go of one is asked for it 8 times, 20 s each.
const LATEST: Duration = Duration::from_secs(180);

/// Volumes, servers, and when the order was sent.
#[derive(Debug, Default)]
pub(super) struct Lost(Mutex<HashMap<(String, String), Instant>>);

impl Lost {
    fn orders(&self) -> MutexGuard<'_, HashMap<(String, String), Instant>> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.retain(|_, sent| sent.elapsed() < LATEST);
        orders
    }

    /// The answer to an order was lost.
    pub(super) fn add(&self, volume: &str, server: &str) {
        self.orders().insert((volume.to_owned(), server.to_owned()), Instant::now());
    }

    /// It is known what became of the order.
    pub(super) fn settle(&self, volume: &str, server: &str) {
        self.orders().remove(&(volume.to_owned(), server.to_owned()));
    }

    /// How long ago one was sent that may still be carried out.
    pub(super) fn since(&self, volume: &str, server: &str) -> Option<Duration> {
        self.orders().get(&(volume.to_owned(), server.to_owned())).map(Instant::elapsed)
    }

    /// The servers on which a volume may still come to be.
    pub(super) fn servers_of(&self, volume: &str) -> Vec<String> {
        let orders = self.orders();
        orders.keys().filter(|(of, _)| of == volume).map(|(_, server)| server.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_order_counts_until_it_is_settled_or_too_old() {
        let lost = Lost::default();
        lost.add("v", "s1");
        lost.add("v", "s2");
        tokio::time::sleep(LATEST / 2).await;
        assert_eq!(lost.since("v", "s1"), Some(LATEST / 2));
        lost.settle("v", "s1");
        assert_eq!((lost.since("v", "s1"), lost.servers_of("v")), (None, vec!["s2".to_owned()]));
        assert!(lost.since("w", "s2").is_none());
        tokio::time::sleep(LATEST / 2).await;
        assert!(lost.since("v", "s2").is_none() && lost.servers_of("v").is_empty());
    }
}
