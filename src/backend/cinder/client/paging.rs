//! Lists, page by page.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};

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
        Ok(Page { next: next.filter(|next| Some(next.as_str()) != after), items, date: answer.date() })
    }

    /// Sends a call with its filters, or without those that the operator does not allow.
    async fn filtered(&self, mut call: Call<'_>) -> Result<Answer> {
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

    /// All pages. Where the item after which a page is to begin was deleted meanwhile, it begins after an earlier one, ever
    /// farther back: else the cloud's 404 would tell of something that is missing, while nobody has looked at all.
    pub(super) async fn pages<T: Listed>(&self, call: Call<'_>) -> Result<Vec<T>> {
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
        Err(Error::internal(format!("the list has more than {PAGES} pages")).during(call.operation))
    }
}
