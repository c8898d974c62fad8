//! What a StorageClass and a VolumeAttributesClass can say for this kind of cloud.

use serde_json::{Map, Value, json};

use super::model::Tags;
use crate::error::{Error, Result};
use crate::volume::{ParameterReader, Parameters};

/// The tag by which StorPool's own service sets limits.
const TIER: &str = "qc";
/// The longest name of a placement group or template.
const LONGEST: usize = 127;
/// A limit that is none.
const UNLIMITED: &str = "-";

/// What a volume is to be like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Class {
    /// The template, where one is named.
    pub(super) template: Option<String>,
    /// All else that the call takes as it is: limits, placement, copies.
    pub(super) policy: Map<String, Value>,
    /// Notes that mean something to StorPool.
    pub(super) tags: Tags,
}

impl Class {
    /// # Errors
    /// `InvalidArgument` naming the bad key.
    pub(super) fn read(parameters: &Parameters, mutable: &Parameters) -> Result<Self> {
        let mut class = Self::default();
        let mut reader = parameters.reader();
        class.take_changes(&mut reader)?;
        for key in ["placeAll", "placeTail", "placeHead"] {
            if let Some(name) = word(&mut reader, key)? {
                class.policy.insert(key.to_owned(), json!(name));
            }
        }
        let copies = reader.parsed::<u64>("replication", "1 to 3")?;
        if let Some(copies) = copies {
            if !(1..=3).contains(&copies) {
                return Err(bad("replication", &copies.to_string(), "1 to 3"));
            }
            class.policy.insert("replication".to_owned(), json!(copies));
        }
        reader.finish()?;
        let change = Self::read_change(mutable)?;
        class.policy.extend(change.policy);
        class.tags.extend(change.tags);
        Ok(Self { template: change.template.or(class.template), ..class })
    }

    /// What can be changed on a volume that is in use.
    ///
    /// # Errors
    /// `InvalidArgument` naming the bad key.
    pub(super) fn read_change(mutable: &Parameters) -> Result<Self> {
        let mut change = Self::default();
        let mut reader = mutable.reader();
        change.take_changes(&mut reader)?;
        reader.finish()?;
        Ok(change)
    }

    fn take_changes(&mut self, reader: &mut ParameterReader<'_>) -> Result<()> {
        self.template = word(reader, "template")?;
        for (key, allowed) in [
            ("iops", "a whole number of operations in a second, or \"-\" for no limit"),
            ("bw", "a whole number of KB in a second, or \"-\" for no limit"),
        ] {
            let Some(text) = reader.text(key) else { continue };
            let value = match text {
                UNLIMITED => json!(UNLIMITED),
                number => json!(number.parse::<u64>().map_err(|_| bad(key, number, allowed))?),
            };
            self.policy.insert(key.to_owned(), value);
        }
        if let Some(kind) = reader.text("limitType") {
            if !matches!(kind, "total" | "perGiB") {
                return Err(bad("limitType", kind, "total or perGiB"));
            }
            self.policy.insert("limitType".to_owned(), json!(kind));
        }
        if let Some(tier) = word(reader, "tier")? {
            self.tags.insert(TIER.to_owned(), tier);
        }
        Ok(())
    }

    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        self.template.is_none() && self.policy.is_empty() && self.tags.is_empty()
    }

    /// All of it as the body of a call.
    pub(super) fn into_body(mut self) -> Value {
        if let Some(template) = self.template {
            self.policy.insert("template".to_owned(), json!(template));
        }
        if !self.tags.is_empty() {
            self.policy.insert("tags".to_owned(), json!(self.tags));
        }
        Value::Object(self.policy)
    }
}

/// A name of StorPool's.
fn word(reader: &mut ParameterReader<'_>, key: &'static str) -> Result<Option<String>> {
    let Some(text) = reader.text(key) else { return Ok(None) };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match (1..=LONGEST).contains(&text.len()) && text.chars().all(sound) {
        true => Ok(Some(text.to_owned())),
        false => Err(bad(key, text, "1 to 127 letters, digits, '_' and '-'")),
    }
}

fn bad(key: &str, value: &str, allowed: &str) -> Error {
    Error::invalid(format!("parameter {key:?} has the value {value:?}: allowed is {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_can_change_wins() {
        let class = parameters(&[("template", "hybrid"), ("iops", "100"), ("replication", "2"), ("bw", "-")]);
        let change = parameters(&[("template", "nvme"), ("iops", "200"), ("tier", "gold")]);
        let read = Class::read(&class, &change).unwrap();
        let body =
            json!({"template": "nvme", "iops": 200, "replication": 2, "bw": "-", "tags": {"qc": "gold"}});
        assert_eq!(read.into_body(), body);
        assert!(Class::read_change(&parameters(&[])).unwrap().is_empty());
    }

    #[test]
    fn what_is_bad_is_named() {
        for (key, value) in [
            ("iops", "many"),
            ("bw", "-1"),
            ("template", "a b"),
            ("replication", "4"),
            ("limitType", "x"),
            ("tier", ""),
        ] {
            let text =
                Class::read(&parameters(&[(key, value)]), &Parameters::default()).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("allowed is"), "{text}");
        }
        assert!(Class::read_change(&parameters(&[("replication", "2")])).is_err(), "not on a volume in use");
    }
}
