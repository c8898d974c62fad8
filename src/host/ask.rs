//! Calls that dead storage may never answer, asked so that they cannot hang the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};

/// How many threads may hang on one subject: the one that asks, and one more in case it comes alive again.
const PER_SUBJECT: usize = 2;
/// System calls need next to nothing.
const STACK: usize = 128 << 10;

/// Asks on threads of its own: one that hangs is left behind, counted, and goes when the kernel lets it go.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker {
    asking: Arc<Mutex<HashMap<String, usize>>>,
}

/// Counts one thread at a subject while it lives.
struct Seat {
    asking: Arc<Mutex<HashMap<String, usize>>>,
    subject: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = asking.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.subject);
            }
        }
    }
}

impl Asker {
    /// The answer of a blocking call. `subject` says for a message what is asked, such as `the disk vdb`.
    ///
    /// # Errors
    /// `Timeout` where the deadline passes, or where earlier calls to the subject still hang; else the call's own.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        subject: &str,
        deadline: Duration,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let seat = self.sit(subject)?;
        let (sender, answer) = oneshot::channel();
        std::thread::Builder::new()
            .name("ask".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let result = call();
                drop(seat);
                // Nobody waits any more where the deadline has passed.
                drop(sender.send(result));
            })
            .map_err(|error| Error::io("start a thread", error))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal(format!("the thread that asked {subject} panicked"))),
            Err(_) => {
                Err(Error::unknown(Kind::Timeout, format!("{subject} did not answer within {deadline:?}")))
            }
        }
    }

    fn sit(&self, subject: &str) -> Result<Seat> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asking.entry(subject.to_owned()).or_insert(0);
        if *count >= PER_SUBJECT {
            return Err(Error::unknown(
                Kind::Timeout,
                format!("{subject} has not answered {count} earlier calls, which still wait"),
            ));
        }
        *count += 1;
        Ok(Seat { asking: Arc::clone(&self.asking), subject: subject.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_dead_one_costs_two_threads_and_never_hangs() {
        let asker = Asker::default();
        let short = Duration::from_millis(50);
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let begin = Instant::now();
        for _ in 0..2 {
            let wait = Arc::clone(&wait);
            let hangs = move || wait.lock().unwrap().recv().map_err(|_| Error::internal("released"));
            assert_eq!(asker.ask("dead", short, hangs).await.unwrap_err().kind(), Kind::Timeout);
        }
        let never = || panic!("a third thread was started");
        let error = asker.ask("dead", short, never).await.map(|(): ()| ()).unwrap_err();
        assert!(error.to_string().contains("2 earlier calls"), "{error}");
        assert_eq!(asker.ask("alive", short, || Ok(7)).await.unwrap(), 7);
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(release);
        while !asker.asking.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(asker.ask("dead", Duration::from_secs(5), || Ok(8)).await.unwrap(), 8);
    }
}
