//! What is kept in the directory, as JSON. Every file bears the version of its form; unknown fields are kept out of the
//! way, so that an older driver reads what a newer one of the same version wrote.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::volume::{AccessMode, Bytes, Content, NativeId, NodeId, Source, Use};

/// The version of the directory and of every file in it.
const VERSION: u32 = 1;

/// `format.json`: says that the directory is ours, and how to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) format: String,
}

/// `volumes/<id>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeRecord {
    pub(super) name: String,
    /// The image has at least this size; a longer image is one that grew and whose record is late.
    pub(super) size: Bytes,
    #[serde(default)]
    pub(super) source: Option<Source>,
    pub(super) content: Content,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// `snapshots/<id>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotRecord {
    pub(super) name: String,
    pub(super) volume: NativeId,
    pub(super) size: Bytes,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// A member exists only while its group's record does.
    #[serde(default)]
    pub(super) group: Option<NativeId>,
}

/// `groups/<id>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupRecord {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The volumes, sorted.
    pub(super) volumes: Vec<NativeId>,
    /// Their snapshots, in the same order.
    pub(super) members: Vec<NativeId>,
}

/// `servers/<node>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerRecord {
    pub(super) node: String,
    /// Seconds since 1970.
    pub(super) joined: u64,
    #[serde(default)]
    pub(super) max_volumes: Option<u32>,
}

/// `attachments/<node>/<volume>.json`: the only truth about who may have a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttachmentRecord {
    pub(super) node: NodeId,
    pub(super) mode: AccessMode,
    pub(super) block: bool,
    pub(super) readonly: bool,
    pub(super) nonce: String,
    /// Seconds since 1970.
    pub(super) since: u64,
}

impl AttachmentRecord {
    /// Whether the node can write through it.
    pub(super) fn writes(&self) -> bool {
        self.usage().writes()
    }

    pub(super) fn usage(&self) -> Use {
        Use { mode: self.mode, readonly: self.readonly }
    }
}

/// `holds/<node>/<volume>.json`: the node has, or is about to have, a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HoldRecord {
    pub(super) nonce: String,
    pub(super) writes: bool,
    /// Seconds since 1970.
    pub(super) since: u64,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// A record as it is written.
///
/// # Errors
/// Where it cannot be JSON.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(&Versioned { version: VERSION, record })
        .map_err(|error| Error::internal("a record cannot be written as JSON").caused_by(error))
}

/// A record as it was read from `path`.
///
/// # Errors
/// `Internal` naming the file where it is damaged, `FailedPrecondition` where a newer driver wrote it. Both leave the
/// outcome unknown: what the file is about may well exist.
pub(super) fn decode<T: DeserializeOwned>(path: &Path, content: &[u8]) -> Result<T> {
    let damaged = |error: serde_json::Error| {
        Error::internal(format!("{} is damaged: restore it, or remove it with its object", path.display()))
            .caused_by(error)
    };
    let value: serde_json::Value = serde_json::from_slice(content).map_err(damaged)?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        return Err(Error::unknown(
            Kind::FailedPrecondition,
            format!(
                "{} has version {version}: this driver reads version {VERSION}; upgrade it",
                path.display()
            ),
        ));
    }
    // A file without a version was not written by this driver.
    version.ok_or_else(|| serde::de::Error::custom("the version is missing")).map_err(damaged)?;
    serde_json::from_value(value).map_err(damaged)
}
