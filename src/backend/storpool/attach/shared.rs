//! One answer for all who ask at the same time. It was begun after each of them asked, so it shows what was done before.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::crowd::Crowd;
use crate::error::Result;

/// An answer that may be shared, and when it was asked for.
pub(super) type Shared<T> = (Instant, Arc<T>);

/// What somebody was told.
#[derive(Debug)]
pub(super) enum Told<T, U> {
    /// What many wanted to know.
    All(Shared<T>),
    /// What one wanted to know.
    One(U),
}

/// Those who share an answer.
#[derive(Debug)]
struct Batch<T> {
    members: Mutex<usize>,
    answer: OnceCell<Option<Shared<T>>>,
}

/// Asks the same for many.
#[derive(Debug)]
pub(super) struct Asker<T> {
    next: Mutex<Arc<Batch<T>>>,
    /// Held by the one who asks; those who come meanwhile share the next answer.
    turn: tokio::sync::Mutex<()>,
    /// So many must share it, or each asks for itself.
    least: usize,
    crowd: Crowd,
}

impl<T> Batch<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self { members: Mutex::new(0), answer: OnceCell::new() })
    }
}

impl<T> Asker<T> {
    /// Asks where at least so many want to know.
    pub(super) fn new(least: usize, crowd: &Crowd) -> Self {
        Self {
            next: Mutex::new(Batch::new()),
            turn: tokio::sync::Mutex::default(),
            least,
            crowd: crowd.clone(),
        }
    }

    /// The answer to what many want to know; where too few do, the one to what this one wants to know alone. Others gather
    /// meanwhile in either case.
    ///
    /// # Errors
    /// The asking's. The others of the batch then ask again.
    pub(super) async fn ask<U>(
        &self,
        all: impl AsyncFnOnce() -> Result<T>,
        one: impl AsyncFnOnce() -> Result<U>,
    ) -> Result<Told<T, U>> {
        let batch = {
            let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next.members.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            Arc::clone(&next)
        };
        let turn = self.turn.lock().await;
        if let Some(answer) = batch.answer.get() {
            drop(turn);
            return match answer {
                Some(answer) => Ok(Told::All(answer.clone())),
                None => one().await.map(Told::One),
            };
        }
        self.crowd.gather().await;
        {
            // Whoever comes from now on is in the next batch.
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&next, &batch) {
                *next = Batch::new();
            }
        }
        let members = *batch.members.lock().unwrap_or_else(PoisonError::into_inner);
        let told = if members < self.least {
            batch.answer.set(None).unwrap_or_default();
            Told::One(one().await?)
        } else {
            let answer = (Instant::now(), Arc::new(all().await?));
            batch.answer.set(Some(answer.clone())).unwrap_or_default();
            Told::All(answer)
        };
        drop(turn);
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_one_asks_share_the_next_answer() {
        let (asker, asked) = (Arc::new(Asker::new(2, &Crowd::default())), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (asker, asked) = (Arc::clone(&asker), Arc::clone(&asked));
                tokio::spawn(async move {
                    let pause = async || tokio::time::sleep(Duration::from_millis(5)).await;
                    let all = async || {
                        pause().await;
                        Ok(asked.fetch_add(1, Ordering::Relaxed))
                    };
                    let one = async || {
                        pause().await;
                        Ok(())
                    };
                    matches!(asker.ask(all, one).await.unwrap(), Told::All(_))
                })
            })
            .collect();
        let mut shared = 0;
        for task in tasks {
            shared += usize::from(task.await.unwrap());
        }
        assert!(asked.load(Ordering::Relaxed) <= 2 && shared >= 49, "{asked:?} {shared}");
        let alone = Asker::<()>::new(2, &Crowd::default())
            .ask(async || panic!("nobody else asks"), async || Ok(7))
            .await;
        assert!(matches!(alone.unwrap(), Told::One(7)));
    }
}
