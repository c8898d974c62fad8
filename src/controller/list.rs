//! Listings over all back ends, page by page.
//!
//! The back ends follow each other in the order of their names. A token reads `<back end>:<the back end's own
//! token>`; without the second part it names that back end's first page.

use std::future::Future;
use std::sync::Arc;

use crate::backend::{Backend, Listing, Page};
use crate::controller::{Controller, Found};
use crate::error::{Error, Kind, Result};
use crate::volume::{BackendName, Volume};

/// A page of objects of several back ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The objects.
    pub items: Vec<Found<T>>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl Controller {
    /// Tells of all volumes, with the nodes that have them. One back end that cannot answer fails the listing: a
    /// volume missing from it would count as detached.
    ///
    /// # Errors
    /// `BadToken`; else as [`Backend::list`].
    pub async fn list(&self, page: &Page) -> Result<Listed<Volume>> {
        let all = self.backends.iter().map(|(name, backend)| (name.clone(), Arc::clone(backend))).collect();
        walk(all, page, |backend, page| async move { backend.list(&page).await }).await
    }
}

/// Lists one back end after the other until the page is full.
pub(super) async fn walk<T, F>(
    backends: Vec<(BackendName, Arc<dyn Backend>)>,
    page: &Page,
    list: impl Fn(Arc<dyn Backend>, Page) -> F,
) -> Result<Listed<T>>
where
    F: Future<Output = Result<Listing<T>>>,
{
    let mut backends = backends.into_iter().peekable();
    let mut token = None;
    if let Some(text) = &page.token {
        let (name, inner) = text.split_once(':').ok_or_else(|| bad_token(text))?;
        while backends.next_if(|(known, _)| known.as_str() != name).is_some() {}
        if backends.peek().is_none() {
            return Err(bad_token(text));
        }
        token = (!inner.is_empty()).then(|| inner.to_owned());
    }
    let mut items = Vec::new();
    while let Some((name, backend)) = backends.peek().cloned() {
        let max = page.max.map(|max| max.saturating_sub(items.len()));
        if max == Some(0) {
            return Ok(Listed { items, next: Some(format!("{name}:{}", token.unwrap_or_default())) });
        }
        let part = list(backend, Page { max, token: token.take() }).await?;
        let empty = part.items.is_empty();
        items.extend(part.items.into_iter().map(|item| Found { backend: name.clone(), item }));
        match part.next {
            // A back end that gives neither items nor an end must not keep us here for ever.
            Some(next) if empty => return Ok(Listed { items, next: Some(format!("{name}:{next}")) }),
            Some(next) => token = Some(next),
            None => {
                backends.next();
            }
        }
    }
    Ok(Listed { items, next: None })
}

fn bad_token(text: &str) -> Error {
    Error::refused(
        Kind::BadToken,
        format!("starting_token {text:?} is none that a listing gave: start again without one"),
    )
}
