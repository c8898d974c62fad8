//! What was written down, so that the same is not written again and again.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::volume::{BackendName, NodeId, VolumeId};

/// How often an event may be written.
const PAUSE: Duration = Duration::from_secs(60);
/// How many events are remembered; the one that was written longest ago is forgotten first.
const REMEMBERED: usize = 256;

/// What an event is about, and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Volume(VolumeId, NodeId, &'static str),
    Backend(BackendName, &'static str),
}

impl Key {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Volume(_, _, reason) | Self::Backend(_, reason) => reason,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volume, node, reason) => write!(f, "{reason} of volume {volume} at node {node}"),
            Self::Backend(name, reason) => write!(f, "{reason} of back end {name}"),
        }
    }
}

/// Where an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) count: i32,
    tried: Instant,
    pub(super) written: Option<Written>,
}

/// How often each event happened, and when it was written.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<Key, Entry>,
}

impl Ledger {
    /// Whether the event would be written now.
    pub(super) fn is_due(&self, key: &Key, now: Instant) -> bool {
        self.entries.get(key).is_none_or(|entry| now.duration_since(entry.tried) >= PAUSE)
    }

    /// Counts one more; tells what is to be written, if anything is.
    pub(super) fn count(&mut self, key: &Key, now: Instant) -> Option<Entry> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.count = entry.count.saturating_add(1);
            if now.duration_since(entry.tried) < PAUSE {
                return None;
            }
            entry.tried = now;
            return Some(entry.clone());
        }
        if self.entries.len() >= REMEMBERED {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.tried).map(|(key, _)| key.clone());
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        let entry = Entry { count: 1, tried: now, written: None };
        self.entries.insert(key.clone(), entry.clone());
        Some(entry)
    }

    pub(super) fn written(&mut self, key: &Key, written: Option<Written>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.written = written;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::Volume(format!("here/v-{number}").parse().unwrap(), "w".parse().unwrap(), "DetachBlocked")
    }

    #[tokio::test(start_paused = true)]
    async fn the_ledger_forgets_what_was_written_longest_ago() {
        let mut ledger = Ledger::default();
        for number in 0..REMEMBERED {
            assert_eq!(ledger.count(&key(number), Instant::now()).unwrap().count, 1);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(ledger.count(&key(0), Instant::now()).unwrap().count, 2);
        assert_eq!(ledger.count(&key(REMEMBERED), Instant::now()).unwrap().count, 1);
        assert_eq!(ledger.entries.len(), REMEMBERED);
        assert_eq!(ledger.count(&key(0), Instant::now()), None, "it was written just now");
        assert!(!ledger.is_due(&key(0), Instant::now()) && ledger.is_due(&key(1), Instant::now()));
        assert_eq!(ledger.count(&key(1), Instant::now()).unwrap().count, 1, "it was forgotten");
    }
}
