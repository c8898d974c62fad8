//! What Cinder and Nova send. Read leniently: clouds and their versions differ in what they leave out, in null and in
//! numbers that are texts. What is not read is passed over.

pub mod described;
mod lenient;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod volume;

pub use server::{Flavor, InstanceAction, Server, ServerAttachment};
pub use status::Status;
pub use volume::{
    AbsoluteLimits, Attachment, Backup, Group, GroupSnapshot, GroupType, Message, Restore, Snapshot, Volume,
    VolumeAttachment, VolumeType, Zone,
};

use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What is told of a thing whose making begins: clouds agree on its id alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Begun {
    /// Its id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// When it was made, where that is told.
    #[serde(default, deserialize_with = "lenient::time")]
    pub created_at: Option<SystemTime>,
}

/// Something that is listed page by page.
pub trait Listed: DeserializeOwned {
    /// The key of the list.
    const KEY: &'static str;
    /// The key of the links to other pages.
    const LINKS: &'static str;

    /// Its id, after which the next page begins.
    fn id(&self) -> &str;

    /// Whether it is shown although it was deleted.
    fn is_deleted(&self) -> bool {
        false
    }

    /// Takes what is noted in its description to its other notes.
    fn take_description(&mut self) {}
}
