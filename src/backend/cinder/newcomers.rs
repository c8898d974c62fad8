//! Looking for volumes that are being made, for all who wait for one: who is alone asks by name, and many share one list
//! of the volumes that were made lately. Either shows the volume's state and its twins at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::backend::cinder::client::Client;
use crate::backend::cinder::model::Volume;
use crate::error::{Kind, Result};

use super::notes::Name;
use super::watch::pace::{self, Crowd, Habits};

/// How far before the oldest volume that is waited for is listed: a twin may have been made since its name was looked for,
/// and the clocks of the cloud's services differ.
const MARGIN: Duration = Duration::from_secs(60);
/// What is waited for, to the pace.
const HABIT: Option<&str> = Some("create");
/// How long a cloud that does not list by time is not tried again.
const PAUSE: Duration = Duration::from_secs(600);

/// The lists that many share.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    next: Mutex<Arc<Batch>>,
    /// Held by the one who lists; those who come meanwhile share the next list. When the last list for many began.
    turn: tokio::sync::Mutex<Option<Instant>>,
    /// How long volumes take to be made.
    habits: Mutex<Habits>,
    /// How often is looked for many, and how many were found made since the last look.
    crowd: Mutex<(Crowd, usize)>,
    /// How many wait, most of them until they look again.
    waiting: AtomicUsize,
    /// Until when the cloud is not asked by time.
    unlisted: Mutex<Option<Instant>>,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Newcomers);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Those who share a list.
#[derive(Debug, Default)]
struct Batch {
    members: Mutex<Members>,
    /// What was listed; `None`: each has to ask for itself.
    listed: OnceCell<Option<Arc<Vec<Volume>>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Members {
    count: usize,
    since: Option<SystemTime>,
}

impl Newcomers {
    /// Volumes among which those of this name are that were made at `since` or later, by the cloud's clock. The list was
    /// begun after this call. Where lists take no filters, many share the whole list.
    ///
    /// # Errors
    /// Why the cloud cannot be asked.
    pub(super) async fn of(&self, client: &Client, name: &Name, since: SystemTime) -> Result<Vec<Volume>> {
        let batch = self.join(since);
        let by_name = || async { client.volumes(&[("name", name.cloud.clone())]).await };
        let mut last = self.turn.lock().await;
        let listed = match batch.listed.get() {
            Some(listed) => listed.clone(),
            None => {
                let pause = self.pause();
                if let Some(last) = *last {
                    // Whoever comes until then shares the list.
                    tokio::time::sleep_until(last + pause).await;
                }
                let members = self.close(&batch);
                *last = (members.count > 1 || !pause.is_zero()).then(Instant::now);
                if members.count < 2 {
                    // Who comes meanwhile waits for the turn, and those are many together.
                    return by_name().await;
                }
                batch.listed.get_or_try_init(|| self.list(client, members)).await?.clone()
            }
        };
        drop(last);
        match listed {
            Some(volumes) => Ok(volumes.iter().filter(|volume| name.is_of(*volume)).cloned().collect()),
            None => by_name().await,
        }
    }

    /// Counts somebody as long as what is given lasts.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// When to look first for a volume that was just ordered.
    pub(super) fn first(&self) -> Duration {
        let habits = self.habits.lock().unwrap_or_else(PoisonError::into_inner);
        habits.first(HABIT).unwrap_or_else(|| pace::next(Duration::ZERO))
    }

    /// How long to wait before the next look for a volume that was ordered so long ago. Of many, all share each list, whose
    /// turn makes the pause.
    pub(super) fn next(&self, age: Duration) -> Duration {
        let crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = crowd.0.pause(self.waiting.load(Ordering::Relaxed)).is_zero();
        if alone { pace::next(age) } else { Duration::ZERO }
    }

    /// A volume was found made, after so many looks and so long after it was ordered.
    pub(super) fn found(&self, looks: u32, age: Duration) {
        self.habits.lock().unwrap_or_else(PoisonError::into_inner).learn(HABIT, looks, age);
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
    }

    /// From one list for many to the next.
    fn pause(&self) -> Duration {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = std::mem::take(&mut crowd.1);
        crowd.0.learn(waiting, ended);
        crowd.0.pause(waiting)
    }

    fn join(&self, since: SystemTime) -> Arc<Batch> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = next.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.count += 1;
        members.since = Some(members.since.map_or(since, |known| known.min(since)));
        drop(members);
        Arc::clone(&next)
    }

    /// Whoever comes from now on is in the next batch.
    fn close(&self, batch: &Arc<Batch>) -> Members {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&next, batch) {
            *next = Arc::default();
        }
        *batch.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self, client: &Client, members: Members) -> Result<Option<Arc<Vec<Volume>>>> {
        if !client.dialect().filters {
            return client.volumes(&[]).await.map(|volumes| Some(Arc::new(volumes)));
        }
        let unlisted = *self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        if unlisted.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let Members { count, since } = members;
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH) - MARGIN;
        // Where there are far more new volumes than are waited for, asking by name is cheaper.
        match client.volumes_made_since(since, count * 4 + 100).await {
            Ok(Some(page)) if page.items.iter().all(|volume| volume.created_at >= Some(since)) => {
                Ok(page.next.is_none().then(|| Arc::new(page.items)))
            }
            Err(error) if error.kind() != Kind::InvalidArgument => Err(error),
            other => {
                let why = other.err().map(|error| error.to_string());
                tracing::info!(why, "the cloud does not list volumes by when they were made: asking by name");
                let until = Some(Instant::now() + PAUSE);
                *self.unlisted.lock().unwrap_or_else(PoisonError::into_inner) = until;
                Ok(None)
            }
        }
    }
}
