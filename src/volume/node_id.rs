//! What NodeGetInfo reports and ControllerPublishVolume gets back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest node id that we make, in bytes. CSI allows 256; old Kubernetes releases allowed 192.
const MAX: usize = 192;

/// A node's name and its identity in each kind of cloud that it can reach: `worker-1;nova=<uuid>;storpool=17`.
///
/// The controller thus needs no look-up to know which server is meant, and the node needs no credentials.
/// A bare name parses too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId {
    name: String,
    identities: BTreeMap<String, String>,
}

impl NodeId {
    /// A node of this name with these identities, keyed by the kind of identity (`nova`, `storpool`).
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidArgument`] if a part holds `;`, `=`, blanks or control characters, or all
    /// together exceed 192 bytes.
    pub fn new(name: &str, identities: BTreeMap<String, String>) -> Result<Self> {
        let id = Self { name: name.to_owned(), identities };
        let sound = |part: &str| {
            !part.is_empty() && !part.contains([';', '=', '/']) && part.chars().all(|c| c.is_ascii_graphic())
        };
        let parts = id.identities.iter().flat_map(|(key, value)| [key, value]).chain([&id.name]);
        let text = id.to_string();
        if text.len() > MAX || !parts.into_iter().all(|part| sound(part)) || id.name.starts_with('.') {
            return Err(Error::invalid(format!(
                "{text:?} is no node id: <name>[;<kind>=<identity>]... in printable ASCII, at most {MAX} bytes"
            )));
        }
        Ok(id)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's identity of one kind, such as `nova`.
    #[must_use]
    pub fn identity(&self, kind: &str) -> Option<&str> {
        self.identities.get(kind).map(String::as_str)
    }

    /// All of the node's identities: kind and value.
    pub fn identities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.identities.iter().map(|(kind, value)| (kind.as_str(), value.as_str()))
    }

    /// Whether both name one server: they have an identity in common, or the name where they share no kind of identity.
    #[must_use]
    pub fn is_server_of(&self, other: &Self) -> bool {
        let mut shared = self.identities().filter_map(|(kind, value)| Some(other.identity(kind)? == value));
        match shared.next() {
            Some(first) => first || shared.any(|equal| equal),
            None => self.name == other.name,
        }
    }
}

impl FromStr for NodeId {
    type Err = Error;

    /// # Errors
    /// [`crate::error::Kind::NotFound`]: a node id that does not parse names no node of ours.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = |_| Error::not_found(format!("no node has the id {text:?}"));
        let mut parts = text.split(';');
        let name = parts.next().unwrap_or_default();
        let identities = parts
            .map(|part| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect::<Option<_>>()
            .ok_or(())
            .map_err(unknown)?;
        Self::new(name, identities).map_err(|_| unknown(()))
    }
}

impl TryFrom<String> for NodeId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.identities.iter().try_for_each(|(key, value)| write!(f, ";{key}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_plain_and_full_forms() {
        let plain: NodeId = "worker-1".parse().unwrap();
        assert_eq!((plain.name(), plain.identity("nova")), ("worker-1", None));
        let full: NodeId = "worker-1;storpool=17;nova=8c1e".parse().unwrap();
        assert_eq!(full.identity("storpool"), Some("17"));
        assert_eq!(full.to_string(), "worker-1;nova=8c1e;storpool=17");
    }

    #[test]
    fn a_server_is_known_by_its_identity_and_else_by_its_name() {
        for (one, other, wanted) in [
            ("w", "w", true),
            ("w", "x", false),
            ("w;nova=1", "w", true),
            ("1;nova=1", "w;nova=1;storpool=7", true),
            ("w;nova=1", "w;nova=2", false),
            ("w;nova=1", "w;storpool=1", true),
        ] {
            let (one, other): (NodeId, NodeId) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.is_server_of(&other), wanted, "{one} {other}");
            assert_eq!(other.is_server_of(&one), wanted, "{other} {one}");
        }
    }

    #[test]
    fn nonsense_is_no_node() {
        let long = "x".repeat(193);
        for text in ["", ";", "a;b", "a;=c", "a;b=", "a b", "../x", ".", "a\0", &long] {
            assert!(text.parse::<NodeId>().unwrap_err().is_not_found(), "{text:?}");
        }
    }
}
