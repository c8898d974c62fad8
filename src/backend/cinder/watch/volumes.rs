//! Many volumes at once: one list of those that were changed lately, so that what nobody waits for is not listed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use crate::backend::cinder::client::{Client, Page};
use crate::backend::cinder::model::Volume;
use crate::error::{Kind, Result};

use super::ask::{Found, Subject, Watched, each};

/// How far before the begin of a wait is listed: the clocks of the cloud's services differ, and a call may have changed
/// the volume before the wait for it began.
const MARGIN: Duration = Duration::from_secs(120);
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

    async fn all(client: &Client, memory: &mut Memory, subjects: &[Subject]) -> Found<Self> {
        memory.changed.retain(|id, _| subjects.iter().any(|subject| subject.id == *id));
        let listed = match subjects {
            [_, _, ..] => memory.list(client, subjects).await,
            _ => Listed::default(),
        };
        let mut found = Found::default();
        if let Some(error) = listed.failure {
            found.failure = Some(error);
            return found;
        }
        found = each(client, listed.rest(subjects)).await;
        found.objects.extend(listed.found.objects);
        for (id, volume) in &found.objects {
            if let Some(changed) = volume.as_ref().and_then(|volume| volume.updated_at) {
                memory.changed.insert(Arc::clone(id), changed);
            }
        }
        found
    }
}

/// What a list told.
#[derive(Debug, Default)]
struct Listed {
    found: Found<Volume>,
    /// Not on the list, and not known well enough to say that they are gone. It may be that the cloud has not touched
    /// them yet.
    untouched: Vec<Arc<str>>,
    failure: Option<crate::error::Error>,
}

impl Listed {
    /// Those that have to be asked for one by one.
    fn rest<'a>(&'a self, subjects: &'a [Subject]) -> impl Iterator<Item = &'a Arc<str>> {
        let told = |id: &Arc<str>| self.found.objects.contains_key(id) || self.untouched.contains(id);
        subjects.iter().map(|subject| &subject.id).filter(move |id| !told(id))
    }
}

impl Memory {
    async fn list(&mut self, client: &Client, subjects: &[Subject]) -> Listed {
        if self.unfiltered.is_some_and(|until| Instant::now() < until) {
            return Listed::default();
        }
        let since = self.begin(subjects);
        // Beyond what is waited for there may be others that changed. Where they are many, asking one by one is cheaper.
        let limit = subjects.len() * 2 + 20;
        let page = match client.volumes_changed_since(since, limit).await {
            Ok(Some(page)) if page.items.iter().all(|volume| volume.updated_at >= Some(since)) => page,
            Err(error) if error.kind() != Kind::InvalidArgument => {
                return Listed { failure: Some(error), ..Listed::default() };
            }
            other => {
                let why = other.err().map(|error| error.to_string());
                tracing::info!(
                    why,
                    "the cloud does not list volumes by when they were changed: asking for each"
                );
                self.unfiltered = Some(Instant::now() + PAUSE);
                return Listed::default();
            }
        };
        self.set_clock(page.date);
        self.read(page, since, subjects)
    }

    /// From when on all that is waited for must have been changed, by the cloud's clock, in whole seconds.
    fn begin(&self, subjects: &[Subject]) -> SystemTime {
        let there = |time: SystemTime| time + self.ahead - self.behind;
        let starts = subjects.iter().map(|subject| {
            let start = there(subject.since) - MARGIN;
            // One that was changed just before that is still worth a longer list.
            self.changed.get(&subject.id).map_or(start, |changed| (*changed).clamp(start - MARGIN, start))
        });
        let begin = starts.min().unwrap_or_else(|| there(SystemTime::now()));
        let whole = begin.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        SystemTime::UNIX_EPOCH + Duration::from_secs(whole)
    }

    fn set_clock(&mut self, there: SystemTime) {
        let here = SystemTime::now();
        self.ahead = there.duration_since(here).unwrap_or_default();
        self.behind = here.duration_since(there).unwrap_or_default();
    }

    fn read(&self, page: Page<Volume>, since: SystemTime, subjects: &[Subject]) -> Listed {
        let whole = page.next.is_none();
        let mut volumes: HashMap<_, _> =
            page.items.into_iter().map(|volume| (volume.id.clone(), volume)).collect();
        let mut listed = Listed::default();
        for Subject { id, unseen, .. } in subjects {
            if let Some(volume) = volumes.remove(id.as_ref()) {
                listed.found.objects.insert(Arc::clone(id), Some(volume));
            } else if whole && self.changed.get(id).is_some_and(|changed| *changed >= since) {
                // A volume's last change only ever becomes later, so it would be on the list.
                listed.found.objects.insert(Arc::clone(id), None);
            } else if whole && *unseen {
                listed.untouched.push(Arc::clone(id));
            }
        }
        listed
    }
}
