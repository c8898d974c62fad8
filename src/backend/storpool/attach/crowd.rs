//! How many attach or detach at this moment, and how many of them are about to order something. In a crowd an order waits
//! a moment for those: who is answered at the same time goes on at the same time, so a crowd that is together stays
//! together. Who is alone waits for nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked whether more came.
const STEP: Duration = Duration::from_millis(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_millis(8);
/// More than so many are a crowd.
const FEW: usize = 3;
/// So long after a crowd the next ones are taken for its rest: those that end let others begin.
const LINGER: Duration = Duration::from_millis(100);

/// Who is there, and when there was a crowd last.
#[derive(Debug, Default)]
struct Count {
    now: usize,
    near: usize,
    crowded: Option<Instant>,
}

/// Counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Mutex<Count>>);

/// One of the crowd, as long as it lasts.
#[derive(Debug)]
pub(super) struct Member(Crowd);

/// One who is about to order something, or to make room for one who is, as long as it lasts.
#[derive(Debug)]
pub(super) struct Near(Crowd);

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

    /// One more who is about to order.
    pub(super) fn near(&self) -> Near {
        self.lock().near += 1;
        Near(self.clone())
    }

    /// Whether it is one.
    pub(super) fn is_one(&self) -> bool {
        let count = self.lock();
        count.now > FEW || count.crowded.is_some_and(|at| at.elapsed() < LINGER)
    }

    /// Lets those come who are near, of whom so many wait already, up to this number.
    pub(super) async fn gather(&self, waiting: impl Fn() -> usize, most: usize) {
        if !self.is_one() {
            return;
        }
        let (began, mut before) = (Instant::now(), waiting());
        while began.elapsed() < LONGEST {
            tokio::time::sleep(STEP).await;
            let now = waiting();
            // Those that were just answered may not have said yet that they are near.
            if now >= most || (now == before && now >= self.lock().near) {
                return;
            }
            before = now;
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

impl Drop for Near {
    fn drop(&mut self) {
        self.0.lock().near -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(crowd: &Crowd, waiting: impl Fn() -> usize) -> Duration {
        let began = Instant::now();
        crowd.gather(waiting, 100).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_wait_for_nobody_and_a_crowd_for_its_rest() {
        let crowd = Crowd::default();
        let few: Vec<_> = (0..FEW).map(|_| (crowd.join(), crowd.near())).collect();
        assert!(waits(&crowd, || 1).await.is_zero());
        drop(crowd.join());
        drop(few);
        assert!(!waits(&crowd, || 1).await.is_zero(), "others are about to come");
        tokio::time::sleep(LINGER).await;
        assert!(waits(&crowd, || 1).await.is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_for_those_that_are_near() {
        let crowd = Crowd::default();
        let _members: Vec<_> = (0..20).map(|_| crowd.join()).collect();
        let near: Vec<_> = (0..10).map(|_| crowd.near()).collect();
        assert!(waits(&crowd, || 10).await <= STEP * 2, "all that are near wait");
        assert!(waits(&crowd, || 100).await <= STEP * 2, "no more fit");
        let long = waits(&crowd, || 9).await;
        assert!((LONGEST..LONGEST + STEP * 2).contains(&long), "one does not come: {long:?}");
        drop(near);
        assert!(waits(&crowd, || 1).await <= STEP * 2);
    }
}
