//! The kinds of cloud that speak OpenStack's block storage, and how they differ: as data, a page for each kind, so that what
//! calls, waits and judges is the same for all. Where a difference is more than a word or a number, it is a case of an
//! enum here, and the place that acts by it names it.

mod cyclades;
mod openstack;
mod rackspace;

use serde_json::Value;

use crate::backend::{Capabilities, Expansion};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::SizeRules;

/// A kind of cloud.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it is called in messages.
    pub cloud: &'static str,
    /// What it can do. The rest is refused without asking it, and never advertised.
    pub can: &'static [Feature],
    /// Whether its services tell of microversions. Where they do not, they are not asked for them.
    pub microversions: bool,
    /// What the keys of a body are called that differ. Answers are read in every form.
    pub words: Words,
    /// How a list goes on.
    pub paging: Paging,
    /// Whether lists take filters. They are filtered here in any case.
    pub filters: bool,
    /// Where notes are kept.
    pub notes: Notes,
    /// Notes that a volume can have at most; `None`: as many as one likes.
    pub most_notes: Option<usize>,
    /// Whether each attachment has an id of its own. Where it has none, one is noted about the volume.
    pub attachment_ids: bool,
    /// What a StorageClass can say about where a volume is put.
    pub hints: &'static [Hint],
    /// Sizes that can be made, where neither its type nor the operator says otherwise.
    pub sizes: SizeRules,
    /// What is special of single types, the cloud's default type first. Of others, and of clouds whose types are their
    /// operators' own, nothing is known beforehand.
    pub types: &'static [TypeRules],
    /// How it is found out what the project may have and has.
    pub quotas: Quotas,
    /// Volumes that a server can have, where nobody says otherwise; `None`: as many as the cloud allows.
    pub per_server: Option<u32>,
    /// How a disk in a server tells whose it is.
    pub disks: Telling,
    /// Refusals that mean something else than their status says. They stand above the common rules.
    pub refusals: &'static [Refusal],
    /// A part of what it says (409) where something else has to end first: nothing was made, and the same order will do
    /// later.
    pub conflict: Option<&'static str>,
    /// What its servers are like.
    pub servers: Servers,
}

/// What servers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Whether the ids of servers, volumes and types are whole numbers; else servers have UUIDs.
    pub numbered: bool,
    /// Whether a server does one thing at a time, and refuses all others until that is done.
    pub one_task: bool,
    /// Whether volumes of some types are made on a server and stay there until they are deleted.
    pub binding: bool,
    /// Whether a volume is deleted also while a server has it.
    pub lose_deleted: bool,
}

impl Servers {
    /// Nova's.
    pub const NOVA: Self = Self { numbered: false, one_task: false, binding: false, lose_deleted: false };
}

/// What is special of a type of volumes, where the operator does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeRules {
    /// Its name.
    pub name: &'static str,
    /// Sizes that it has.
    pub sizes: SizeRules,
    /// Volumes of it in a region, where the cloud does not tell.
    pub volumes: Option<u64>,
    /// GiB of it in a region, where the cloud does not tell.
    pub gib: Option<u64>,
}

/// How it is found out what the project may have and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotas {
    /// The cloud tells both (`/limits`), and refuses what is too much with good words.
    Told,
    /// What the project has is counted from the list of its volumes before each order. What it may have is the
    /// operator's word, else the cloud's where it tells (`/os-quota-sets`), else what is usual.
    Counted,
    /// Astakos tells both of the disks' bytes, and there is no other way to know why an order was refused.
    Astakos,
}

/// How a disk in a server tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// By its serial, or another thing that it says of itself: the volume's id.
    Serial,
    /// By its name alone, which Xen's host chooses and the cloud knows.
    Name,
    /// By nothing: a node knows a volume by its file system alone, and there are no raw devices.
    Nothing,
}

/// Something that some kinds of cloud can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Snapshots, and volumes from them.
    Snapshots,
    /// Volumes from volumes.
    Clones,
    /// Volumes from images.
    Images,
    /// Growing volumes.
    Growing,
    /// Giving volumes another type.
    Retyping,
    /// Changing what is noted about a volume when the user wishes so.
    Notes,
    /// Backups, and volumes from them.
    Backups,
    /// Groups of volumes and their snapshots.
    Groups,
    /// Giving a volume to several servers at once.
    Sharing,
    /// Attachments that can be looked at and removed at Cinder.
    Attachments,
    /// Messages about what failed.
    Messages,
    /// Availability zones.
    Zones,
    /// Telling what the project may have and has.
    Limits,
}

impl Feature {
    const fn words(self) -> &'static str {
        match self {
            Self::Snapshots => "cut snapshots",
            Self::Clones => "make a volume from a volume",
            Self::Images => "make a volume from an image",
            Self::Growing => "grow volumes",
            Self::Retyping => "give a volume another type",
            Self::Notes => "change what is noted about a volume",
            Self::Backups => "make backups",
            Self::Groups => "group volumes",
            Self::Sharing => "give a volume to several servers at once",
            Self::Attachments => "show attachments",
            Self::Messages => "tell why something failed",
            Self::Zones => "put a volume into an availability zone",
            Self::Limits => "tell its limits",
        }
    }
}

/// Keys of the bodies that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Of an object's name.
    pub name: &'static str,
    /// Of its description.
    pub description: &'static str,
}

/// How a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// After the item of an id, for as long as the cloud links to another page.
    Marker,
    /// After so many items, for as long as there are any: nothing in an answer says that it is the last.
    Offset,
    /// The whole list is one answer.
    Whole,
}

/// Where something is noted about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In its metadata.
    Metadata,
    /// In its description, as people may read it too.
    Description,
    /// Nowhere: what is sent is dropped.
    Nowhere,
}

/// Where notes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notes {
    /// Of a volume, when it is ordered. With `Nowhere` they follow as soon as it is there, before it is given out, and until
    /// then it is known by its name alone.
    pub ordered: Keeping,
    /// Of a volume that exists.
    pub later: Keeping,
    /// Of a snapshot, when it is ordered.
    pub snapshot: Keeping,
}

/// A parameter of StorageClasses about where a volume is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The parameter.
    pub parameter: &'static str,
    /// What the cloud calls it.
    pub key: &'static str,
    /// What it is.
    pub form: HintForm,
}

/// What a hint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintForm {
    /// A list of volumes for the scheduler, joined by commas in the parameter.
    List,
    /// A text for the scheduler.
    Text,
    /// A list of volumes, joined by commas, in the metadata of the order. One such hint at most.
    Note,
}

/// A refusal by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its status.
    pub status: u16,
    /// A part of what it says.
    pub says: &'static str,
    /// What it means.
    pub kind: Kind,
    /// What it leaves behind.
    pub outcome: Outcome,
}

impl Dialect {
    /// All of them, the usual one first.
    pub const ALL: [&'static Self; 3] = [Self::OPENSTACK, Self::RACKSPACE, Self::CYCLADES];

    /// OpenStack's own: Cinder from version 2 of its API on, and Nova.
    pub const OPENSTACK: &'static Self = &openstack::DIALECT;

    /// Rackspace's classic cloud.
    pub const RACKSPACE: &'static Self = &rackspace::DIALECT;

    /// Synnefo's Cyclades.
    pub const CYCLADES: &'static Self = &cyclades::DIALECT;

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name == name)
    }

    /// Whether it can do something.
    #[must_use]
    pub fn can(&self, feature: Feature) -> bool {
        self.can.contains(&feature)
    }

    /// The refusal of what it cannot do.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn need(&self, feature: Feature) -> Result<()> {
        match self.can(feature) {
            true => Ok(()),
            false => {
                let text = format!("{} cannot {}", self.cloud, feature.words());
                Err(Error::refused(Kind::Unsupported, text))
            }
        }
    }

    /// What such a cloud can do at best. A single one may lack some of it, which it tells when it is asked.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            snapshots: self.can(Feature::Snapshots),
            group_snapshots: self.can(Feature::Groups),
            clones: self.can(Feature::Clones),
            expansion: if self.can(Feature::Growing) { Expansion::Online } else { Expansion::Never },
            modify: self.can(Feature::Retyping) || self.can(Feature::Notes),
            // Cinder's read-only flag belongs to the volume, not to one attachment, so it is the node that makes the disk
            // read-only.
            readonly_attach: true,
            multi_attach: self.can(Feature::Sharing),
            raw: self.disks != Telling::Nothing,
        }
    }

    /// An id in a body, as the cloud writes it.
    #[must_use]
    pub fn id(&self, id: &str) -> Value {
        let number = id.parse::<u64>().ok().filter(|_| self.servers.numbered);
        number.map_or_else(|| id.into(), Value::from)
    }

    /// What a refusal means in this dialect alone.
    #[must_use]
    pub fn meaning(&self, status: u16, message: &str) -> Option<(Kind, Outcome)> {
        let found = self.refusals.iter().find(|one| one.status == status && message.contains(one.says));
        found.map(|one| (one.kind, one.outcome))
    }

    /// What is special of the type of this name; of the cloud's default type, where none is named.
    #[must_use]
    pub fn rules(&self, volume_type: Option<&str>) -> Option<&'static TypeRules> {
        match volume_type {
            Some(name) => self.types.iter().find(|rules| rules.name == name),
            None => self.types.first(),
        }
    }

    /// Whether a refusal says that the same order will do once something else has ended.
    #[must_use]
    pub fn is_conflict(&self, error: &Error) -> bool {
        let says = self.conflict.is_some_and(|says| error.message().contains(says));
        says && error.kind() == Kind::Busy
    }

    /// Whether notes may be in descriptions.
    #[must_use]
    pub fn describes(&self) -> bool {
        let Notes { ordered, later, snapshot } = self.notes;
        [ordered, later, snapshot].contains(&Keeping::Description)
    }
}
