//! Volumes that one server has from the first moment to the last. The cloud never attaches or detaches them, so who has been
//! given one is noted alone: what Kubernetes calls attached is that note.

use crate::backend::AttachOrder;
use crate::backend::cinder::model::{Volume, VolumeAttachment};
use crate::error::{Error, Kind, Result};
use crate::volume::Attachment;

use super::{Attacher, Job, elsewhere_for_good, uses};

impl Attacher {
    /// The server that has a volume for good; `None` of a volume that can go from one to another.
    #[must_use]
    pub fn bound<'v>(&self, volume: &'v Volume) -> Option<&'v str> {
        let kind = volume.volume_type.as_deref()?;
        let binds = self.client.dialect().servers.binding && self.types.binds(kind);
        volume.attachments.first().filter(|_| binds).map(|one| one.server_id.as_str())
    }

    /// Whether such a volume has been given to its server's node.
    ///
    /// # Errors
    /// `Internal` for a note that cannot be read.
    pub fn is_given(&self, volume: &Volume, server: &str) -> Result<bool> {
        uses::noted(volume, server).map(|noted| noted.is_some())
    }

    /// Gives it to its server's node.
    pub(super) async fn give(
        &self,
        order: &AttachOrder,
        job: &Job<'_>,
        volume: &Volume,
        attachment: &VolumeAttachment,
    ) -> Result<Attachment> {
        match uses::noted(volume, &job.server)? {
            Some(known) if known == uses::ordered(order) => {
                return Ok(self.done(order, job, volume, attachment));
            }
            Some(known) => {
                let text = format!("the server has it already, as {known}: detach it first");
                return Err(Error::refused(Kind::AlreadyExists, text));
            }
            None => {}
        }
        let listed = self.client.server_volumes(&job.server).await?;
        let notes = [uses::given(order, &job.server), uses::act(Some(listed.len()))?].into();
        self.client.note_on_volume(job.volume, &notes).await?;
        let mut given = volume.clone();
        given.metadata.extend(notes);
        Ok(self.done(order, job, &given, attachment))
    }

    /// Takes such a volume back from its server's node; `false`: it is none. The server has it still, which no call of the
    /// cloud can change but its deletion.
    pub(super) async fn take_back(&self, job: &Job<'_>) -> Result<bool> {
        if !self.client.dialect().servers.binding {
            return Ok(false);
        }
        let volume = match self.client.volume(job.volume).await {
            Err(error) if error.is_not_found() => return Ok(true),
            volume => volume?,
        };
        if self.bound(&volume).is_none() {
            return Ok(false);
        }
        if self.is_given(&volume, &job.server)? {
            self.client.note_on_volume(job.volume, &uses::taken_back(&job.server)).await?;
        }
        Ok(true)
    }

    /// Why a volume that one server has for good cannot be had by another one.
    pub(super) fn refuse_bound(&self, volume: &Volume) -> Result<()> {
        match self.bound(volume) {
            Some(server) => Err(elsewhere_for_good(volume, server)),
            None => Ok(()),
        }
    }
}
