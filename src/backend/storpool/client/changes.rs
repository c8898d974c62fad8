//! Which volumes were changed from here in the last moments: what was read of them before that is no longer so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So long a change is remembered. Nothing that was read longer ago is believed anyway.
pub(in super::super) const LATELY: Duration = Duration::from_millis(100);

/// When each volume was changed last, by the id that the house has for it.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<BTreeMap<String, Instant>>);

/// A change under way. It counts from its end, whatever becomes of it.
#[derive(Debug)]
pub(super) struct Change<'a> {
    changes: &'a Changes,
    ids: Vec<String>,
}

impl Changes {
    /// These are about to be changed.
    pub(super) fn of<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Change<'_> {
        Change { changes: self, ids: ids.into_iter().map(str::to_owned).collect() }
    }

    /// When this one was changed last; `None`: not lately.
    pub(super) fn last(&self, id: &str) -> Option<Instant> {
        self.lock().get(id).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        // Nothing that panics runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut known = self.changes.lock();
        known.retain(|_, at| now.duration_since(*at) <= LATELY);
        known.extend(self.ids.drain(..).map(|id| (id, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_from_its_end_and_is_forgotten() {
        let changes = Changes::default();
        let change = changes.of(["v"]);
        assert_eq!(changes.last("v"), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(change);
        assert_eq!(changes.last("v"), Some(Instant::now()));
        tokio::time::sleep(LATELY * 2).await;
        drop(changes.of(["w"]));
        assert_eq!((changes.last("v"), changes.last("w")), (None, Some(Instant::now())));
    }
}
