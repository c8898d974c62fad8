//! A request, taken apart.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use crate::state::{Caller, Refusal, Result};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The segments of its path.
    pub path: Vec<String>,
    /// The parameters of its query, in their order.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// On whose behalf: the project and the user once they are known.
    pub caller: Caller,
}

impl Request {
    /// A header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The root of the URL under which it came.
    pub(super) fn root(&self) -> String {
        format!("http://{}", self.header("host").unwrap_or("localhost"))
    }

    /// Its path from this segment on, for matching.
    pub(super) fn rest(&self, from: usize) -> Vec<&str> {
        self.path.iter().skip(from).map(String::as_str).filter(|part| !part.is_empty()).collect()
    }

    /// A parameter of its query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|_| Refusal::invalid("There is no such action: the request body is malformed"))
    }

    /// What its body has under a key.
    pub(super) fn content(&self, key: &str) -> Result<Value> {
        match self.json()?.get_mut(key) {
            Some(content @ Value::Object(_)) => Ok(content.take()),
            _ => Err(Refusal::invalid(format!("'{key}' is a required property"))),
        }
    }
}

/// Takes a path and query apart.
pub(super) fn split(target: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.split('/').skip(1).map(decode).collect();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    });
    (path, query.collect())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, hex.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a text so that it can be a value in a query.
pub(super) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let (path, query) = split("/v3/p/volumes?name=a+b%26c&metadata=%7B%27k%27%3A%27v%27%7D&limit=1&x");
        assert_eq!(path, ["v3", "p", "volumes"]);
        let pairs: Vec<_> = query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("name", "a b&c"), ("metadata", "{'k':'v'}"), ("limit", "1"), ("x", "")]);
        assert_eq!(decode(&encode("100 % ü/+")), "100 % ü/+");
        assert_eq!(decode("%zz%"), "%zz%");
    }
}
