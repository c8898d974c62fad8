//! Counts requests and their bytes.

use std::collections::BTreeMap;

use serde::Serialize;

/// What came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub received: u64,
    /// Bytes of the answers' bodies.
    pub sent: u64,
}

/// Counts by method and pattern of path, such as `GET /volume/v3/{id}/volumes/{id}`.
pub type Counts = BTreeMap<String, Count>;

/// A path with its ids as `{id}`.
pub(super) fn pattern(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        text.push('/');
        text.push_str(if is_id(part) { "{id}" } else { part });
    }
    text
}

/// UUIDs with or without dashes, and numbers.
fn is_id(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_hexdigit).count();
    let uuid = digits == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    uuid || !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_left_out_of_patterns() {
        let parts = ["volume", "v3", "00000001333333333333333333333333", "volumes", "42", "metadata", "a"];
        assert_eq!(pattern(&parts.map(str::to_owned)), "/volume/v3/{id}/volumes/{id}/metadata/a");
    }
}
