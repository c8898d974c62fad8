//! Ids as Kubernetes stores them: `<backend>/<native id>`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// CSI's limit for an id, in bytes (spec, "Size Limits").
const MAX_ID: usize = 128;
/// Room for the back end's name in an id, in bytes.
const MAX_BACKEND: usize = 32;
/// Room for the native part: what is left of [`MAX_ID`] beside the longest back-end name and the slash.
const MAX_NATIVE: usize = MAX_ID - MAX_BACKEND - 1;

/// The name of a configured back end: lower-case letters, digits and `-`, at most 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendName(String);

impl FromStr for BackendName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shape = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if text.is_empty()
            || text.len() > MAX_BACKEND
            || !shape
            || text.starts_with('-')
            || text.ends_with('-')
        {
            return Err(Error::invalid(format!(
                "{text:?} is no back-end name: use 1 to {MAX_BACKEND} lower-case letters, digits and inner '-'"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl BackendName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id as the back end itself knows it. Printable, without `/`, never `.` or `..`, at most 95 bytes, so that
/// it is one harmless path segment whatever a caller sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NativeId(String);

impl FromStr for NativeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        if text.is_empty() || text.len() > MAX_NATIVE || text == "." || text == ".." || text.contains(bad) {
            return Err(Error::not_found(format!(
                "{text:?} cannot be an id: 1 to {MAX_NATIVE} printable bytes without '/' or blanks are expected"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for NativeId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<NativeId> for String {
    fn from(id: NativeId) -> Self {
        id.0
    }
}

impl NativeId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NativeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `<backend>/<native id>`. An id that does not parse is an object that does not exist: CSI wants
/// NOT_FOUND (or OK from a delete) for a foreign id, never INVALID_ARGUMENT.
fn parse(text: &str, what: &str) -> Result<(BackendName, NativeId)> {
    let foreign = || {
        Error::not_found(format!(
            "no {what} has the id {text:?}: this driver's ids read <backend>/<id in the back end>"
        ))
    };
    if text.len() > MAX_ID {
        return Err(Error::not_found(format!(
            "no {what} has an id of {} bytes: the longest is {MAX_ID}",
            text.len()
        )));
    }
    let (backend, native) = text.split_once('/').ok_or_else(foreign)?;
    Ok((backend.parse().map_err(|_| foreign())?, native.parse().map_err(|_| foreign())?))
}

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The configured back end that holds the object.
            pub backend: BackendName,
            /// The object's id there.
            pub native: NativeId,
        }

        impl $name {
            /// Joins the two parts.
            #[must_use]
            pub fn new(backend: BackendName, native: NativeId) -> Self {
                Self { backend, native }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                parse(text, $what).map(|(backend, native)| Self { backend, native })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.backend, self.native)
            }
        }
    };
}

object_id!(
    /// A volume's id, `<backend>/<native id>`, at most 128 bytes.
    VolumeId,
    "volume"
);
object_id!(
    /// A snapshot's id, `<backend>/<native id>`, at most 128 bytes.
    SnapshotId,
    "snapshot"
);
object_id!(
    /// A group snapshot's id, `<backend>/<native id>`, at most 128 bytes.
    GroupSnapshotId,
    "group snapshot"
);

impl VolumeId {
    /// A volume's id from what a caller sent. Where a back end takes over `foreign` handles (volumes made by another
    /// driver), a text without `/` is a native id of that one.
    ///
    /// # Errors
    /// `NotFound` for what cannot be an id of ours.
    pub fn adopt(text: &str, foreign: Option<&BackendName>) -> Result<Self> {
        match foreign {
            Some(backend) if !text.contains('/') => {
                text.parse().map(|native| Self::new(backend.clone(), native))
            }
            _ => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        let id: VolumeId = "here/pvc-1".parse().unwrap();
        assert_eq!((id.backend.as_str(), id.native.as_str()), ("here", "pvc-1"));
        assert_eq!(id.to_string(), "here/pvc-1");
    }

    #[test]
    fn whatever_is_no_id_of_ours_is_not_found() {
        let long = format!("here/{}", "x".repeat(200));
        for text in
            ["", "fake-vol-id", "here/", "/x", "here/..", "here/a/b", "here/a b", "here/\0", "UP/x", &long]
        {
            assert!(text.parse::<VolumeId>().unwrap_err().is_not_found(), "{text:?}");
        }
    }
}
