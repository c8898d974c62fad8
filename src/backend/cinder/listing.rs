//! Listings of what is ours, page by page. A token says after which object a page begins, by its time and id, so it stays
//! good when that object is deleted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::cinder::model;
use crate::backend::{Listing, Page, SnapshotFilter};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{NativeId, Snapshot, Volume};

use super::dialect::Paging;
use super::model::Status;
use super::{Cloud, notes, twins};

/// What a token of ours begins with.
const PREFIX: &str = "after:";
/// Volumes of a page of the cloud's at most.
const PAGE: usize = 1000;

/// A place in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    time: Duration,
    id: String,
}

impl Mark {
    fn new(time: SystemTime, id: &str) -> Self {
        Self { time: time.duration_since(UNIX_EPOCH).unwrap_or_default(), id: id.to_owned() }
    }

    fn of(volume: &model::Volume) -> Self {
        Self::new(volume.created_at.unwrap_or(UNIX_EPOCH), &volume.id)
    }

    fn parse(token: &str) -> Result<Self> {
        let read = || {
            let (time, id) = token.strip_prefix(PREFIX)?.split_once(':')?;
            let (seconds, nanoseconds) = time.split_once('.')?;
            let time = Duration::new(
                seconds.parse().ok()?,
                nanoseconds.parse().ok().filter(|n| *n < 1_000_000_000)?,
            );
            let id: NativeId = id.parse().ok()?;
            Some(Self { time, id: id.to_string() })
        };
        read().ok_or_else(|| {
            Error::refused(
                Kind::BadToken,
                format!("{token:?} is no token of this list: begin again without one"),
            )
        })
    }

    fn token(&self) -> String {
        format!("{PREFIX}{}.{}:{}", self.time.as_secs(), self.time.subsec_nanos(), self.id)
    }
}

/// Takes a page from what is left of a list: `more` says whether there is anything behind it.
fn page<T, U>(
    rest: Vec<T>,
    max: usize,
    mark: impl Fn(&T) -> Mark,
    translate: impl Fn(&T) -> Result<U>,
) -> Result<Listing<U>> {
    let more = rest.len() > max;
    let taken = rest.get(..max.min(rest.len())).unwrap_or_default();
    let next = taken.last().filter(|_| more).map(|last| mark(last).token());
    Ok(Listing { items: taken.iter().map(translate).collect::<Result<_>>()?, next })
}

impl Cloud {
    /// The volumes that are ours. One that is being made, could not be made or is going is none yet or any more.
    ///
    /// # Errors
    /// `BadToken`.
    pub(super) async fn list(&self, wanted: &Page) -> Result<Listing<Volume>> {
        let after = wanted.token.as_deref().map(Mark::parse).transpose()?;
        let max = wanted.max.filter(|max| *max > 0).unwrap_or(usize::MAX);
        let rest = self.volumes_after(after, max).await?;
        page(rest, max, Mark::of, |volume| self.volume(volume))
    }

    /// Those behind a mark, in order: one more than `max`, where there are so many.
    async fn volumes_after(&self, after: Option<Mark>, max: usize) -> Result<Vec<model::Volume>> {
        let filters = [notes::ours_filter(&self.config)];
        if self.dialect().paging != Paging::Marker {
            return self.volumes_behind(after, &filters).await;
        }
        let wanted = max.saturating_add(1);
        let mut found = Vec::new();
        let mut marker = after.as_ref().map(|mark| mark.id.clone());
        loop {
            let limit = wanted.saturating_sub(found.len()).min(PAGE);
            let part = match self.client.volume_page(&filters, Some(limit), marker.as_deref()).await {
                Ok(part) => part,
                // What the token stands for is gone: its place is still known.
                Err(error)
                    if error.is_not_found() && error.outcome() == Outcome::Refused && marker.is_some() =>
                {
                    return self.volumes_behind(after, &filters).await;
                }
                Err(error) => return Err(error),
            };
            found.extend(part.items.into_iter().filter(|volume| self.is_listed(volume)));
            match part.next {
                Some(next) if found.len() < wanted => marker = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// The same from the whole list.
    async fn volumes_behind(
        &self,
        after: Option<Mark>,
        filters: &[(&'static str, String)],
    ) -> Result<Vec<model::Volume>> {
        let mut all = self.client.volumes(filters).await?;
        all.retain(|volume| {
            self.is_listed(volume) && after.as_ref().is_none_or(|after| Mark::of(volume) > *after)
        });
        all.sort_by_key(Mark::of);
        Ok(all)
    }

    fn is_listed(&self, volume: &model::Volume) -> bool {
        let status = &volume.status;
        notes::is_ours(&self.config, volume)
            && !twins::is_being_made(status)
            && !twins::could_not_be_made(status)
            && !matches!(status, Status::Deleting | Status::Deleted)
    }

    /// The snapshots that are ours and pass the filter.
    ///
    /// # Errors
    /// `BadToken`.
    pub(super) async fn list_snapshots(
        &self,
        filter: &SnapshotFilter,
        wanted: &Page,
    ) -> Result<Listing<Snapshot>> {
        let after = wanted.token.as_deref().map(Mark::parse).transpose()?;
        let max = wanted.max.filter(|max| *max > 0).unwrap_or(usize::MAX);
        let mark = |snapshot: &Snapshot| Mark::new(snapshot.created, snapshot.id.as_str());
        let mut all = self.all_snapshots(filter).await?;
        all.retain(|snapshot| after.as_ref().is_none_or(|after| mark(snapshot) > *after));
        page(all, max, mark, |snapshot| Ok(snapshot.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place() {
        let mark = Mark::new(UNIX_EPOCH + Duration::new(7, 250_000_000), "a-b");
        assert_eq!(mark.token(), "after:7.250000000:a-b");
        assert_eq!(Mark::parse(&mark.token()).unwrap(), mark);
        for bad in [
            "",
            "nonsense",
            "after:",
            "after:a/b",
            "after:1:a",
            "after:1.2:a/b",
            "after:1.9999999999:a",
            "x:1.1:a",
        ] {
            assert_eq!(Mark::parse(bad).unwrap_err().kind(), Kind::BadToken, "{bad}");
        }
    }
}
