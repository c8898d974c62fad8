//! Lists: filters, order and pages (cinder/api/common.py).

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::config::{NameFilter, Version};
use crate::state::{Metadata, Moment, Refusal, Result, Row};
use crate::wire::Reply;
use crate::wire::request::{Request, encode};

use super::Call;
use super::times::Range;

/// What is not a filter.
const PAGING: [&str; 7] = ["limit", "marker", "offset", "sort", "sort_key", "sort_dir", "list_volume"];
/// From here on filters that are not known are refused instead of passed over, and those by time are known: long before
/// the version that brought them.
const STRICT: Version = Version(3, 31);
/// From here on a list can tell how long it is.
const COUNTED: Version = Version(3, 45);

/// How the items of a list are called, and by what they can be chosen.
pub(super) struct Kind<T: 'static> {
    /// The key of the list.
    pub(super) key: &'static str,
    /// The key of the links to other pages.
    pub(super) links: &'static str,
    /// What is said where a marker is none.
    pub(super) missing: &'static str,
    /// The filters with what they look at.
    pub(super) filters: &'static [(&'static str, Look<T>)],
    /// What is ordered by.
    pub(super) created: fn(&T) -> std::time::Duration,
    /// What is ordered by.
    pub(super) name: fn(&T) -> &str,
}

/// What a filter looks at.
pub(super) enum Look<T> {
    /// A text.
    Text(fn(&T) -> String),
    /// What was noted.
    Notes(fn(&T) -> &Metadata),
    /// When something was done; never, where nothing is told.
    Time(fn(&T) -> Option<Moment>),
}

/// A page of a list, and whether another may follow.
pub(super) struct Page<'a, T> {
    pub(super) items: Vec<&'a T>,
    pub(super) next: Option<String>,
    pub(super) count: Option<usize>,
}

impl<'a, T: Row + 'static> Page<'a, T> {
    /// The page that a request asks for, of what is there (oldest first).
    pub(super) fn of(
        call: &Call<'_>,
        kind: &Kind<T>,
        all: impl DoubleEndedIterator<Item = &'a T>,
    ) -> Result<Self> {
        let request = call.request;
        let chosen = filter(call, kind, all.rev().collect())?;
        let sorted = sort(request, kind, chosen);
        let counted = call.version >= COUNTED && request.parameter("with_count").is_some_and(is_true);
        let count = counted.then_some(sorted.len());
        let after = match request.parameter("marker") {
            None => 0,
            Some(marker) => match sorted.iter().position(|item| item.id() == marker) {
                Some(at) => at + 1,
                None => return Err(Refusal::missing(kind.missing.replace("{}", marker))),
            },
        };
        let limit = number(request, "limit")?.unwrap_or(call.cloud.config.page).min(call.cloud.config.page);
        let offset = number(request, "offset")?.unwrap_or(0);
        let items: Vec<_> = sorted.into_iter().skip(after + offset).take(limit).collect();
        // A full page may be the last one, and is followed by an empty one then.
        let full = items.last().filter(|_| limit <= count.unwrap_or(items.len()));
        let next = full.map(|last| next(request, last.id()));
        Ok(Self { items, next, count })
    }

    /// As it is answered, with each item as `view` shows it.
    pub(super) fn reply(self, kind: &Kind<T>, call: &Call<'_>, view: impl FnMut(&T) -> Value) -> Reply {
        let items: Vec<_> = self.items.into_iter().map(view).collect();
        let mut body = Map::new();
        body.insert(kind.key.to_owned(), Value::Array(items));
        if let Some(next) = self.next {
            let path = call.request.path.join("/");
            let link = format!("{}/{path}?{next}", call.request.root());
            body.insert(kind.links.to_owned(), json!([{"rel": "next", "href": link}]));
        }
        if let Some(count) = self.count {
            body.insert("count".to_owned(), json!(count));
        }
        Reply::json(200, &Value::Object(body))
    }
}

fn next(request: &Request, last: &str) -> String {
    let others = request.query.iter().filter(|(key, _)| key != "marker");
    let mut query: String =
        others.map(|(key, value)| format!("{}={}&", encode(key), encode(value))).collect();
    query += &format!("marker={last}");
    query
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "t" | "yes" | "y" | "on" | "")
}

fn number(request: &Request, name: &str) -> Result<Option<usize>> {
    let Some(text) = request.parameter(name) else { return Ok(None) };
    match text.parse::<i64>() {
        Err(_) => Err(Refusal::invalid(format!("{name} param must be an integer"))),
        Ok(number) => usize::try_from(number)
            .map(Some)
            .map_err(|_| Refusal::invalid(format!("{name} param must be positive"))),
    }
}

fn filter<'a, T: 'static>(call: &Call<'_>, kind: &Kind<T>, mut items: Vec<&'a T>) -> Result<Vec<&'a T>> {
    let mut unknown = Vec::new();
    for (key, wanted) in &call.request.query {
        if PAGING.contains(&key.as_str()) || key == "with_count" && call.version >= COUNTED {
            continue;
        }
        let names = call.cloud.config.name_filter;
        // Filters for a part of a text (`name~`) are there only where the operator has allowed them.
        match kind.filters.iter().find(|(known, _)| known == key) {
            // Other users' objects are never shown to users, and asking for them is passed over.
            None if key == "all_tenants" => {}
            None => unknown.push(key.as_str()),
            Some(_) if key == "name" && names == NameFilter::NotAllowed => unknown.push(key.as_str()),
            Some(_) if key == "name" && names == NameFilter::Ignored => {}
            Some((_, Look::Text(look))) => items.retain(|item| look(item) == *wanted),
            Some((_, Look::Notes(look))) => match literal(wanted) {
                Some(wanted) => {
                    items.retain(|item| wanted.iter().all(|(key, value)| look(item).get(key) == Some(value)));
                }
                None => items.clear(),
            },
            Some((_, Look::Time(_))) if call.version < STRICT => {}
            Some((_, Look::Time(look))) => {
                let range = Range::read(wanted)?;
                items.retain(|item| look(item).is_some_and(|moment| range.has(moment)));
            }
        }
    }
    if !unknown.is_empty() && call.version >= STRICT {
        let text = format!("Invalid filters {} are found in query options.", unknown.join(","));
        return Err(Refusal::invalid(text));
    }
    Ok(items)
}

fn sort<'a, T: Row + 'static>(request: &Request, kind: &Kind<T>, mut items: Vec<&'a T>) -> Vec<&'a T> {
    let Some(sort) = request.parameter("sort") else { return items };
    let by = |a: &T, b: &T, key: &str| -> Ordering {
        let (key, direction) = key.split_once(':').unwrap_or((key, "desc"));
        let order = match key {
            "name" | "display_name" => (kind.name)(a).cmp((kind.name)(b)),
            "id" => a.id().cmp(b.id()),
            _ => (kind.created)(a).cmp(&(kind.created)(b)),
        };
        if direction == "asc" { order } else { order.reverse() }
    };
    // The sort keeps the order of those that are equal by all keys, which is that of a list without any.
    items.sort_by(|a, b| {
        sort.split(',').fold(Ordering::Equal, |order, key| order.then_with(|| by(a, b, key.trim())))
    });
    items
}

/// The texts of a Python dictionary such as `{'k': 'v'}`; `None` where it is none.
fn literal(text: &str) -> Option<Vec<(String, String)>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut rest = inside;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let (value, after) = quoted(after.trim_start().strip_prefix(':')?.trim_start())?;
        pairs.push((key, value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(pairs)
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    let mut found = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => found.push(letters.next()?.1),
            _ if letter == quote => return Some((found, &text[at + 1..])),
            _ => found.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_dictionaries_are_read() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(literal("{'k':'v'}"), Some(vec![pair("k", "v")]));
        assert_eq!(
            literal(r#"{"a": "b", 'c/d' : 'it\'s'}"#),
            Some(vec![pair("a", "b"), pair("c/d", "it's")])
        );
        assert_eq!(literal("{}"), Some(vec![]));
        for bad in ["", "k", "{k: v}", "{'k'}", "{'k':1}", "{'k':'v'"] {
            assert_eq!(literal(bad), None, "{bad}");
        }
    }
}
