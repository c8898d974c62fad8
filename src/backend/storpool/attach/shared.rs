//! One answer for all who ask the same. Each says since when it must be so: whoever comes while somebody asks gets that
//! answer where it is new enough for him, and the next one otherwise.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Result;

/// An answer that is shared, and when it was asked for: it shows what was done before.
pub(super) type Shared<T> = (Instant, Arc<T>);

/// Asks the same for many.
#[derive(Debug)]
pub(super) struct Asker<T>(
    /// The last answer, held by the one who asks. Why there was none is shared too: who came before that would hear the
    /// same, one after the other.
    Mutex<Option<(Instant, Result<Arc<T>>)>>,
);

impl<T> Default for Asker<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Asker<T> {
    /// An answer that was asked for at this time or later.
    ///
    /// # Errors
    /// The question's.
    pub(super) async fn ask(
        &self,
        since: Instant,
        question: impl Future<Output = Result<T>>,
    ) -> Result<Shared<T>> {
        let mut last = self.0.lock().await;
        if let Some((began, answer)) = &*last
            && *began >= since
        {
            return answer.clone().map(|found| (*began, found));
        }
        let began = Instant::now();
        let answer = question.await.map(Arc::new);
        *last = Some((began, answer.clone()));
        answer.map(|found| (began, found))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    const ANSWER: Duration = Duration::from_millis(5);

    /// What the number of the question is, after a while.
    async fn ask(asker: &Asker<usize>, asked: &AtomicUsize, since: Instant) -> usize {
        let question = async {
            tokio::time::sleep(ANSWER).await;
            Ok(asked.fetch_add(1, Ordering::Relaxed))
        };
        let (began, answer) = asker.ask(since, question).await.unwrap();
        assert!(began >= since);
        *answer
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_meanwhile_share_the_next_answer() {
        let (asker, asked) = (Asker::default(), AtomicUsize::new(0));
        let first = ask(&asker, &asked, Instant::now());
        let others = async {
            tokio::time::sleep(ANSWER / 2).await;
            let since = Instant::now();
            futures_util::future::join_all((0..50).map(|_| ask(&asker, &asked, since))).await
        };
        let (first, others) = tokio::join!(first, others);
        assert_eq!((first, asked.load(Ordering::Relaxed)), (0, 2));
        assert!(
            others.iter().all(|answer| *answer == 1),
            "what was asked for before they came is not theirs"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_is_for_those_whom_it_suffices() {
        let (asker, asked, start) = (Asker::default(), AtomicUsize::new(0), Instant::now());
        assert_eq!(ask(&asker, &asked, start).await, 0);
        assert_eq!(ask(&asker, &asked, start).await, 0);
        assert_eq!(ask(&asker, &asked, Instant::now()).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn why_there_is_no_answer_is_told_to_those_who_waited_for_it_alone() {
        let (asker, start) = (Asker::<usize>::default(), Instant::now());
        let broken = async {
            tokio::time::sleep(ANSWER).await;
            Err(Error::busy("broken"))
        };
        let (one, other) =
            tokio::join!(asker.ask(start, broken), asker.ask(start, async { panic!("it was asked") }));
        assert!(one.is_err() && other.is_err());
        assert!(asker.ask(Instant::now(), async { Ok(7) }).await.is_ok());
    }
}
