//! What a StorageClass, a VolumeAttributesClass and a VolumeSnapshotClass can say for this kind of cloud.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::volume::{ParameterReader, Parameters};

use super::dialect::{Dialect, Feature, HintForm};
use super::notes;

/// The longest key and value of a note, in characters (Cinder's schema).
const LONGEST_NOTE: usize = 255;

/// What a volume is to be like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Class {
    /// The type's name or id.
    pub(super) volume_type: Option<String>,
    /// The zone, whatever the topology says.
    pub(super) zone: Option<String>,
    /// The image to fill it with.
    pub(super) image: Option<String>,
    /// For the scheduler.
    pub(super) hints: BTreeMap<String, Value>,
    /// Noted beside the driver's own.
    pub(super) notes: BTreeMap<String, String>,
}

/// What can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The type, by which the cloud also tells the quality of service.
    pub(super) volume_type: Option<String>,
    /// Whether the data may move for that.
    pub(super) migrate: bool,
    /// What is to be noted.
    pub(super) notes: BTreeMap<String, String>,
}

/// What a snapshot is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    /// A snapshot.
    Snapshot,
    /// A backup.
    Backup { container: Option<String>, incremental: bool },
}

impl Class {
    /// Of a kind of cloud: what it has not is no key.
    ///
    /// # Errors
    /// `InvalidArgument` naming the bad key.
    pub(super) fn read(dialect: &Dialect, parameters: &Parameters, mutable: &Parameters) -> Result<Self> {
        let mut reader = parameters.reader();
        let mut class = Self { volume_type: word(&mut reader, "type")?, ..Self::default() };
        if dialect.can(Feature::Zones) {
            class.zone = word(&mut reader, "availability")?;
        }
        if dialect.can(Feature::Images) {
            class.image = word(&mut reader, "imageID")?;
        }
        class.read_hints(dialect, &mut reader)?;
        reader.finish()?;
        let change = Change::read(mutable)?;
        class.volume_type = change.volume_type.or(class.volume_type);
        class.notes.extend(change.notes);
        Ok(class)
    }

    fn read_hints(&mut self, dialect: &Dialect, reader: &mut ParameterReader<'_>) -> Result<()> {
        let mut noted = None;
        for hint in dialect.hints {
            let Some(text) = word(reader, hint.parameter)? else { continue };
            let ids: Vec<_> = text.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
            match hint.form {
                HintForm::Text => drop(self.hints.insert(hint.key.to_owned(), json!(text))),
                HintForm::List => drop(self.hints.insert(hint.key.to_owned(), json!(ids))),
                HintForm::Note => {
                    if let Some(other) = noted.replace(hint.parameter) {
                        return Err(Error::invalid(format!(
                            "the parameters {other:?} and {:?} are given, and the cloud takes one of them only",
                            hint.parameter
                        )));
                    }
                    self.notes.insert(hint.key.to_owned(), ids.join(","));
                }
            }
        }
        Ok(())
    }
}

impl Change {
    /// # Errors
    /// `InvalidArgument` naming the bad key.
    pub(super) fn read(mutable: &Parameters) -> Result<Self> {
        let mut reader = mutable.reader();
        let volume_type = word(&mut reader, "type")?;
        let migrate = match reader.text("migrationPolicy") {
            None | Some("never") => false,
            Some("on-demand") => true,
            Some(other) => return Err(bad("migrationPolicy", other, "never or on-demand")),
        };
        let notes = reader.text("metadata").map(read_notes).transpose()?.unwrap_or_default();
        reader.finish()?;
        Ok(Self { volume_type, migrate, notes })
    }
}

impl Copy {
    /// # Errors
    /// `InvalidArgument` naming the bad key.
    pub(super) fn read(parameters: &Parameters) -> Result<Self> {
        let mut reader = parameters.reader();
        let kind = reader.text("type");
        let container = word(&mut reader, "container")?;
        let incremental = reader.parsed("incremental", "true or false")?;
        reader.finish()?;
        match kind {
            Some("backup") => Ok(Self::Backup { container, incremental: incremental.unwrap_or_default() }),
            None | Some("snapshot") if container.is_some() || incremental.is_some() => Err(Error::invalid(
                "the parameters \"container\" and \"incremental\" are for \"type: backup\" alone",
            )),
            None | Some("snapshot") => Ok(Self::Snapshot),
            Some(other) => Err(bad("type", other, "snapshot or backup")),
        }
    }
}

/// A text that is not empty.
fn word(reader: &mut ParameterReader<'_>, key: &'static str) -> Result<Option<String>> {
    match reader.text(key) {
        Some(text) if text.trim().is_empty() || text.len() > LONGEST_NOTE => {
            Err(bad(key, text, "1 to 255 characters"))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

fn bad(key: &str, value: &str, allowed: &str) -> Error {
    Error::invalid(format!("parameter {key:?} has the value {value:?}: allowed is {allowed}"))
}

/// `key=value` pairs, joined by commas.
fn read_notes(text: &str) -> Result<BTreeMap<String, String>> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | ' ' | '/');
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let lengths = (1..=LONGEST_NOTE).contains(&key.len()) && value.chars().count() <= LONGEST_NOTE;
        let free = !key.starts_with(notes::OWN) && !key.starts_with("csi.storage.k8s.io/");
        (lengths && free && key.chars().all(sound)).then(|| (key.to_owned(), value.to_owned()))
    };
    let read: Option<_> = text.split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect();
    read.ok_or_else(|| {
        let allowed = "key=value pairs joined by commas, whose keys are letters, digits, '-', '_', ':', '.', '/' and \
                       blanks and none of the driver's own";
        bad("metadata", text, allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_class_is_read() {
        let given = parameters(&[
            ("type", "slow"),
            ("availability", "az1"),
            ("imageID", "i"),
            ("differentHost", "a, b"),
            ("localToInstance", "s"),
        ]);
        let class = Class::read(
            Dialect::OPENSTACK,
            &given,
            &parameters(&[("type", "fast"), ("metadata", "a=1,b/c = x y")]),
        )
        .unwrap();
        assert_eq!(class.volume_type.as_deref(), Some("fast"), "the attributes class wins");
        assert_eq!((class.zone.as_deref(), class.image.as_deref()), (Some("az1"), Some("i")));
        assert_eq!(class.hints["different_host"], json!(["a", "b"]));
        assert_eq!(class.hints["local_to_instance"], json!("s"));
        assert_eq!(class.notes["b/c"], "x y");
        let none = Class::read(Dialect::OPENSTACK, &Parameters::default(), &Parameters::default()).unwrap();
        assert_eq!(none, Class::default());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (given, word) in [
            (parameters(&[("tpye", "x")]), "did you mean \"type\"?"),
            (parameters(&[("availability", " ")]), "\"availability\""),
        ] {
            let error = Class::read(Dialect::OPENSTACK, &given, &Parameters::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.to_string().contains(word), "{error}");
        }
        for given in [
            [("metadata", "a")],
            [("metadata", "csi.fairlead.dev/name=x")],
            [("metadata", "ä=1")],
            [("migrationPolicy", "always")],
            [("availability", "az1")],
        ] {
            let error = Change::read(&parameters(&given)).unwrap_err();
            assert!(error.to_string().contains(given[0].0), "{error}");
        }
    }

    #[test]
    fn a_backup_is_ordered_by_type() {
        assert_eq!(Copy::read(&Parameters::default()).unwrap(), Copy::Snapshot);
        let given = parameters(&[("type", "backup"), ("incremental", "true"), ("container", "c")]);
        assert_eq!(
            Copy::read(&given).unwrap(),
            Copy::Backup { container: Some("c".to_owned()), incremental: true }
        );
        for given in
            [[("type", "tape")], [("incremental", "true")], [("incremental", "maybe")], [("force", "x")]]
        {
            assert!(Copy::read(&parameters(&given)).is_err(), "{given:?}");
        }
    }
}
