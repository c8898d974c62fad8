//! Watches the files that credentials come from. Changed ones are tried, and take the place of those in use only where
//! they are good.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

use super::{Access, Session};

/// Polling finds every way in which a file can change, also the swapped links of a mounted Secret. A few stats every
/// five seconds cost nothing.
const INTERVAL: Duration = Duration::from_secs(5);
/// When good-looking credentials are tried again that could not be tried because the cloud did not answer.
const RETRY: Duration = Duration::from_secs(30);

/// Changes whenever the content of a file may have changed.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// What was seen of the files.
#[derive(Debug)]
pub struct Watch {
    stamps: Vec<(PathBuf, Stamp)>,
    again: Option<Instant>,
}

/// What came of a look at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// They are the same.
    Same,
    /// They changed, and what is in them now is in use.
    Swapped,
    /// They changed, and what was in use before is kept.
    Kept,
}

impl Session {
    /// Looks every few seconds until the session is gone.
    pub async fn watch(session: Weak<Self>) {
        let Some(mut watch) = session.upgrade().map(|session| session.begin_watch()) else { return };
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(session) = session.upgrade() else { return };
            session.look(&mut watch).await;
        }
    }

    /// Begins with the files as they are now.
    #[must_use]
    pub fn begin_watch(&self) -> Watch {
        Watch { stamps: self.stamps(&self.access()), again: None }
    }

    /// Looks once.
    pub async fn look(&self, watch: &mut Watch) -> Look {
        let stamps = self.stamps(&self.access());
        let due = watch.again.is_some_and(|again| again <= Instant::now());
        if stamps == watch.stamps && !due {
            return Look::Same;
        }
        watch.stamps = stamps;
        watch.again = None;
        match self.swap().await {
            Ok(access) => {
                // They may name other files than those before.
                watch.stamps = self.stamps(&access);
                self.note(None);
                tracing::info!(backend = self.name, "changed credentials are in use");
                Look::Swapped
            }
            Err(error) => {
                if matches!(error.kind(), Kind::Unavailable | Kind::Timeout) {
                    watch.again = Some(Instant::now() + RETRY);
                }
                let error = error.chain();
                self.note(Some(error.clone()));
                tracing::error!(
                    backend = self.name,
                    error,
                    "changed credentials are bad: those before them stay"
                );
                Look::Kept
            }
        }
    }

    /// Tries what is in the files now.
    async fn swap(&self) -> Result<Arc<Access>> {
        let new = Arc::new(Self::prepare(&self.name, &self.config, &self.throttle, &self.metrics)?);
        let project = new.token().await?.project.clone();
        if let (Some(old), Some(project)) = (self.access().project(), &project)
            && old != *project
        {
            return Err(Error::unknown(
                Kind::FailedPrecondition,
                format!(
                    "they are for project {project}, and the volumes are in project {old}: restart the driver if this is meant"
                ),
            ));
        }
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&new);
        Ok(new)
    }

    fn stamps(&self, access: &Access) -> Vec<(PathBuf, Stamp)> {
        let files = self.config.source.files().into_iter().chain(access.credentials().files());
        files.map(|file| (file.clone(), stamp(&file))).collect()
    }
}
