//! What the management API answers. Read leniently: unknown fields are passed over, numbers may be texts, and lists and
//! maps null.

pub mod iscsi;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::nodes::Seat;

/// Notes about a volume or snapshot.
pub type Tags = BTreeMap<String, String>;

/// The envelope of every answer.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    /// What was asked for.
    pub(super) data: Option<Value>,
    /// Why there is nothing.
    pub(super) error: Option<ApiError>,
}

/// An error as the API tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiError {
    pub(super) name: String,
    pub(super) descr: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) transient: bool,
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its name; of one without a name its first global id after a `~`.
    pub name: String,
    /// What it is called in the whole location. Another one after a revert.
    #[serde(default)]
    pub global_id: String,
    /// The global id that it had before any revert.
    #[serde(default)]
    pub preserved_global_id: Option<String>,
    /// Bytes.
    #[serde(deserialize_with = "number")]
    pub size: u64,
    /// Its template; empty: none.
    #[serde(default, deserialize_with = "or_default")]
    pub template_name: String,
    /// Its notes.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Tags,
    /// In a location: the cluster that it is in now. An attachment in another one moves it.
    #[serde(default)]
    pub cluster_id: Option<String>,
}

impl Volume {
    /// The global id by which its node finds it: links keep the first one.
    #[must_use]
    pub fn link_id(&self) -> &str {
        self.preserved_global_id.as_deref().unwrap_or(&self.global_id)
    }

    /// Whether an attachment is of this volume.
    #[must_use]
    pub fn is_in(&self, attachment: &Attachment) -> bool {
        !attachment.snapshot
            && (attachment.volume == self.name
                || attachment.global_id.as_ref().is_some_and(|id| *id == self.global_id))
    }

    /// Whether an attachment of this name is of this volume, and not of another one that has the name now.
    #[must_use]
    pub fn is_known_as(&self, attachment: &Attachment) -> bool {
        let same = |id: &String| {
            id.is_empty() || self.global_id.is_empty() || *id == self.global_id || *id == self.link_id()
        };
        attachment.global_id.as_ref().is_none_or(same)
    }
}

/// A snapshot.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// What it is called in the whole location.
    #[serde(default)]
    pub global_id: String,
    /// Bytes.
    #[serde(deserialize_with = "number")]
    pub size: u64,
    /// Its template; empty: none.
    #[serde(default, deserialize_with = "or_default")]
    pub template_name: String,
    /// Its notes.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Tags,
    /// In a location: the cluster that it is in.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "maybe_number")]
    pub creation_timestamp: u64,
    /// The volume that it was cut from.
    #[serde(default, deserialize_with = "or_default")]
    pub on_volume: String,
    /// Whether it is on its way out.
    #[serde(default, deserialize_with = "or_default")]
    pub deleted: bool,
    /// Whether its data is still on its way here.
    #[serde(default, deserialize_with = "or_default")]
    pub recovering_from_remote: bool,
}

impl Snapshot {
    /// When it was cut.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.creation_timestamp)
    }

    /// Whether it is there for good. One that is being deleted is called `*...`.
    #[must_use]
    pub fn stays(&self) -> bool {
        !self.deleted && !self.name.starts_with('*')
    }
}

/// What a client may do with what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rights {
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

/// That a client has a volume or snapshot.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which one, by name.
    pub volume: String,
    /// Whether it is a snapshot.
    #[serde(default, deserialize_with = "or_default")]
    pub snapshot: bool,
    /// Who has it. Of an export, the number of the initiator with [`iscsi::INITIATOR`] added.
    #[serde(deserialize_with = "client")]
    pub client: u16,
    /// What the client may do.
    pub rights: Rights,
    /// Which one, by global id.
    #[serde(default)]
    pub global_id: Option<String>,
    /// In a location: the client's cluster.
    #[serde(default)]
    pub cluster_id: Option<String>,
}

impl Attachment {
    /// Who has it.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat { cluster: self.cluster_id.clone(), client: self.client }
    }

    /// Whether this one has it.
    #[must_use]
    pub fn is_at(&self, seat: &Seat) -> bool {
        self.client == seat.client && self.cluster_id == seat.cluster
    }
}

/// That a change of who has what was accepted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Reassigned {
    /// The configuration that it makes; 0: the cluster does not say.
    #[serde(default, deserialize_with = "maybe_number")]
    pub generation: u64,
}

/// Which configuration a client has taken over.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// The client.
    #[serde(deserialize_with = "client")]
    pub id: u16,
    /// The configuration that it is to have; 0: the cluster does not say.
    #[serde(default, deserialize_with = "maybe_number")]
    pub generation: u64,
    /// The configuration that it has.
    #[serde(default, deserialize_with = "maybe_number")]
    pub client_generation: u64,
    /// `ok`, `updating` or `down`.
    #[serde(default, deserialize_with = "or_default")]
    pub config_status: String,
}

impl ClientConfig {
    /// Whether it has taken over this configuration.
    #[must_use]
    pub fn has(&self, generation: u64) -> bool {
        match generation {
            0 => self.config_status == "ok",
            generation => self.client_generation >= generation,
        }
    }
}

/// A template.
#[derive(Clone, Debug, Deserialize)]
pub struct Template {
    /// Its name.
    pub name: String,
}

/// A template's room.
#[derive(Clone, Debug, Deserialize)]
pub struct TemplateStatus {
    /// Its name.
    pub name: String,
    /// What clients can store.
    pub stored: Space,
}

/// Room in bytes of client data, copies not counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Space {
    /// What is left.
    #[serde(deserialize_with = "number")]
    pub free: u64,
}

/// How a volume is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its global id.
    #[serde(default, deserialize_with = "or_default")]
    pub global_id: String,
    /// `up`, `up soon`, `data lost` or `down`.
    pub status: String,
    /// Whether there are fewer copies than there should be.
    #[serde(default, deserialize_with = "or_default")]
    pub decreased_redundancy: bool,
}

/// What runs in the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// `running`, `waiting` or `down`.
    pub cluster_status: String,
    /// The computers that can have volumes, by number.
    #[serde(default, deserialize_with = "or_default")]
    pub clients: BTreeMap<String, ClientService>,
}

impl Services {
    /// Whether the cluster does what it is asked.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.cluster_status == "running"
    }
}

/// A computer that can have volumes.
#[derive(Clone, Debug, Deserialize)]
pub struct ClientService {
    /// `running` or `down`.
    pub status: String,
}

/// A whole number, also where it is a text.
fn number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(input)?;
    whole(&value).ok_or_else(|| serde::de::Error::custom("a whole number is needed"))
}

/// The same, 0 where there is none.
fn maybe_number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    Ok(whole(&Value::deserialize(input)?).unwrap_or(0))
}

fn client<'de, D: Deserializer<'de>>(input: D) -> Result<u16, D::Error> {
    u16::try_from(number(input)?).map_err(serde::de::Error::custom)
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The default where it is null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_leniently() {
        let volume: Volume = serde_json::from_str(
            r#"{"name": "v", "globalId": "d.n.1", "size": "10737418240", "tags": null, "templateName": null,
                "creationTimestamp": 7, "replication": "-", "newer": {}}"#,
        )
        .unwrap();
        assert_eq!((volume.size, volume.tags.len()), (10_737_418_240, 0));
        let attachment: Attachment =
            serde_json::from_str(r#"{"volume": "~d.n.1", "client": "12", "rights": "rw", "pos": 0}"#)
                .unwrap();
        assert_eq!((attachment.client, attachment.rights), (12, Rights::Rw));
        assert!(!volume.is_in(&attachment));
        let error: Envelope = serde_json::from_str(r#"{"error": {"name": "busy", "descr": "x"}}"#).unwrap();
        assert!(!error.error.unwrap().transient);
    }
}
