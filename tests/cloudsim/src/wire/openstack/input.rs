//! What callers send, read as strictly as the services read it (cinder/api/schemas).

use serde_json::Value;

use crate::state::{Metadata, Refusal, Result};

/// The most that names, descriptions and values of metadata may have.
const LONGEST: usize = 255;

fn bad(field: &str, value: &Value, why: &str) -> Refusal {
    let shown = value.to_string();
    let shown = shown.trim_matches('"');
    Refusal::invalid(format!(
        "Invalid input for field/attribute {field}. Value: {shown}. {} {why}",
        value.to_string().replace('"', "'")
    ))
}

/// A text; `None` where it is null or not there.
pub(super) fn text(body: &Value, field: &str) -> Result<Option<String>> {
    match &body[field] {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= LONGEST => Ok(Some(text.clone())),
        long @ Value::String(_) => Err(bad(field, long, "is too long")),
        other => Err(bad(field, other, "is not of type 'string', 'null'")),
    }
}

/// A name or description: without white space around it.
pub(super) fn trimmed(body: &Value, field: &str) -> Result<Option<String>> {
    Ok(text(body, field)?.map(|text| text.trim().to_owned()))
}

/// A text that must be there.
pub(super) fn needed(body: &Value, field: &str) -> Result<String> {
    text(body, field)?.ok_or_else(|| {
        Refusal::invalid(format!("Invalid input for field/attribute body. '{field}' is a required property"))
    })
}

/// The id of an object; null is none.
pub(super) fn uuid(body: &Value, field: &str) -> Result<Option<String>> {
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_hexdigit).count() == 32;
    match text(body, field)? {
        Some(text) if !digits(&text) => Err(bad(field, &body[field], "is not a 'uuid'")),
        found => Ok(found),
    }
}

/// A size in GiB: a number or its digits, at least 1.
pub(super) fn size(body: &Value, field: &str) -> Result<Option<u64>> {
    let value = &body[field];
    if value.is_null() {
        return Ok(None);
    }
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    match number {
        Some(number @ 1..=2_147_483_647) => Ok(Some(number)),
        Some(0) => Err(bad(field, value, "is less than the minimum of 1")),
        _ => Err(bad(field, value, "does not match '^[0-9]+$'")),
    }
}

/// A truth value, in one of the forms that are taken for one.
pub(super) fn truth(body: &Value, field: &str) -> Result<Option<bool>> {
    match &body[field] {
        Value::Null => Ok(None),
        Value::Bool(truth) => Ok(Some(*truth)),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" | "yes" | "y" | "on" => Ok(Some(true)),
            "false" | "0" | "f" | "no" | "n" | "off" => Ok(Some(false)),
            _ => Err(bad(field, &body[field], "is not a boolean")),
        },
        other => Err(bad(field, other, "is not a boolean")),
    }
}

/// Notes about an object.
pub(super) fn metadata(body: &Value, field: &str) -> Result<Metadata> {
    let map = match &body[field] {
        Value::Null => return Ok(Metadata::new()),
        Value::Object(map) => map,
        other => return Err(bad(field, other, "is not of type 'object'")),
    };
    let mut metadata = Metadata::new();
    for (key, value) in map {
        let sound = |c: char| c.is_ascii_alphanumeric() || "-_:. /".contains(c);
        if !(1..=LONGEST).contains(&key.len()) || !key.chars().all(sound) {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute {field}. Value: {key}. Additional properties are not allowed \
                 ('{key}' was unexpected)"
            )));
        }
        match value {
            Value::String(text) if text.chars().count() <= LONGEST => {
                metadata.insert(key.clone(), text.clone())
            }
            long @ Value::String(_) => return Err(bad(key, long, "is too long")),
            other => return Err(bad(key, other, "is not of type 'string'")),
        };
    }
    Ok(metadata)
}

/// Refuses keys that are not known.
pub(super) fn only(body: &Value, known: &[&str]) -> Result<()> {
    let Value::Object(map) = body else { return Ok(()) };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Refusal::invalid(format!(
            "Invalid input for field/attribute volume. Additional properties are not allowed ('{key}' was unexpected)"
        ))),
    }
}
