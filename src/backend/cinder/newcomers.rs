//! Looking for volumes that are being made, for all who wait for one: who is alone asks by name, and many share one list
//! of the volumes that were made lately. Either shows the volume's state and its twins at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::backend::cinder::client::Client;
use crate::backend::cinder::model::Volume;
use crate::error::{Kind, Result};

use super::notes::Name;

/// How far before the oldest volume that is waited for is listed: a twin may have been made since its name was looked for,
/// and the clocks of the cloud's services differ.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a cloud that does not list by time is not tried again.
const PAUSE: Duration = Duration::from_secs(600);

/// The lists that many share.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    next: Mutex<Arc<Batch>>,
    /// Held by the one who lists; those who come meanwhile share the next list.
    turn: tokio::sync::Mutex<()>,
    /// Until when the cloud is not asked by time.
    unlisted: Mutex<Option<Instant>>,
}

/// Those who share a list.
#[derive(Debug, Default)]
struct Batch {
    members: Mutex<Members>,
    /// What was listed; `None`: each has to ask for itself.
    listed: OnceCell<Option<Arc<Vec<Volume>>>>,
}

#[derive(Debug, Default)]
struct Members {
    count: usize,
    since: Option<SystemTime>,
}

impl Newcomers {
    /// Volumes among which those of this name are that were made at `since` or later, by the cloud's clock. The list was
    /// begun after this call.
    ///
    /// # Errors
    /// Why the cloud cannot be asked.
    pub(super) async fn of(&self, client: &Client, name: &Name, since: SystemTime) -> Result<Vec<Volume>> {
        let batch = self.join(since);
        let shared = {
            let _turn = self.turn.lock().await;
            batch.listed.get_or_try_init(|| self.list(client, &batch)).await?.clone()
        };
        match shared {
            Some(volumes) => Ok(volumes.iter().filter(|volume| name.is_of(*volume)).cloned().collect()),
            None => client.volumes(&[("name", name.cloud.clone())]).await,
        }
    }

    fn join(&self, since: SystemTime) -> Arc<Batch> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut members = next.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.count += 1;
        members.since = Some(members.since.map_or(since, |known| known.min(since)));
        drop(members);
        Arc::clone(&next)
    }

    /// Closes a batch and lists for it.
    async fn list(&self, client: &Client, batch: &Arc<Batch>) -> Result<Option<Arc<Vec<Volume>>>> {
        {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&next, batch) {
                *next = Arc::default();
            }
        }
        let (count, since) = {
            let members = batch.members.lock().unwrap_or_else(PoisonError::into_inner);
            (members.count, members.since.unwrap_or(SystemTime::UNIX_EPOCH) - MARGIN)
        };
        let unlisted = *self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        if count < 2 || unlisted.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        // Where there are far more new volumes than are waited for, asking by name is cheaper.
        match client.volumes_made_since(since, count * 4 + 40).await {
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
