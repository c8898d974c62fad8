//! What is told of a volume.

use serde::Serialize;

use crate::controller::Found;
use crate::operator::claims::Claims;
use crate::operator::records::{Claim, Hold};
use crate::operator::report::{or_none, table};
use crate::volume::{Content, Health, HealthStatus, Source, Topology, Volume, VolumeId};

/// The id of a volume that was found.
pub(super) fn id(found: &Found<Volume>) -> VolumeId {
    VolumeId::new(found.backend.clone(), found.item.id.clone())
}

/// A volume as its back end tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeFacts {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) size: String,
    pub(super) content: Content,
    pub(super) source: Option<Source>,
    pub(super) reach: Topology,
    /// Node ids.
    pub(super) attached: Vec<String>,
}

impl From<&Found<Volume>> for VolumeFacts {
    fn from(found: &Found<Volume>) -> Self {
        let volume = &found.item;
        Self {
            id: id(found).to_string(),
            name: volume.name.clone(),
            bytes: volume.size.get(),
            size: volume.size.to_string(),
            content: volume.content,
            source: volume.source.clone(),
            reach: volume.reach.clone(),
            attached: volume.attached.iter().map(ToString::to_string).collect(),
        }
    }
}

impl VolumeFacts {
    /// Lines of `key  value`.
    pub(super) fn lines(&self) -> String {
        let source = self.source.as_ref().map(|source| match source {
            Source::Snapshot(id) => format!("snapshot {id}"),
            Source::Volume(id) => format!("volume {id}"),
        });
        let reach: Vec<_> = self.reach.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let content = match self.content {
            Content::New => "new: never formatted",
            Content::Formatting => "being formatted",
            Content::Data => "data",
        };
        let rows = [
            ("id", self.id.clone()),
            ("name", self.name.clone()),
            ("size", self.size.clone()),
            ("content", content.to_owned()),
            ("made from", or_none(source)),
            ("reachable from", or_none(Some(reach.join(", ")))),
            ("attached to", or_none(Some(self.attached.join(", ")))),
        ];
        rows.iter().map(|(key, value)| format!("{key:16}{value}\n")).collect()
    }
}

/// A volume among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) volume: VolumeFacts,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<Claim>,
}

impl Listed {
    /// A volume with the first of its claims.
    pub(super) fn new(found: &Found<Volume>, claims: &Claims) -> Self {
        Self { volume: found.into(), claim: claims.of(&id(found)).first().cloned() }
    }
}

/// The lines of a listing.
pub(super) fn listing(listed: &[Listed]) -> String {
    let rows: Vec<_> = listed
        .iter()
        .map(|Listed { volume, claim }| {
            [
                volume.id.clone(),
                volume.name.clone(),
                volume.size.clone(),
                or_none(Some(volume.attached.join(","))),
                or_none(claim.as_ref().map(|claim| claim.persistent_volume.clone())),
                or_none(claim.as_ref().and_then(|claim| claim.claim.clone())),
            ]
        })
        .collect();
    table(["ID", "NAME", "SIZE", "ATTACHED TO", "PERSISTENT VOLUME", "CLAIM"], &rows)
}

/// A snapshot, as far as it matters to its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotFacts {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) size: String,
    pub(super) ready: bool,
}

/// A fault of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FaultFacts {
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn faults(health: Health) -> Vec<FaultFacts> {
    let status = |status| match status {
        HealthStatus::Degraded => "degraded",
        HealthStatus::Inaccessible => "inaccessible",
        HealthStatus::DataLoss => "data loss",
    };
    let facts = |fault: crate::volume::HealthFault| FaultFacts {
        status: status(fault.status),
        reason: fault.reason,
        message: fault.message,
    };
    health.into_iter().map(facts).collect()
}

/// All that anybody knows of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inspected {
    #[serde(flatten)]
    pub(super) volume: VolumeFacts,
    pub(super) faults: Vec<FaultFacts>,
    pub(super) snapshots: Vec<SnapshotFacts>,
    /// `None`: no cluster is asked.
    pub(super) kubernetes: Option<Recorded>,
}

/// What the cluster knows of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recorded {
    pub(super) persistent_volumes: Vec<Claim>,
    pub(super) volume_attachments: Vec<Hold>,
}

impl Inspected {
    pub(super) fn lines(&self) -> String {
        let mut text = self.volume.lines();
        let mut add = |key: &str, values: Vec<String>| {
            let values = if values.is_empty() { vec!["-".to_owned()] } else { values };
            for value in values {
                text.push_str(&format!("{key:16}{value}\n"));
            }
        };
        let faults = self.faults.iter();
        add("fault", faults.map(|f| format!("{} ({}): {}", f.reason, f.status, f.message)).collect());
        let snapshots = self.snapshots.iter();
        add("snapshot", snapshots.map(|s| format!("{} {} {}", s.id, s.name, s.size)).collect());
        match &self.kubernetes {
            None => add("kubernetes", vec!["not asked".to_owned()]),
            Some(Recorded { persistent_volumes, volume_attachments }) => {
                let volume = |claim: &Claim| {
                    let by = claim.claim.as_ref().map(|by| format!(", claimed by {by}")).unwrap_or_default();
                    format!("{} ({}){by}", claim.persistent_volume, claim.phase)
                };
                add("persistent vol.", persistent_volumes.iter().map(volume).collect());
                let hold = |hold: &Hold| {
                    let state = if hold.attached { "attached" } else { "not attached yet" };
                    format!("{} ({state})", hold.node)
                };
                add("attachment", volume_attachments.iter().map(hold).collect());
            }
        }
        text
    }
}
