//! String maps from StorageClasses and VolumeAttributesClasses, read key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Parameters as the caller gave them, without the keys of Kubernetes' own (`csi.storage.k8s.io/…`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(pub BTreeMap<String, String>);

impl Parameters {
    /// A reader that remembers which keys were asked for, so that [`ParameterReader::finish`] can refuse the rest.
    #[must_use]
    pub fn reader(&self) -> ParameterReader<'_> {
        ParameterReader { map: &self.0, known: BTreeSet::new() }
    }
}

/// Reads parameters; every key that is asked for becomes a known key.
#[derive(Debug)]
pub struct ParameterReader<'a> {
    map: &'a BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
}

impl<'a> ParameterReader<'a> {
    /// The text of a key, if given.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.insert(key);
        self.map.get(key).map(String::as_str)
    }

    /// The parsed value of a key, if given. `allowed` says in words what is accepted.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidArgument`] naming key, value and what is allowed.
    pub fn parsed<T: FromStr>(&mut self, key: &'static str, allowed: impl Display) -> Result<Option<T>> {
        self.text(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::invalid(format!("parameter {key:?} has the value {text:?}: allowed is {allowed}"))
                })
            })
            .transpose()
    }

    /// Refuses every key that was not asked for.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidArgument`] naming the first unknown key, the nearest known one and all known ones.
    pub fn finish(self) -> Result<()> {
        let Some(unknown) = self.map.keys().find(|key| !self.known.contains(key.as_str())) else {
            return Ok(());
        };
        let nearest = nearest(unknown, self.known.iter().copied())
            .map(|near| format!(" (did you mean {near:?}?)"))
            .unwrap_or_default();
        let known: Vec<_> = self.known.iter().copied().collect();
        let allowed = if known.is_empty() {
            "none is allowed here".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        };
        Err(Error::invalid(format!("parameter {unknown:?} is not known{nearest}: {allowed}")))
    }
}

/// The known word that is most like `word`, if one is alike enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let score = |near: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &near.to_lowercase());
    known
        .into_iter()
        .map(|near| (score(near), near))
        .filter(|(distance, near)| *distance <= 1 + near.len() / 4)
        .min()
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest() {
        let given = parameters(&[("templat", "nvme")]);
        let mut reader = given.reader();
        assert_eq!(reader.text("template"), None);
        let text = reader.finish().unwrap_err().to_string();
        assert_eq!(
            text,
            r#"parameter "templat" is not known (did you mean "template"?): known are template"#
        );
    }

    #[test]
    fn bad_values_are_named_with_what_is_allowed() {
        let given = parameters(&[("iops", "many")]);
        let text = given.reader().parsed::<u32>("iops", "a whole number").unwrap_err().to_string();
        assert_eq!(text, r#"parameter "iops" has the value "many": allowed is a whole number"#);
    }
}
