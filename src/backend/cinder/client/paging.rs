//! Lists, page by page.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::backend::cinder::model::Listed;
use crate::error::{Error, Result};

use super::{Call, Client};

/// Items of a page where nothing else is said: with all details well below the largest answer that is read. A cloud may
/// allow fewer, and then its pages are shorter.
const PAGE: usize = 1000;
/// No list is longer: a cloud that has always another page goes in a circle.
const PAGES: usize = 1000;

/// What a list is to have. Clouds pass over filters that they do not know, so whoever filters must look again.
pub type Filter = (&'static str, String);

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
        let answer = self.send(&call).await?;
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
