//! Many volumes at once: one list of those that were changed lately, so that what nobody waits for is not listed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::time::timeout;

use crate::backend::cinder::client::{Client, Page};
use crate::backend::cinder::model::Volume;
use crate::error::{Kind, Result};

use super::ask::{Bounds, Found, Subject, Watched, each};

/// How far the clocks of the cloud's services may differ, and how long before the wait for it a volume may have been
/// changed by the call that began it. So much earlier is listed.
const MARGIN: Duration = Duration::from_secs(10);
/// The cloud tells its clock in whole seconds.
const GRAIN: Duration = Duration::from_secs(2);
/// Volumes that were last changed longer ago than this are not listed but asked for, or the list would be long for all.
const OLD: Duration = Duration::from_secs(60);
/// How long a cloud that does not filter by time is not tried again.
const PAUSE: Duration = Duration::from_secs(600);

/// What is remembered of volumes while somebody waits for some.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When each was changed last, as far as it was seen.
    changed: HashMap<Arc<str>, SystemTime>,
    /// How far the cloud's clock is ahead of this one's, and how far behind.
    ahead: Duration,
    behind: Duration,
    /// Until when lists are not tried.
    unfiltered: Option<Instant>,
}

#[async_trait]
impl Watched for Volume {
    const WHAT: &'static str = "volume";
    type Memory = Memory;

    async fn one(client: &Client, id: &str) -> Result<Self> {
        client.volume(id).await
    }

    fn state(&self) -> String {
        self.status.to_string()
    }

    async fn all(client: &Client, memory: &mut Memory, subjects: &[Subject], bounds: Bounds) -> Found<Self> {
        memory.changed.retain(|id, _| subjects.iter().any(|subject| subject.id == *id));
        let mut found = match subjects {
            [_, _, ..] => match timeout(bounds.all, memory.list(client, subjects)).await {
                Ok(found) => found,
                Err(_) => Found { failure: Some(Bounds::late(bounds.all)), ..Found::default() },
            },
            _ => Found::default(),
        };
        if found.failure.is_some() {
            return found;
        }
        let told = |id: &Arc<str>| found.objects.contains_key(id) || found.untouched.contains(id);
        let rest = subjects.iter().filter(|subject| subject.due && !told(&subject.id));
        let rest: Found<Self> = each(client, rest, bounds).await;
        found.objects.extend(rest.objects);
        (found.missed, found.failure) = (rest.missed, rest.failure);
        for (id, volume) in &found.objects {
            if let Some(changed) = volume.as_ref().and_then(|volume| volume.updated_at) {
                memory.changed.insert(Arc::clone(id), changed);
            }
        }
        found
    }
}

impl Memory {
    async fn list(&mut self, client: &Client, subjects: &[Subject]) -> Found<Volume> {
        if self.unfiltered.is_some_and(|until| Instant::now() < until) {
            return Found::default();
        }
        let since = self.begin(subjects);
        // Beyond what is waited for there may be others that changed. Where they are many, asking one by one is cheaper.
        let limit = subjects.len() * 3 + 100;
        let page = match client.volumes_changed_since(since, limit).await {
            Ok(Some(page)) if page.items.iter().all(|volume| volume.updated_at >= Some(since)) => page,
            Err(error) if error.kind() != Kind::InvalidArgument => {
                return Found { failure: Some(error), ..Found::default() };
            }
            other => {
                let why = other.err().map(|error| error.to_string());
                tracing::info!(
                    why,
                    "the cloud does not list volumes by when they were changed: asking for each"
                );
                self.unfiltered = Some(Instant::now() + PAUSE);
                return Found::default();
            }
        };
        self.set_clock(page.date);
        self.read(page, since, subjects)
    }

    /// A time of this clock, by the cloud's.
    fn there(&self, time: SystemTime) -> SystemTime {
        time + self.ahead - self.behind
    }

    /// From when on it was changed, by the cloud's clock.
    fn start(&self, subject: &Subject) -> SystemTime {
        self.changed.get(&subject.id).copied().unwrap_or_else(|| self.there(subject.since)) - MARGIN
    }

    /// From when on all that is waited for was changed, by the cloud's clock, in whole seconds. Old ones are left out.
    fn begin(&self, subjects: &[Subject]) -> SystemTime {
        let oldest = self.there(SystemTime::now()) - OLD;
        let starts = subjects.iter().map(|subject| self.start(subject));
        let begin = starts.filter(|start| *start >= oldest).min().unwrap_or(oldest) - GRAIN;
        let whole = begin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        SystemTime::UNIX_EPOCH + Duration::from_secs(whole)
    }

    fn set_clock(&mut self, there: SystemTime) {
        let here = SystemTime::now();
        self.ahead = there.duration_since(here).unwrap_or_default();
        self.behind = here.duration_since(there).unwrap_or_default();
    }

    fn read(&self, page: Page<Volume>, since: SystemTime, subjects: &[Subject]) -> Found<Volume> {
        let whole = page.next.is_none();
        let mut volumes: HashMap<_, _> =
            page.items.into_iter().map(|volume| (volume.id.clone(), volume)).collect();
        let mut found = Found::default();
        for subject in subjects {
            let Subject { id, unseen, touched, .. } = subject;
            let changed = *touched || self.changed.contains_key(id);
            if let Some(volume) = volumes.remove(id.as_ref()) {
                found.objects.insert(Arc::clone(id), Some(volume));
            } else if whole && changed && self.start(subject) >= since {
                // A volume's last change becomes later, or hardly earlier, so it would be on the list.
                found.objects.insert(Arc::clone(id), None);
            } else if whole && *unseen {
                // The cloud has not touched it yet.
                found.untouched.push(Arc::clone(id));
            }
        }
        found
    }
}
