//! The states of volumes, snapshots, backups, groups and attachments.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A state (cinder/objects/fields.py). Clouds write them with `-` or `_`, in small or capital letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being made.
    Creating,
    /// There, and nobody has it.
    Available,
    /// Promised to a server.
    Reserved,
    /// On its way to a server.
    Attaching,
    /// Of an attachment: done.
    Attached,
    /// A server has it.
    InUse,
    /// On its way from a server.
    Detaching,
    /// Of an attachment: gone.
    Detached,
    /// Being deleted.
    Deleting,
    /// Deleted, where a cloud still shows it.
    Deleted,
    /// It could not be made.
    Error,
    /// It could not be deleted.
    ErrorDeleting,
    /// It could not be grown.
    ErrorExtending,
    /// It could not be restored.
    ErrorRestoring,
    /// Growing.
    Extending,
    /// Being filled from an image.
    Downloading,
    /// Being read into an image.
    Uploading,
    /// Changing its type.
    Retyping,
    /// Being backed up.
    BackingUp,
    /// Being restored from a backup.
    Restoring,
    /// Being set back to a snapshot.
    Reverting,
    /// Of a group: its members change.
    Updating,
    /// An operator works on it.
    Maintenance,
    /// Another one, as it was written.
    Other(String),
}

impl Status {
    const KNOWN: [(&'static str, Self); 24] = [
        ("creating", Self::Creating),
        ("available", Self::Available),
        ("reserved", Self::Reserved),
        ("attaching", Self::Attaching),
        ("attached", Self::Attached),
        ("in-use", Self::InUse),
        ("detaching", Self::Detaching),
        ("detached", Self::Detached),
        ("deleting", Self::Deleting),
        ("deleted", Self::Deleted),
        ("error", Self::Error),
        ("error-deleting", Self::ErrorDeleting),
        ("error-extending", Self::ErrorExtending),
        ("error-restoring", Self::ErrorRestoring),
        ("extending", Self::Extending),
        ("downloading", Self::Downloading),
        ("uploading", Self::Uploading),
        ("retyping", Self::Retyping),
        ("backing-up", Self::BackingUp),
        ("restoring-backup", Self::Restoring),
        ("restoring", Self::Restoring),
        ("reverting", Self::Reverting),
        ("updating", Self::Updating),
        ("maintenance", Self::Maintenance),
    ];

    fn parse(text: &str) -> Self {
        let plain = text.to_ascii_lowercase().replace('_', "-");
        let known = Self::KNOWN.into_iter().find(|(name, _)| *name == plain);
        known.map_or_else(|| Self::Other(text.to_owned()), |(_, status)| status)
    }

    /// Whether it is one of the failures.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self {
            Self::Error | Self::ErrorDeleting | Self::ErrorExtending | Self::ErrorRestoring => true,
            Self::Other(text) => text.to_ascii_lowercase().starts_with("error"),
            _ => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(text) => f.write_str(text),
            known => {
                let name = Self::KNOWN.iter().find(|(_, status)| status == known);
                f.write_str(name.map_or("unknown", |(name, _)| name))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(input)?))
    }
}
