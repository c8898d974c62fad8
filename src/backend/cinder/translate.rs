//! From the cloud's objects to the house's.

use std::time::UNIX_EPOCH;

use crate::backend::cinder::model;
use crate::error::{Error, Result};
use crate::volume::{Bytes, Content, NativeId, Snapshot, Source, Topology, Volume};

use super::attach::{CONTENT, DATA};
use super::model::Status;
use super::notes;
use super::{Cloud, config};

impl Cloud {
    /// A volume.
    ///
    /// # Errors
    /// `Internal` for ids that the house cannot hold.
    pub(super) fn volume(&self, volume: &model::Volume) -> Result<Volume> {
        let bound = self.attacher.bound(volume);
        let attached = match bound {
            // The server has it for good; its node has been given it, or not.
            Some(server) if !self.attacher.is_given(volume, server)? => Vec::new(),
            _ => volume.attachments.iter().map(|one| self.nodes.of(&one.server_id)).collect::<Result<_>>()?,
        };
        // Nodes do not read the credentials, so they tell their zone although a cloud.conf says that it does not matter.
        let anywhere = self.heritage().ignore_volume_az && !self.config.ignore_volume_az;
        let reach = match (bound, anywhere) {
            (Some(server), _) => self.config.place_of_server(server),
            (None, true) => Topology::default(),
            (None, false) => self.config.place(volume.availability_zone.as_deref()),
        };
        Ok(Volume {
            id: volume.id.parse()?,
            name: notes::csi_name(volume),
            size: Bytes::gib(volume.size),
            source: source(volume)?,
            content: content(&self.config, volume),
            reach,
            attached,
        })
    }

    /// A snapshot.
    ///
    /// # Errors
    /// As for a volume.
    pub(super) fn snapshot(&self, snapshot: &model::Snapshot) -> Result<Snapshot> {
        let id = &snapshot.id;
        let group = snapshot.group_snapshot_id.as_deref().map(str::parse).transpose()?;
        self.cut(snapshot.id.parse()?, snapshot, &snapshot.volume_id, snapshot.size, group)
            .map_err(|error| error.with("snapshot", id))
    }

    /// A backup, which is a snapshot to the house.
    ///
    /// # Errors
    /// As for a volume.
    pub(super) fn backup(&self, backup: &model::Backup) -> Result<Snapshot> {
        self.cut(notes::backup_id(&backup.id)?, backup, &backup.volume_id, backup.size, None)
            .map_err(|error| error.with("backup", &backup.id))
    }

    fn cut(
        &self,
        id: NativeId,
        object: &impl notes::Noted,
        volume: &str,
        gib: u64,
        group: Option<NativeId>,
    ) -> Result<Snapshot> {
        let mut name = notes::csi_name(object);
        if object.notes().is_none_or(|notes| !notes.contains_key(notes::NAME)) {
            name = name.strip_prefix(&self.config.name_prefix).map_or_else(|| name.clone(), str::to_owned);
        }
        Ok(Snapshot {
            id,
            name,
            volume: volume.parse()?,
            size: Bytes::gib(gib),
            created: object.created_at().unwrap_or(UNIX_EPOCH),
            ready: *object.status() == Status::Available,
            group,
        })
    }
}

/// What a volume was made from. An image is no source that the house knows.
fn source(volume: &model::Volume) -> Result<Option<Source>> {
    let parse = |id: &str| id.parse();
    Ok(match volume.metadata.get(notes::SOURCE).and_then(|note| note.split_once(':')) {
        Some(("snapshot", id)) => Some(Source::Snapshot(parse(id)?)),
        Some(("backup", id)) => Some(Source::Snapshot(notes::backup_id(id)?)),
        Some(("volume", id)) => Some(Source::Volume(parse(id)?)),
        Some(("image", _)) => None,
        Some((other, _)) => {
            return Err(Error::internal(format!("its source is of an unknown kind, {other:?}")));
        }
        None => match (&volume.snapshot_id, &volume.source_volid) {
            (Some(id), _) => Some(Source::Snapshot(parse(id)?)),
            (None, Some(id)) => Some(Source::Volume(parse(id)?)),
            (None, None) => None,
        },
    })
}

/// What is known of a volume's content: one of ours that was made from nothing may be blank as long as it was not handed
/// out as a raw device; all others hold data.
pub fn content(config: &config::CinderConfig, volume: &model::Volume) -> Content {
    let from_nothing = !volume.metadata.contains_key(notes::SOURCE)
        && volume.snapshot_id.is_none()
        && volume.source_volid.is_none()
        && volume.volume_image_metadata.is_empty()
        && volume.metadata.get(CONTENT).map(String::as_str) != Some(DATA);
    if from_nothing && notes::is_ours(config, volume) { Content::New } else { Content::Data }
}
