//! What callers send, read as strictly as the services read it (cinder/api/schemas).

use serde_json::Value;

use crate::state::{Metadata, Refusal, Result};

/// The most that names, descriptions and values of metadata may have.
const LONGEST: usize = 255;

fn bad(field: &str, value: &Value, why: &str) -> Refusal {
    let shown = python(value);
    Refusal::invalid(format!(
        "Invalid input for field/attribute {field}. Value: {}. {shown} {why}",
        shown.trim_matches('\'')
    ))
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => format!("'{text}'"),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("'{key}': {}", python(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
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
    match body[field].as_str().map(|text| text.chars().count()) {
        Some(length) if length > LONGEST => Err(Refusal::invalid(format!(
            "Invalid input received: {field} has {length} characters, more than {LONGEST}."
        ))),
        _ => Ok(text(body, field)?.map(|text| text.trim().to_owned())),
    }
}

/// Refuses what is neither an object nor null.
pub(super) fn object(body: &Value, field: &str) -> Result<()> {
    match &body[field] {
        Value::Null | Value::Object(_) => Ok(()),
        other => Err(bad(field, other, "is not of type 'object', 'null'")),
    }
}

/// Says that an object lacks something.
pub(super) fn lacks(name: &str, body: &Value, field: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid input for field/attribute {name}. Value: {}. '{field}' is a required property",
        python(body)
    ))
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
        Some(text) if !digits(&text) => {
            Err(bad(field, &body[field], "is not valid under any of the given schemas"))
        }
        found => Ok(found),
    }
}

/// The id of an object that must be there, in the object of this name. Nova says otherwise than Cinder what is wrong.
pub(super) fn needed_uuid(body: &Value, name: &str, field: &str) -> Result<String> {
    if body[field].is_null() {
        return Err(lacks(name, body, field));
    }
    match uuid(body, field) {
        Ok(Some(id)) => Ok(id),
        _ => Err(bad(field, &body[field], "is not a 'uuid'")),
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
pub(super) fn only(body: &Value, name: &str, known: &[&str]) -> Result<()> {
    let Value::Object(map) = body else { return Ok(()) };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Refusal::invalid(format!(
            "Invalid input for field/attribute {name}. Value: {}. Additional properties are not allowed ('{key}' was \
             unexpected)",
            python(body)
        ))),
    }
}
