//! Notes in an object's description, for clouds that let nothing else be changed, or keep nothing else. A person who reads
//! it sees what it is: `fairlead {"cluster":"kubernetes","name":"pvc-1"}`.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// What such a description begins with.
const MARK: &str = "fairlead ";
/// What the keys of notes begin with, which is left out here: there is little room.
const OWN: &str = "csi.fairlead.dev/";
/// Characters of a description (Cinder's database).
const LONGEST: usize = 255;

/// The notes of a description; none where it is a person's.
#[must_use]
pub fn read(description: Option<&str>) -> BTreeMap<String, String> {
    let json = description.and_then(|text| text.strip_prefix(MARK)).unwrap_or_default();
    let short: BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
    short.into_iter().map(|(key, value)| (format!("{OWN}{key}"), value)).collect()
}

/// Whether a note is one of the driver's own, which alone can be kept here.
#[must_use]
pub fn is_own(key: &str) -> bool {
    key.starts_with(OWN)
}

/// A description with these notes. One that is empty is left out, as it says nothing.
///
/// # Errors
/// `InvalidArgument` where there is no room for all of them, or one is not the driver's own.
pub fn write(notes: &BTreeMap<String, String>) -> Result<String> {
    let mut short = BTreeMap::new();
    for (key, value) in notes.iter().filter(|(_, value)| !value.is_empty()) {
        let own = key.strip_prefix(OWN);
        let own = own.ok_or_else(|| {
            Error::invalid(format!("this cloud keeps no notes but the driver's own, and {key:?} is none"))
        })?;
        short.insert(own, value);
    }
    let json = serde_json::to_string(&short)
        .map_err(|error| Error::internal("notes cannot be written as JSON").caused_by(error))?;
    let text = format!("{MARK}{json}");
    match text.chars().count() {
        0..=LONGEST => Ok(text),
        length => Err(Error::invalid(format!(
            "what is to be noted about it needs {length} characters, and this cloud keeps {LONGEST}: {text:?}"
        ))),
    }
}

/// A description with more notes, in the place of one that may be a person's: that is kept among the notes.
///
/// # Errors
/// As [`write`].
pub fn more(description: Option<&str>, notes: &BTreeMap<String, String>) -> Result<String> {
    let mut all = read(description);
    if let Some(text) = description.filter(|text| !text.starts_with(MARK)) {
        all.insert(format!("{OWN}text"), text.to_owned());
    }
    all.extend(notes.clone());
    write(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let notes: BTreeMap<_, _> = [("name", "a; b=\"c\" ä"), ("cluster", "k")]
            .map(|(key, value)| (format!("{OWN}{key}"), value.to_owned()))
            .into();
        let text = write(&notes).unwrap();
        assert!(text.starts_with("fairlead {\"cluster\":\"k\""), "{text}");
        assert_eq!(read(Some(&text)), notes);
        for other in [None, Some(""), Some("mine"), Some("fairlead stuff"), Some("fairlead {\"a\": 1}")] {
            assert!(read(other).is_empty(), "{other:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let note = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        for bad in [note("csi.fairlead.dev/name", &"x".repeat(250)), note("other", "x")] {
            assert_eq!(write(&bad).unwrap_err().kind(), Kind::InvalidArgument);
        }
        assert_eq!(write(&note("csi.fairlead.dev/use.s", "")).unwrap(), "fairlead {}");
    }

    #[test]
    fn notes_are_added_to_what_is_there() {
        let note = |key: &str, value: &str| BTreeMap::from([(format!("{OWN}{key}"), value.to_owned())]);
        let first = more(Some("my disk"), &note("a", "1")).unwrap();
        assert_eq!(first, r#"fairlead {"a":"1","text":"my disk"}"#);
        assert_eq!(more(Some(&first), &note("a", "")).unwrap(), r#"fairlead {"text":"my disk"}"#);
        assert_eq!(more(None, &note("a", "2")).unwrap(), r#"fairlead {"a":"2"}"#);
    }
}
