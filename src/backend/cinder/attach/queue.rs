//! A queue for each server. Nova does one thing at a time to a server's disks and lets all further calls wait, each of
//! which holds one of its workers; so few are sent, in the order in which they came. Cyclades refuses all further calls until
//! the one thing is done, so a turn there lasts until then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Calls to one server at once: one that Nova works on, and the next ones at its door.
const AT_ONCE: usize = 4;

/// The turn at a server, until it is dropped.
pub type Turn = OwnedSemaphorePermit;

/// The queues of a cloud.
#[derive(Debug)]
pub(super) struct Queues {
    /// Whether a server does one thing at a time and refuses the next.
    one_task: bool,
    queues: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Queues {
    pub(super) fn new(one_task: bool) -> Self {
        Self { one_task, queues: Mutex::default() }
    }

    /// What is left of a turn once the call that it was for is answered: all of it where the server is busy until the work is
    /// done.
    pub(super) fn keep(&self, turn: Turn) -> Option<Turn> {
        self.one_task.then_some(turn)
    }

    /// Waits for a turn at this server.
    pub(super) async fn turn(&self, server: &str) -> Result<Turn> {
        let queue = self.queue(server);
        // Nobody closes it.
        queue
            .acquire_owned()
            .await
            .map_err(|error| Error::internal("the server's queue is gone").caused_by(error))
    }

    fn queue(&self, server: &str) -> Arc<Semaphore> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(server).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Semaphore::new(if self.one_task { 1 } else { AT_ONCE }));
        queues.insert(server.to_owned(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_s_calls_wait_in_order_and_never_for_another_server() {
        let queues = Arc::new(Queues::new(false));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(queues.turn("a").await.unwrap());
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for n in 0..3 {
            let (queues, order) = (Arc::clone(&queues), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _turn = queues.turn("a").await.unwrap();
                order.lock().unwrap().push(n);
            }));
            tokio::task::yield_now().await;
        }
        drop(timeout(Duration::from_secs(1), queues.turn("b")).await.unwrap().unwrap());
        assert!(order.lock().unwrap().is_empty());
        held.pop();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        drop(held);
        drop(queues.turn("c").await.unwrap());
        assert_eq!(queues.queues.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_server_does_one_thing_a_turn_lasts_until_it_is_done() {
        let queues = Queues::new(true);
        let turn = queues.turn("a").await.unwrap();
        let kept = queues.keep(turn);
        assert!(timeout(Duration::from_secs(1), queues.turn("a")).await.is_err());
        drop(kept);
        let next = queues.turn("a").await.unwrap();
        assert!(Queues::new(false).keep(next).is_none());
    }
}
