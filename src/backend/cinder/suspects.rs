//! Names that have more volumes than one, or of which more may still appear: an order whose answer was lost, ours or an
//! earlier process', may be carried out after we looked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::notes::Name;
use super::{Cloud, model, twins};
use crate::error::Result;

/// So long a lost order may come true. Proxies and message queues of clouds give up earlier.
const LATEST: Duration = Duration::from_secs(300);
/// So long after the start an earlier process' order may.
const EARLY: Duration = Duration::from_secs(20);
/// When a suspect name is looked at again.
pub(super) const LOOKS: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(50), Duration::from_secs(240)];

/// The names, and since when.
#[derive(Debug)]
pub(super) struct Suspects {
    begun: Instant,
    names: Mutex<HashMap<String, Instant>>,
}

impl Default for Suspects {
    fn default() -> Self {
        Self { begun: Instant::now(), names: Mutex::default() }
    }
}

impl Suspects {
    pub(super) fn add(&self, name: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, since| since.elapsed() < LATEST);
        names.insert(name.to_owned(), Instant::now());
    }

    pub(super) fn has(&self, name: &str) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(name).is_some_and(|since| since.elapsed() < LATEST)
    }

    /// Whether the process is so young that one before it may have left something under way.
    pub(super) fn is_early(&self) -> bool {
        self.begun.elapsed() < EARLY
    }
}

impl Cloud {
    /// Whether nobody can have been given a volume, and nothing is under way with it.
    pub(super) fn is_nobodys(&self, volume: &model::Volume) -> bool {
        let given = |server| self.attacher.is_given(volume, server).unwrap_or(true);
        let bound = self.attacher.bound(volume).filter(|_| volume.status == model::Status::InUse);
        twins::is_free(volume) || bound.is_some_and(|server| !given(server))
    }

    /// Begins to delete one of these; where the cloud would also delete what a server uses, it is looked at once more.
    pub(super) async fn discard(&self, volume: &model::Volume) -> Result<()> {
        let id = &volume.id;
        let deleted = match self.dialect().servers.lose_deleted {
            true => self.remove(id).await,
            false => self.client.delete_volume(id).await,
        };
        deleted.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
    }

    /// Removes twins that nobody can have been given, and has the others looked at again.
    pub(super) async fn remove_twins(self: &Arc<Self>, name: &Name, keep: &str, younger: &[model::Volume]) {
        let mut left = self.suspects.has(&name.cloud);
        for volume in younger {
            let id = &volume.id;
            match self.is_nobodys(volume) {
                true => {
                    tracing::warn!(
                        volume = id,
                        keep,
                        name = name.cloud,
                        "a second volume of this name is removed"
                    );
                    if let Err(error) = self.discard(volume).await {
                        tracing::warn!(volume = id, error = error.chain(), "it stays for now");
                        left = true;
                    }
                }
                false => {
                    let status = &volume.status;
                    tracing::warn!(volume = id, keep, name = name.cloud, %status, "there is a second volume of this name");
                    left = true;
                }
            }
        }
        if left || self.suspects.is_early() {
            self.look_again(name.clone(), keep.to_owned());
        }
    }

    /// Looks later for twins of a volume that was given out, and removes them. It is never that volume that goes.
    pub(super) fn look_again(self: &Arc<Self>, name: Name, keep: String) {
        let cloud = Arc::downgrade(self);
        let looks = if self.suspects.has(&name.cloud) { &LOOKS[..] } else { &LOOKS[..1] };
        tokio::spawn(async move {
            for pause in looks {
                sleep(*pause).await;
                let Some(cloud) = cloud.upgrade() else { return };
                cloud.sweep(&name, &keep).await;
            }
        });
    }

    pub(super) async fn sweep(&self, name: &Name, keep: &str) {
        let found = match self.twins(name).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(name = name.cloud, error = error.chain(), "twins cannot be looked for now");
                return;
            }
        };
        let all: Vec<_> = found.first.into_iter().chain(found.younger).collect();
        // Where the one that was given out is gone again, what is there now belongs to a later order.
        if !all.iter().any(|volume| volume.id == keep) {
            return;
        }
        for twin in all.iter().filter(|volume| volume.id != keep && self.is_nobodys(volume)) {
            tracing::warn!(
                volume = twin.id,
                keep,
                name = name.cloud,
                "a late second volume of this name is removed"
            );
            if let Err(error) = self.discard(twin).await {
                tracing::warn!(volume = twin.id, error = error.chain(), "it stays");
            }
        }
    }
}
