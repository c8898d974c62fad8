//! What the driver notes about the objects that it makes, and how it knows them again.
//!
//! The cloud's names are not unique and anybody in the project may give any name, so an object is ours where its notes
//! say so. The notes about claims are those that drivers before this one made, for the tools that read them.

use std::collections::BTreeMap;

use crate::backend::cinder::client::Source;
use crate::backend::cinder::model::{Backup, Snapshot, Status, Volume};
use crate::error::{Error, Result};
use crate::volume::{NativeId, Owner, native_name};

use super::config::CinderConfig;
use super::dialect::Keeping;

/// Whose cluster's object it is.
pub(super) const CLUSTER: &str = "csi.fairlead.dev/cluster";
/// The CSI name.
pub(super) const NAME: &str = "csi.fairlead.dev/name";
/// What a volume was made from, where it was made from something.
pub(super) const SOURCE: &str = "csi.fairlead.dev/source";
/// What all keys of the driver's own begin with.
pub(super) const OWN: &str = "csi.fairlead.dev/";
const CLAIM: &str = "csi.storage.k8s.io/pvc/name";
const NAMESPACE: &str = "csi.storage.k8s.io/pvc/namespace";
const PERSISTENT_VOLUME: &str = "csi.storage.k8s.io/pv/name";

/// Notes by key.
pub(super) type Notes = BTreeMap<String, String>;

/// An object's name: what CSI calls it, and what it is called in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The CSI name.
    pub(super) csi: String,
    /// The cloud's name: the CSI name after the prefix, unless it is odd.
    pub(super) cloud: String,
    /// The cluster.
    cluster: String,
    /// Whether volumes get their notes only after they were made, and have none until then.
    late: bool,
}

impl Name {
    /// # Errors
    /// `InvalidArgument` for a name that cannot be kept.
    pub(super) fn new(config: &CinderConfig, csi: &str) -> Result<Self> {
        let native = native_name(csi)?;
        // Cinder's database keeps characters of three bytes at most, and answers 500 to others.
        if let Some(bad) = csi.chars().find(|c| c.len_utf8() > 3) {
            return Err(Error::invalid(format!(
                "the name {csi:?} holds {bad:?}, which OpenStack cannot keep"
            )));
        }
        let cloud = format!("{}{native}", config.name_prefix);
        let late = config.dialect.notes.ordered == Keeping::Nowhere;
        Ok(Self { csi: csi.to_owned(), cloud, cluster: config.cluster.clone(), late })
    }

    /// What is noted about every object of this name.
    pub(super) fn notes(&self) -> Notes {
        [(CLUSTER, &self.cluster), (NAME, &self.csi)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    /// Whether an object has it. Clouds pass over filters that they do not know, and compare names as their database
    /// does.
    pub(super) fn is_of(&self, object: &impl Noted) -> bool {
        match object.notes() {
            Some(notes) if !self.lacks(notes) => {
                notes.get(CLUSTER) == Some(&self.cluster) && notes.get(NAME) == Some(&self.csi)
            }
            _ => object.name() == Some(&self.cloud),
        }
    }

    /// Whether these are the notes of one that has still to get its own.
    pub(super) fn lacks(&self, notes: &Notes) -> bool {
        self.late && !notes.contains_key(CLUSTER) && !notes.contains_key(NAME)
    }
}

/// Something that has notes in the cloud.
pub(super) trait Noted: Clone {
    fn id(&self) -> &str;
    fn name(&self) -> Option<&str>;
    fn status(&self) -> &Status;
    fn created_at(&self) -> Option<std::time::SystemTime>;
    /// `None` where the cloud keeps none on objects of this sort.
    fn notes(&self) -> Option<&Notes>;
    /// Whether somebody has it, so that it must have been given out.
    fn is_used(&self) -> bool {
        false
    }
}

macro_rules! noted {
    ($($kind:ty, |$object:ident| $notes:expr, |$user:pat_param| $used:expr;)*) => { $(
        impl Noted for $kind {
            fn id(&self) -> &str {
                &self.id
            }
            fn name(&self) -> Option<&str> {
                self.name.as_deref()
            }
            fn status(&self) -> &Status {
                &self.status
            }
            fn created_at(&self) -> Option<std::time::SystemTime> {
                self.created_at
            }
            fn notes(&self) -> Option<&Notes> {
                let $object = self;
                $notes
            }
            fn is_used(&self) -> bool {
                let $user = self;
                $used
            }
        }
    )* };
}

noted! {
    Volume, |volume| Some(&volume.metadata), |volume| !volume.attachments.is_empty() || volume.status == Status::InUse;
    Snapshot, |snapshot| Some(&snapshot.metadata), |_| false;
    // From 3.43 on; before, the name must do.
    Backup, |backup| Some(&backup.metadata).filter(|notes| !notes.is_empty()), |backup| backup.has_dependent_backups;
}

/// Whether an object is one of ours.
pub(super) fn is_ours(config: &CinderConfig, object: &impl Noted) -> bool {
    match object.notes() {
        Some(notes) => notes.get(CLUSTER) == Some(&config.cluster) && notes.contains_key(NAME),
        None => object.name().is_some_and(|name| name.starts_with(&config.name_prefix)),
    }
}

/// The filter for objects of ours, where the cloud knows it: a Python literal, as Cinder reads it.
pub(super) fn ours_filter(config: &CinderConfig) -> (&'static str, String) {
    ("metadata", format!("{{'{CLUSTER}':'{}'}}", config.cluster))
}

/// The CSI name of an object; the cloud's where there is none.
pub(super) fn csi_name(object: &impl Noted) -> String {
    let noted = object.notes().and_then(|notes| notes.get(NAME)).map(String::as_str);
    noted.or_else(|| object.name()).unwrap_or_default().to_owned()
}

/// Notes about whose volume it is.
pub(super) fn owner(owner: &Owner) -> Notes {
    let notes = [(CLAIM, &owner.claim), (NAMESPACE, &owner.namespace), (PERSISTENT_VOLUME, &owner.volume)];
    let known = notes.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    // 253 characters are the longest of these names; the cloud keeps 255.
    known.map(|(key, value)| (key.to_owned(), value.chars().take(255).collect())).collect()
}

/// What a volume was made from, as a note.
pub(super) fn source(source: &Source) -> String {
    match source {
        Source::Snapshot(id) => format!("snapshot:{id}"),
        Source::Volume(id) => format!("volume:{id}"),
        Source::Image(id) => format!("image:{id}"),
        Source::Backup(id) => format!("backup:{id}"),
    }
}

/// What the id of a backup begins with, to tell it from the id of a snapshot.
const BACKUP: &str = "backup-";

/// What the id of a snapshot means in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A snapshot.
    Snapshot(&'a str),
    /// A backup.
    Backup(&'a str),
}

/// From a snapshot's id.
pub(super) fn cut(id: &NativeId) -> Cut<'_> {
    let text = id.as_str();
    text.strip_prefix(BACKUP).map_or(Cut::Snapshot(text), Cut::Backup)
}

/// The id of a backup as a snapshot's.
pub(super) fn backup_id(id: &str) -> Result<NativeId> {
    format!("{BACKUP}{id}").parse()
}
