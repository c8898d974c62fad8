//! Pages of a sorted list. A token names the last id that was given, so it stays good when that object is deleted.

use crate::backend::{Listing, Page};
use crate::error::{Error, Kind, Result};
use crate::volume::NativeId;

/// What a token of ours begins with.
const PREFIX: &str = "after:";

/// The page of `list`, which is sorted by id. `load` gives `None` for what is not to be listed, such as what was deleted
/// meanwhile.
///
/// # Errors
/// `BadToken`; and what `load` says.
pub(crate) fn page<V, T>(
    list: impl IntoIterator<Item = (NativeId, V)>,
    page: &Page,
    mut load: impl FnMut(&NativeId, V) -> Result<Option<T>>,
) -> Result<Listing<T>> {
    let after = page.token.as_deref().map(parse).transpose()?;
    let max = page.max.filter(|max| *max > 0).unwrap_or(usize::MAX);
    let (mut items, mut last) = (Vec::new(), None);
    for (id, value) in list {
        if after.as_ref().is_some_and(|after| id <= *after) {
            continue;
        }
        let Some(item) = load(&id, value)? else { continue };
        if items.len() == max {
            return Ok(Listing { items, next: last });
        }
        items.push(item);
        last = Some(format!("{PREFIX}{id}"));
    }
    Ok(Listing { items, next: None })
}

fn parse(token: &str) -> Result<NativeId> {
    token.strip_prefix(PREFIX).and_then(|id| id.parse().ok()).ok_or_else(|| {
        Error::refused(Kind::BadToken, format!("{token:?} is no token of this list: begin again without one"))
    })
}
