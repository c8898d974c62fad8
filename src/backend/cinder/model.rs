//! What Cinder and Nova send. Read leniently: clouds and their versions differ in what they leave out, in null and in
//! numbers that are texts. What is not read is passed over.

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

use serde::de::DeserializeOwned;

/// Something that is listed page by page.
pub trait Listed: DeserializeOwned {
    /// The key of the list.
    const KEY: &'static str;
    /// The key of the links to other pages.
    const LINKS: &'static str;

    /// Its id, after which the next page begins.
    fn id(&self) -> &str;
}
