//! Readers of single values that differ between clouds.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::volume::NO_SERVER;
use crate::backend::cinder::moment;

/// A text, also where it is a number (Cyclades' ids).
pub(super) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    match Value::deserialize(input)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("a text or number is needed")),
    }
}

/// The same of a server that has a volume; null is [`NO_SERVER`].
pub(super) fn holder<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(maybe_text(input)?.unwrap_or_else(|| NO_SERVER.to_owned()))
}

/// A text or number, `None` where it is null, missing or empty.
pub(super) fn maybe_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A whole number, also where it is a text.
pub(super) fn number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(input)?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom("a whole number is needed"))
}

/// A truth value, also where it is a text (`bootable`); null is false.
pub(super) fn truth<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Bool(truth) => truth,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    })
}

/// A time, `None` where there is none that can be read.
pub(super) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SystemTime>, D::Error> {
    Ok(Value::deserialize(input)?.as_str().and_then(moment::parse))
}

/// Texts by key; null is none of them, and a value that is no text is shown as JSON.
pub(super) fn texts<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    let Value::Object(map) = Value::deserialize(input)? else { return Ok(BTreeMap::new()) };
    let text = |(key, value)| match value {
        Value::String(text) => (key, text),
        other => (key, other.to_string()),
    };
    Ok(map.into_iter().map(text).collect())
}

/// A list; null is an empty one.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}
