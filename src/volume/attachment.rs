//! How an attached volume is reached from its node: the content of publish_context.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::volume::Bytes;

/// The one key of publish_context.
const KEY: &str = "attachment";
/// The version of its JSON form.
const VERSION: u32 = 1;

/// What is known of a volume's content. It goes on in this order and never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Ordered from nothing and never formatted, as far as the back end was told: it may be, once it is proven blank.
    New,
    /// Ordered from nothing and proven blank; mkfs has begun and is not known to have finished. Nobody else has written
    /// to it, so mkfs may run again. This holds of a live record alone: what was told earlier may be outdated, and
    /// counts as [`Content::New`].
    Formatting,
    /// Made from a source, formatted, handed out for writing, or not made by this driver: its content is somebody's
    /// data, and it is never formatted.
    Data,
}

/// What the controller tells the node about an attached volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Unique for this act of attaching: a second attach of the same volume gives another.
    pub nonce: String,
    /// The size that the device must have at least.
    pub size: Bytes,
    /// What is known of its content.
    pub content: Content,
    /// Whether the back end lets nobody write through this attachment.
    pub readonly: bool,
    /// How the device is reached.
    pub connection: Connection,
}

/// One case for each kind of connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Connection {
    /// An image file that the node puts behind a loop device.
    Loop {
        /// The image, relative to the back end's directory on the node.
        image: PathBuf,
    },
    /// A disk that the hypervisor plugs into the node.
    Disk {
        /// What it says of itself: its serial, or as much of that as its bus can carry.
        serial: String,
        /// Where the cloud believes that the node sees it, such as `/dev/vdb`. Right on Xen alone; else a
        /// hint, and often wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    /// A disk that the hypervisor plugs into the node, and that says nothing of itself.
    Nameless {
        /// Whose disk it is.
        volume: String,
        /// How many volumes the cloud listed at the server once this one was attached: as many disks must be there at
        /// least before any of them can be taken for it.
        disks: u32,
    },
    /// A StorPool volume that its client shows on the node.
    Storpool {
        /// Its global id, by which the node has a link to it.
        global_id: String,
        /// Its name, by which the node has another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A logical unit that the node logs in to over iSCSI.
    Iscsi {
        /// Whose it is.
        volume: String,
        /// The target's name (RFC 7143, 4.2.7).
        target: String,
        /// The number of the logical unit in the target.
        lun: u32,
        /// Where the target can be reached, each an address and a port: several are paths to the same unit.
        portals: Vec<SocketAddr>,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
    #[serde(flatten)]
    attachment: Attachment,
}

impl Attachment {
    /// As publish_context.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] where a path is not UTF-8.
    pub fn to_context(&self) -> Result<BTreeMap<String, String>> {
        let versioned = Versioned { version: VERSION, attachment: self.clone() };
        let json = serde_json::to_string(&versioned)
            .map_err(|error| Error::internal("the attachment cannot be written as JSON").caused_by(error))?;
        Ok(BTreeMap::from([(KEY.to_owned(), json)]))
    }

    /// From publish_context.
    ///
    /// # Errors
    /// [`crate::error::Kind::InvalidArgument`] where the key is missing or holds something else.
    pub fn from_context(context: &BTreeMap<String, String>) -> Result<Self> {
        let json = context.get(KEY).ok_or_else(|| {
            Error::invalid(format!(
                "publish_context has no {KEY:?}: the volume must be attached by ControllerPublishVolume of this driver first"
            ))
        })?;
        let versioned: Versioned = serde_json::from_str(json).map_err(|error| {
            Error::invalid(format!("publish_context {KEY:?} cannot be read")).caused_by(error)
        })?;
        if versioned.version != VERSION {
            return Err(Error::invalid(format!(
                "publish_context {KEY:?} has version {}: this node reads version {VERSION}; upgrade the node",
                versioned.version
            )));
        }
        Ok(versioned.attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugged_disk_is_told_by_what_it_says_of_itself() {
        let json = r#"{"version":1,"nonce":"7","size":1073741824,"content":"new","readonly":false,"connection":{"kind":"disk","serial":"cb49b381"}}"#;
        let context = BTreeMap::from([(KEY.to_owned(), json.to_owned())]);
        let attachment = Attachment::from_context(&context).unwrap();
        assert_eq!(attachment.connection, Connection::Disk { serial: "cb49b381".into(), device: None });
        assert_eq!(attachment.to_context().unwrap(), context);
    }

    #[test]
    fn a_disk_without_a_name_is_told_with_the_number_of_disks() {
        let connection = Connection::Nameless { volume: "44".into(), disks: 3 };
        let attachment = Attachment {
            nonce: "7".into(),
            size: Bytes::gib(1),
            content: Content::New,
            readonly: false,
            connection,
        };
        let context = attachment.to_context().unwrap();
        assert!(
            context[KEY].contains(r#""connection":{"kind":"nameless","volume":"44","disks":3}"#),
            "{context:?}"
        );
        assert_eq!(Attachment::from_context(&context).unwrap(), attachment);
    }

    #[test]
    fn a_storpool_volume_is_told_by_its_ids() {
        let json = r#"{"version":1,"nonce":"7","size":1073741824,"content":"new","readonly":false,"connection":{"kind":"storpool","globalId":"d.n.a1z"}}"#;
        let context = BTreeMap::from([(KEY.to_owned(), json.to_owned())]);
        let attachment = Attachment::from_context(&context).unwrap();
        assert_eq!(attachment.connection, Connection::Storpool { global_id: "d.n.a1z".into(), name: None });
        assert_eq!(attachment.to_context().unwrap(), context);
    }

    #[test]
    fn a_unit_of_iscsi_is_told_with_all_its_portals() {
        let connection = r#""connection":{"kind":"iscsi","volume":"v","target":"iqn.2026-01.example:v","lun":0,"portals":["10.0.0.1:3260","[fd00::1]:3260"]}"#;
        let json = format!(
            r#"{{"version":1,"nonce":"7","size":1073741824,"content":"new","readonly":false,{connection}}}"#
        );
        let context = BTreeMap::from([(KEY.to_owned(), json)]);
        let attachment = Attachment::from_context(&context).unwrap();
        let Connection::Iscsi { lun: 0, portals, .. } = &attachment.connection else {
            panic!("{attachment:?}")
        };
        assert_eq!(portals.len(), 2);
        assert_eq!(attachment.to_context().unwrap(), context);
        let bad = BTreeMap::from([(KEY.to_owned(), context[KEY].replace("10.0.0.1:3260", "-x"))]);
        assert!(Attachment::from_context(&bad).is_err());
    }

    #[test]
    fn round_trips_through_publish_context() {
        let attachment = Attachment {
            nonce: "7".into(),
            size: Bytes::gib(1),
            content: Content::New,
            readonly: false,
            connection: Connection::Loop { image: "volumes/pvc-1.img".into() },
        };
        let context = attachment.to_context().unwrap();
        assert_eq!(Attachment::from_context(&context).unwrap(), attachment);
        assert!(context[KEY].contains(r#""version":1"#));
        let newer =
            BTreeMap::from([(KEY.to_owned(), context[KEY].replace(r#""version":1"#, r#""version":2"#))]);
        assert!(Attachment::from_context(&newer).unwrap_err().to_string().contains("upgrade the node"));
        assert!(Attachment::from_context(&BTreeMap::new()).is_err());
    }
}
