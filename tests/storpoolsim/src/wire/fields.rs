//! What callers send, read strictly: what is not known is refused, as is null. Numbers may be texts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::state::{Limit, Refusal, Result, Tags};

/// An object that is being read.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
}

fn bad<T>(key: &str, value: &Value) -> Result<T> {
    Err(Refusal::invalid(format!("Invalid value {value} for '{key}'")))
}

/// A whole number, or its digits.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

impl Fields {
    pub(super) fn new(value: Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map }),
            other => Err(Refusal::json(format!("Expected an object, not {other}"))),
        }
    }

    /// The whole body. None at all is an empty one.
    pub(super) fn body(bytes: &[u8]) -> Result<Self> {
        json(bytes).and_then(Self::new)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key)
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => bad(key, &other),
        }
    }

    pub(super) fn needed(&mut self, key: &str) -> Result<String> {
        self.text(key)?.ok_or_else(|| Refusal::invalid(format!("No '{key}' specified")))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match number(&value) {
                Some(number) => Ok(Some(number)),
                None => bad(key, &value),
            },
        }
    }

    /// A number, or `-` for none.
    pub(super) fn limit(&mut self, key: &str) -> Result<Option<Limit>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if text == "-" => Ok(Some(None)),
            Some(value) => match number(&value) {
                Some(number) => Ok(Some(Some(number))),
                None => bad(key, &value),
            },
        }
    }

    pub(super) fn truth(&mut self, key: &str) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => bad(key, &other),
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<BTreeMap<String, String>> {
        let map = match self.take(key) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map,
            Some(other) => return bad(key, &other),
        };
        let pairs = map.into_iter().map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => bad(&name, &other),
        });
        pairs.collect()
    }

    pub(super) fn tags(&mut self) -> Result<Tags> {
        self.texts("tags")
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => bad(key, &other),
        }
    }

    pub(super) fn numbers(&mut self, key: &str) -> Result<Vec<u64>> {
        let read = |value: &Value| number(value).map_or_else(|| bad(key, value), Ok);
        self.list(key)?.iter().map(read).collect()
    }

    pub(super) fn clients(&mut self, key: &str) -> Result<Vec<u16>> {
        self.list(key)?.iter().map(client).collect()
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(Refusal::invalid(format!("Unknown field '{key}'"))),
        }
    }

    /// All that is left: names with texts or numbers.
    pub(super) fn words(self) -> Result<BTreeMap<String, String>> {
        let pairs = self.map.into_iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            Value::Number(number) => Ok((key, number.to_string())),
            other => bad(&key, &other),
        });
        pairs.collect()
    }

    /// The only field that is there.
    pub(super) fn only(self) -> Result<(String, Value)> {
        let mut fields = self.map.into_iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => Ok(field),
            _ => Err(Refusal::invalid("Exactly one command must be given")),
        }
    }
}

/// The number of a client.
pub(super) fn client(value: &Value) -> Result<u16> {
    let found = number(value).and_then(|number| u16::try_from(number).ok());
    found.filter(|number| (1..=0xfff).contains(number)).map_or_else(|| bad("client", value), Ok)
}

/// A body as JSON.
pub(super) fn json(bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(bytes).map_err(|_| Refusal::json("Invalid JSON"))
}
