//! How many attach or detach at this moment. Where it is a crowd, each question and each order waits a moment for those
//! that come with it: who was told the same goes on at the same time. Who is alone waits for nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long is waited.
const GATHER: Duration = Duration::from_millis(2);
/// More than so many are a crowd.
const FEW: usize = 3;
/// So long after a crowd the next ones are taken for its rest: those that end let others begin.
const LINGER: Duration = Duration::from_millis(100);

/// Who is there, and when there was a crowd last.
#[derive(Debug, Default)]
struct Count {
    now: usize,
    crowded: Option<Instant>,
}

/// Counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Mutex<Count>>);

/// One of the crowd, as long as it lasts.
#[derive(Debug)]
pub(super) struct Member(Crowd);

impl Crowd {
    /// One more.
    pub(super) fn join(&self) -> Member {
        let mut count = self.lock();
        count.now += 1;
        if count.now > FEW {
            count.crowded = Some(Instant::now());
        }
        drop(count);
        Member(self.clone())
    }

    /// Lets the others come.
    pub(super) async fn gather(&self) {
        let crowded = self.lock().crowded.is_some_and(|at| at.elapsed() < LINGER);
        if crowded || self.lock().now > FEW {
            tokio::time::sleep(GATHER).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Count> {
        // Nothing that panics runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_wait_for_nobody_and_a_crowd_for_its_rest() {
        let crowd = Crowd::default();
        let waits = async || {
            let began = Instant::now();
            crowd.gather().await;
            !began.elapsed().is_zero()
        };
        let few: Vec<_> = (0..FEW).map(|_| crowd.join()).collect();
        assert!(!waits().await);
        drop(crowd.join());
        drop(few);
        assert!(waits().await, "others are about to come");
        tokio::time::sleep(LINGER).await;
        assert!(!waits().await);
    }
}
