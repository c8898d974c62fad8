//! What an attach or detach that broke off left behind: attachments in Cinder that Nova knows nothing of, and entries
//! on Nova's list that Cinder knows nothing of.

use std::time::Duration;

use crate::backend::cinder::model::{Attachment, ServerAttachment};
use crate::error::{Error, Kind, Result};

use super::{Attacher, Job};

/// How long Nova's list may take.
const LIST: Duration = Duration::from_secs(60);

impl Attacher {
    /// Whether Nova lists the volume on the server; `None` where there is no such server.
    pub(super) async fn is_listed(&self, job: &Job<'_>) -> Result<Option<bool>> {
        let volume = job.volume;
        let listed = |list: Option<&[_]>| Some(Ok(list.map(|list| has(list, volume))));
        self.watcher.server_volumes(&job.server, LIST, listed).await
    }

    /// Removes Cinder's attachments of the volume to this server where Nova does not list it there: nobody uses them, and
    /// they keep the volume from everyone. Cinder asks Nova once more before it removes one, and refuses where Nova has
    /// it. Tells whether there was one.
    ///
    /// # Errors
    /// `Busy` where Nova uses it after all.
    pub(super) async fn clear(&self, job: &Job<'_>) -> Result<bool> {
        if self.is_listed(job).await? == Some(true) {
            return Ok(false);
        }
        let mut cleared = false;
        for attachment in self.attachments(job.volume).await? {
            if attachment.instance.as_deref() != Some(&job.server) {
                continue;
            }
            tracing::warn!(
                volume = job.volume,
                server = job.server,
                attachment = attachment.id,
                status = %attachment.status,
                "removing an attachment that was left behind: Nova does not list it on its server"
            );
            match self.client.delete_attachment(&attachment.id).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => cleared = true,
            }
        }
        Ok(cleared)
    }

    /// The servers for which Cinder keeps an attachment of the volume that does not show in the volume itself.
    pub(super) async fn promised_to(&self, volume: &str) -> Result<Vec<String>> {
        Ok(self.attachments(volume).await?.into_iter().filter_map(|one| one.instance).collect())
    }

    /// The attachments of a volume as Cinder keeps them; none where the cloud does not show them.
    async fn attachments(&self, volume: &str) -> Result<Vec<Attachment>> {
        match self.client.attachments(&[("volume_id", volume.to_owned())]).await {
            Ok(list) => Ok(list.into_iter().filter(|one| one.volume_id == volume).collect()),
            Err(error) if error.kind() == Kind::Unsupported => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a server's list has a volume.
pub(super) fn has(list: &[ServerAttachment], volume: &str) -> bool {
    list.iter().any(|one| one.volume_id == volume)
}

/// Nova lists a volume that Cinder has free, and does not take it off its list.
pub(super) fn phantom(job: &Job<'_>, refusal: Error) -> Error {
    let text = format!(
        "Nova lists the volume on server {}, but Cinder does not have it attached, so Nova refuses to attach and to \
         detach it: an administrator has to remove Nova's entry, or the server has to be deleted",
        job.server
    );
    Error::unknown(Kind::FailedPrecondition, text).and(refusal.message().to_owned()).caused_by(refusal)
}
