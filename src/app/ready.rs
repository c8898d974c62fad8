//! Whether each part of the house can be used: tried at start, tried again in the background until it can, and looked
//! at from time to time afterwards. A part that cannot be used never ends the process: what is needed may come later,
//! and a restart would only take the sockets away from those who wait.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::Result;
use crate::server::http::Readiness;

/// The wait after the first failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// After so long without an answer a part counts as not ready, while its answer is still waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the first answers, so that in the usual case all is ready when the socket appears.
const START: Duration = Duration::from_secs(2);

/// A part to watch.
pub struct Part {
    /// Its name on `/readyz`.
    pub name: String,
    /// Asks whether it can be used.
    pub probe: Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
    /// When to ask again after it could be used; `None`: never.
    pub again: Option<Duration>,
    /// Told each time that an answer came or is late.
    pub tell: Box<dyn Fn(bool) + Send + Sync>,
}

/// Watches the parts from now on, and waits a little for their first answers.
pub async fn watch(parts: Vec<Part>, readiness: &Readiness) {
    let mut firsts = Vec::new();
    for part in parts {
        readiness.set(&part.name, Some("is being opened".to_owned()));
        (part.tell)(false);
        let (sender, receiver) = oneshot::channel();
        firsts.push(receiver);
        tokio::spawn(keep_asking(part, readiness.clone(), sender));
    }
    let all = async {
        for first in firsts {
            // An error means that the watcher is gone; there is nothing to wait for then.
            first.await.unwrap_or_default();
        }
    };
    if tokio::time::timeout(START, all).await.is_err() {
        tracing::warn!("not everything is ready: see /readyz; serving begins nevertheless");
    }
}

async fn keep_asking(part: Part, readiness: Readiness, first: oneshot::Sender<()>) {
    let mut first = Some(first);
    let mut retry = FIRST_RETRY;
    let mut was = None;
    loop {
        let late = || {
            let text = format!("no answer for {} s", PATIENCE.as_secs());
            tracing::warn!(part = part.name, "{text}");
            readiness.set(&part.name, Some(text));
            (part.tell)(false);
        };
        let result = patiently((part.probe)(), late).await;
        let reason = result.err().map(|error| error.chain());
        if was.as_ref() != Some(&reason) {
            match &reason {
                None => tracing::info!(part = part.name, "ready"),
                Some(reason) => tracing::warn!(part = part.name, reason, "not ready"),
            }
            was = Some(reason.clone());
        }
        let ready = reason.is_none();
        readiness.set(&part.name, reason);
        (part.tell)(ready);
        if let Some(first) = first.take() {
            // Nobody waits any more where the start took too long.
            first.send(()).unwrap_or_default();
        }
        let wait = match (ready, part.again) {
            (true, None) => return,
            (true, Some(again)) => {
                retry = FIRST_RETRY;
                again
            }
            (false, _) => {
                let wait = retry;
                retry = (retry * 2).min(LONGEST_RETRY);
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Waits for the answer however long it takes, and says once that it is late. The question is not dropped and asked
/// again, because on dead storage each would leave a thread behind.
async fn patiently<T>(answer: impl Future<Output = T>, late: impl FnOnce()) -> T {
    let mut answer = pin!(answer);
    match tokio::time::timeout(PATIENCE, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            late();
            answer.await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    fn part(
        probe: impl Fn(usize) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) -> (Part, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let probe = Box::new(move || probe(count.fetch_add(1, Ordering::Relaxed)));
        let again = Some(Duration::from_secs(60));
        (Part { name: "here".to_owned(), probe, again, tell: Box::new(|_| {}) }, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_fails_is_tried_until_it_is_ready_and_looked_at_again() {
        let (part, asked) = part(|turn| {
            Box::pin(async move {
                if turn < 2 || turn == 3 { Err(Error::precondition("no directory")) } else { Ok(()) }
            })
        });
        let readiness = Readiness::default();
        watch(vec![part], &readiness).await;
        assert_eq!(readiness.text(), "here: no directory\n");
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert!(readiness.is_ready(), "after 1 s and 2 s more");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!readiness.is_ready(), "it broke later");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_answer_holds_nothing_up() {
        let (part, asked) = part(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(100)).await;
                Ok(())
            })
        });
        let readiness = Readiness::default();
        let start = tokio::time::Instant::now();
        watch(vec![part], &readiness).await;
        assert_eq!(start.elapsed(), START);
        assert_eq!(readiness.text(), "here: is being opened\n");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(readiness.text(), "here: no answer for 10 s\n");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "it is not asked again meanwhile");
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert!(readiness.is_ready());
    }
}
