//! Nova's objects.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lenient;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Server {
    /// Its id.
    #[serde(deserialize_with = "lenient::text")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its state: ACTIVE, SHUTOFF, ERROR, SHELVED_OFFLOADED, ...
    #[serde(default)]
    pub status: String,
    /// What Nova is doing with it. While this is there, nothing can be attached or detached.
    #[serde(default, rename = "OS-EXT-STS:task_state", deserialize_with = "lenient::maybe_text")]
    pub task_state: Option<String>,
    /// Where it is.
    #[serde(default, rename = "OS-EXT-AZ:availability_zone", deserialize_with = "lenient::maybe_text")]
    pub availability_zone: Option<String>,
    /// What was noted about it.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub metadata: BTreeMap<String, String>,
    /// What it was made like (from 2.47 with its properties).
    #[serde(default)]
    pub flavor: Flavor,
}

/// What a server was made like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Flavor {
    /// Its name when the server was made (from 2.47).
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub original_name: Option<String>,
    /// Its properties (from 2.47, where the cloud shows them).
    #[serde(default, deserialize_with = "lenient::texts")]
    pub extra_specs: BTreeMap<String, String>,
}

/// A volume that a server has, or is to have, as the server tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerAttachment {
    /// The volume.
    #[serde(rename = "volumeId", deserialize_with = "lenient::text")]
    pub volume_id: String,
    /// What the device may be called there.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub device: Option<String>,
}

/// What was done with a server, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstanceAction {
    /// Such as `attach_volume`.
    pub action: String,
    /// The request that asked for it.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub request_id: Option<String>,
    /// `Error` where it failed.
    #[serde(default, deserialize_with = "lenient::maybe_text")]
    pub message: Option<String>,
}
