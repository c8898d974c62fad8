//! Lists, page by page.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

use crate::backend::cinder::dialect::Paging;
use crate::backend::cinder::model::Listed;
use crate::error::{Error, Kind, Outcome, Result};
use crate::http::Answer;

use super::{Call, Client};

/// Items of a page where nothing else is said: with all details well below the largest answer that is read. A cloud may
/// allow fewer, and then its pages are shorter.
const PAGE: usize = 1000;
/// No list is longer: a cloud that has always another page goes in a circle.
const PAGES: usize = 1000;
/// How long a filter that the operator does not allow is not tried again.
const PAUSE: Duration = Duration::from_secs(600);
/// What Cinder says of it from microversion 3.31 on (cinder/api/common.py); before, it passes over the filter.
const DISALLOWED: &str = "Invalid filters";

/// What a list is to have. Clouds pass over filters that they do not know or allow, so whoever filters must look again.
pub type Filter = (&'static str, String);

/// What is known of a cloud's lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Until when a list's filter is left out: operators take filters away (`resource_filters.json`), and a list is then
    /// the whole one.
    disallowed: Mutex<HashMap<(&'static str, &'static str), Instant>>,
}

impl Lists {
    /// Leaves out the filters that were refused not long ago.
    fn spare(&self, call: &mut Call<'_>) {
        let known = self.disallowed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        call.filters.retain(|(key, _)| known.get(&(call.operation, *key)).is_none_or(|until| *until <= now));
    }

    fn disallow(&self, call: &Call<'_>) {
        let mut known = self.disallowed.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + PAUSE;
        known.extend(call.filters.iter().map(|(key, _)| ((call.operation, *key), until)));
    }
}

fn disallows(error: &Error) -> bool {
    (error.kind(), error.outcome()) == (Kind::InvalidArgument, Outcome::Refused)
        && error.message().contains(DISALLOWED)
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The id after which the next page begins; `None` at the end.
    pub next: Option<String>,
    /// When it was answered, by the cloud's clock.
    pub date: SystemTime,
}

impl Client {
    /// One page, after the item of this id.
    pub(super) async fn page<T: Listed>(
        &self,
        call: Call<'_>,
        limit: Option<usize>,
        after: Option<&str>,
    ) -> Result<Page<T>> {
        let call = call.query("limit", limit.unwrap_or(PAGE));
        let call = match after {
            Some(id) => call.query("marker", id),
            None => call,
        };
        let answer = self.filtered(call).await?;
        let items: Vec<T> = super::take(&answer, T::KEY)?;
        let body: Map<String, Value> = answer.json()?;
        let links = body.get(T::LINKS).and_then(Value::as_array);
        let more = links.is_some_and(|links| {
            links.iter().any(|link| link.get("rel").and_then(Value::as_str) == Some("next"))
        });
        // The link itself names a host that is often not reachable from here; what counts is the last id.
        let next = items.last().filter(|_| more).map(|item| item.id().to_owned());
        let next = next.filter(|next| Some(next.as_str()) != after);
        Ok(Page { next, items: self.there(items), date: answer.date() })
    }

    /// Those that were not deleted, with all their notes.
    fn there<T: Listed>(&self, items: Vec<T>) -> Vec<T> {
        items.into_iter().filter(|item| !item.is_deleted()).map(|item| self.noted(item)).collect()
    }

    /// Sends a call with its filters, or without those that the cloud has not or the operator does not allow.
    async fn filtered(&self, mut call: Call<'_>) -> Result<Answer> {
        if !self.dialect().filters {
            call.filters.clear();
        }
        self.lists.spare(&mut call);
        match self.send(&call).await {
            Err(error) if disallows(&error) && !call.filters.is_empty() => {
                tracing::info!(%error, "the cloud does not allow filters: what it lists is filtered here");
                self.lists.disallow(&call);
                call.filters.clear();
                self.send(&call).await
            }
            answer => answer,
        }
    }

    /// The whole list.
    pub(super) async fn pages<T: Listed>(&self, call: Call<'_>) -> Result<Vec<T>> {
        match self.dialect().paging {
            Paging::Marker => self.by_marker(call).await,
            Paging::Offset => self.by_offset(call).await,
            Paging::Whole => {
                let answer = self.filtered(call).await?;
                Ok(self.there(super::take(&answer, T::KEY)?))
            }
        }
    }

    /// All pages. Where the item after which a page is to begin was deleted meanwhile, it begins after an earlier one, ever
    /// farther back: else the cloud's 404 would tell of something that is missing, while nobody has looked at all.
    async fn by_marker<T: Listed>(&self, call: Call<'_>) -> Result<Vec<T>> {
        let mut all: Vec<T> = Vec::new();
        let mut after: Option<String> = None;
        let mut back = 1;
        for _ in 0..PAGES {
            let page = match self.page(call.clone(), None, after.as_deref()).await {
                Err(error) if error.is_not_found() && after.is_some() => {
                    all.truncate(all.len().saturating_sub(back));
                    after = all.last().map(|item| item.id().to_owned());
                    back *= 2;
                    continue;
                }
                page => page?,
            };
            back = 1;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
        Err(endless(&call))
    }

    /// All pages. What comes or goes meanwhile shifts all that follows, so each page must begin with something that is known
    /// already; where it does not, it begins earlier, ever farther back. It ends where a page brings nothing new: how many items
    /// a page has at most is the cloud's own business, so a short one is no sign.
    async fn by_offset<T: Listed>(&self, call: Call<'_>) -> Result<Vec<T>> {
        let (mut all, mut known) = (Vec::new(), HashSet::new());
        let mut back = 1;
        for _ in 0..PAGES {
            let offset = all.len().saturating_sub(back);
            let page = call.clone().query("limit", PAGE).query("offset", offset);
            let answer = self.filtered(page).await?;
            let items: Vec<T> = super::take(&answer, T::KEY)?;
            if offset > 0 && !items.iter().any(|item| known.contains(item.id())) {
                back *= 2;
                continue;
            }
            back = 1;
            let before = all.len();
            all.extend(items.into_iter().filter(|item| known.insert(item.id().to_owned())));
            if all.len() == before {
                return Ok(self.there(all));
            }
        }
        Err(endless(&call))
    }
}

fn endless(call: &Call<'_>) -> Error {
    Error::internal(format!("the list has more than {PAGES} pages")).during(call.operation)
}
