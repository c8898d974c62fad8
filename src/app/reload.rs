//! Watches the configuration file. A new log level takes effect at once; for the rest the log says what needs a
//! restart. A bad file changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config, ProcessEnvironment};
use crate::error::{Error, Result};
use crate::log::LogHandle;
use crate::metrics::Metrics;

use super::Settings;

/// Polling finds every way in which a file can change, also the swapped links of a mounted ConfigMap, of which a watch
/// on the file itself hears nothing. One stat every five seconds costs nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// The state of a watched file.
pub struct Watch {
    settings: Settings,
    seen: Seen,
    log: LogHandle,
    metrics: Arc<Metrics>,
}

/// What was seen of the file.
struct Seen {
    stamp: Option<Stamp>,
    bytes: Result<Vec<u8>, String>,
}

/// Changes whenever the content may have changed: time, size, and the inode, which a swapped link changes.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// What came of a look at the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The content is the same.
    Same,
    /// It is good; these settings need a restart.
    Good(Vec<&'static str>),
    /// It is bad, and nothing was changed.
    Bad(usize),
}

impl Watch {
    /// Begins with the settings that the process runs with.
    #[must_use]
    pub fn new(settings: Settings, log: LogHandle, metrics: Arc<Metrics>) -> Self {
        // What was read at start is not kept as bytes: the first look reads them again, and finds what changed between.
        Self { settings, seen: Seen { stamp: None, bytes: Ok(Vec::new()) }, log, metrics }
    }

    /// Looks every few seconds, and at once on SIGHUP, for ever.
    ///
    /// # Errors
    /// Where no signal handler can be set.
    pub async fn run(mut self) -> Result<()> {
        let mut hangup =
            signal(SignalKind::hangup()).map_err(|error| Error::io("listen for SIGHUP", error))?;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            if asked {
                tracing::info!("SIGHUP: reading the configuration again");
                self.seen.stamp = None;
            }
            // A small file: read in place. On dead storage only this task hangs, and a worker thread with it; the file
            // is the kubelet's own (a ConfigMap), so that is not worth a thread of its own.
            self.look();
        }
    }

    /// Looks once.
    pub fn look(&mut self) -> Change {
        let now = stamp(&self.settings.file);
        if now.is_some() && now == self.seen.stamp {
            return Change::Same;
        }
        let bytes = config::read(&self.settings.file);
        let same = bytes == self.seen.bytes;
        self.seen = Seen { stamp: now, bytes };
        if same {
            return Change::Same;
        }
        let name = self.settings.file.display().to_string();
        let overrides = &self.settings.overrides;
        let judged = match &self.seen.bytes {
            Ok(bytes) => config::parse(&name, bytes, overrides, &ProcessEnvironment)
                .map_err(|faults| faults.iter().map(ToString::to_string).collect()),
            Err(text) => Err(vec![format!("{name}: {text}")]),
        };
        match judged {
            Ok(config) => self.apply(config),
            Err(faults) => self.refuse(&faults),
        }
    }

    fn apply(&mut self, new: Config) -> Change {
        self.metrics.config_reload_failed(false);
        let old = &mut self.settings.config;
        if new.log.level != old.log.level {
            match self.log.set(&new.log.level) {
                Ok(()) => {
                    tracing::info!(from = %old.log.level, to = %new.log.level, "the log level is changed");
                    old.log.level = new.log.level.clone();
                }
                Err(error) => tracing::error!(error = error.chain(), "the log level stays"),
            }
        }
        let keys = old.differences(&new);
        if !keys.is_empty() {
            let keys = keys.join(", ");
            tracing::warn!(keys, "the configuration has changed: these settings need a restart");
        }
        Change::Good(keys)
    }

    fn refuse(&self, faults: &[String]) -> Change {
        self.metrics.config_reload_failed(true);
        for fault in faults {
            tracing::error!(fault, "the changed configuration is bad");
        }
        tracing::error!(faults = faults.len(), "the configuration that was good stays in force");
        Change::Bad(faults.len())
    }
}
