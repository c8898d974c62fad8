//! Makes a file system on a device that is proven blank, or on one whose only content is our own interrupted try.
//!
//! Two things tell of such a try. The back end's record, where it keeps one, says [`Content::Formatting`], to every node
//! and for as long as it takes. An *intent*, a small file in the staging directory while nothing is mounted there, says
//! for this attachment alone that its device was proven blank and that mkfs may have begun. Before the volume is handed
//! to anybody who may write, the record says [`Content::Data`] and the intent is removed, both durably. So while either
//! tells of a try nobody has written to the volume but mkfs, and mkfs may simply run again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::{Connector, Device};
use crate::error::{Error, Kind, Outcome, Result};
use crate::failpoint;
use crate::flight::phase;
use crate::host::Signature;
use crate::node::Stage;
use crate::node::core::Core;
use crate::volume::{Bytes, Content, FsType, VolumeId};

/// Its name in the staging directory.
const NAME: &str = ".fairlead-formatting";

/// Whose formatting was begun. It counts only if every field fits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Intent {
    volume: String,
    /// Of the attachment: what another node or another attach did in between makes the intent void.
    nonce: String,
    size: Bytes,
    fs: FsType,
}

/// What a device is to become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) order: &'a Stage,
    pub(super) path: &'a Path,
    pub(super) fs: FsType,
    pub(super) readonly: bool,
}

fn intent_path(staging: &Path) -> PathBuf {
    staging.join(NAME)
}

impl Core {
    /// Sees to it that the device bears the file system that is asked for, formatting it only if it is safe, and that
    /// no intent is left. Tells whether it was formatted. Nothing may be mounted at the staging path.
    pub(super) async fn ensure_file_system(
        &self,
        connector: &dyn Connector,
        target: Target<'_>,
        device: &Device,
    ) -> Result<bool> {
        let Target { order, path, fs, readonly } = target;
        let intent = Intent {
            volume: order.volume.to_string(),
            nonce: order.attachment.nonce.clone(),
            size: device.size,
            fs,
        };
        // From here to the end of mkfs: what is proven blank must be what is formatted.
        let _held = self.host.hold(device).await?;
        let content = content(connector, order).await?;
        let begun = match content {
            Content::New => {
                let found = self.host.read_small(&intent_path(path)).await?;
                found.as_deref().and_then(|text| serde_json::from_str(text).ok()).as_ref() == Some(&intent)
            }
            Content::Formatting => true,
            // Whatever an intent says.
            Content::Data => false,
        };
        // The usual case first: the proof asks blkid too, so a new volume is probed once.
        let mut unproven = None;
        if !begun && may_format(&target, content, device).is_ok() {
            phase("prove");
            match self.host.prove_blank(device).await {
                Ok(()) => {
                    failpoint::step("stage.proved");
                    return self.format(connector, &target, device, &intent).await;
                }
                Err(error) if error.kind() == Kind::FailedPrecondition => unproven = Some(error),
                Err(error) => return Err(error),
            }
        }
        phase("probe");
        match self.host.signature(device).await? {
            Signature::Fs(found) if found != fs => Err(Error::precondition(format!(
                "the volume holds {found}, but {fs} is asked for; it is not formatted again"
            ))),
            Signature::Fs(_) if !begun => {
                if !readonly {
                    self.hand_out(connector, order, path, content).await?;
                }
                Ok(false)
            }
            Signature::Other(words) => Err(Error::precondition(format!(
                "the volume should hold {fs}, but it holds {words}; it is not formatted, because that is data"
            ))),
            Signature::Ambivalent => Err(Error::precondition(format!(
                "the volume should hold {fs}, but it bears several signatures at once; it is not formatted, because \
                 one of them is data: wipe those that are stale by hand"
            ))),
            Signature::None | Signature::Fs(_) => {
                may_format(&target, content, device)?;
                match unproven {
                    Some(error) => Err(error),
                    // Begun: what is there is our own interrupted mkfs.
                    None => self.format(connector, &target, device, &intent).await,
                }
            }
        }
    }

    /// A raw device is about to be handed out for writing.
    pub(super) async fn hand_out_raw(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        path: &Path,
    ) -> Result<()> {
        let content = content(connector, order).await?;
        self.hand_out(connector, order, path, content).await
    }

    /// From here on what is on the volume is somebody's data. The intent goes also where it is void.
    async fn hand_out(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        path: &Path,
        content: Content,
    ) -> Result<()> {
        if content != Content::Data {
            connector.mark_formatted(&order.volume.native).await?;
        }
        self.host.remove_file(&intent_path(path)).await
    }

    /// From its first step on the device is no longer as it was, so no error is final.
    async fn format(
        &self,
        connector: &dyn Connector,
        target: &Target<'_>,
        device: &Device,
        intent: &Intent,
    ) -> Result<bool> {
        let formatted = self.try_format(connector, target, device, intent).await;
        formatted.map(|()| true).map_err(|error| error.with_outcome(Outcome::Unknown))
    }

    async fn try_format(
        &self,
        connector: &dyn Connector,
        target: &Target<'_>,
        device: &Device,
        intent: &Intent,
    ) -> Result<()> {
        let text = serde_json::to_string(intent)
            .map_err(|error| Error::internal("the formatting intent cannot be written").caused_by(error))?;
        self.host.write_durable(&intent_path(target.path), &text).await?;
        failpoint::step("stage.intent");
        connector.mark_formatting(&target.order.volume.native).await?;
        failpoint::step("stage.formatting-marked");
        phase("format");
        match connector.mark(&target.order.volume.native) {
            Some(mark) => self.host.format_marked(device, target.fs, mark).await?,
            None => self.host.format(device, target.fs).await?,
        }
        failpoint::step("stage.formatted");
        connector.mark_formatted(&target.order.volume.native).await?;
        failpoint::step("stage.marked");
        self.host.remove_file(&intent_path(target.path)).await?;
        failpoint::step("stage.intent-removed");
        tracing::info!(volume = %target.order.volume, fs = %target.fs, size = %device.size, "formatted a blank volume");
        Ok(())
    }

    /// Removes an intent of this volume: kubelet wants the staging directory empty. Another's file stays, but for one that
    /// was never finished, which tells nobody anything.
    pub(super) async fn forget_intent(&self, volume: &VolumeId, staging: &Path) -> Result<()> {
        let path = intent_path(staging);
        let found = self.host.read_small(&path).await?;
        let intent: Option<Intent> = found.and_then(|text| serde_json::from_str(&text).ok());
        if intent.is_some_and(|intent| intent.volume == volume.to_string()) {
            tracing::warn!(%volume, "the volume is let go of with its formatting interrupted");
            self.host.remove_file(&path).await?;
        }
        self.host.remove_half_written(&path).await
    }
}

/// What is known of the content now. That it is data is true for good, whoever tells it.
async fn content(connector: &dyn Connector, order: &Stage) -> Result<Content> {
    match order.attachment.content {
        Content::Data => Ok(Content::Data),
        // What was told may be outdated: without a record, whoever formatted it since has left no trace in the order.
        Content::New | Content::Formatting => {
            Ok(connector.content(&order.volume.native).await?.unwrap_or(Content::New))
        }
    }
}

/// What content and order say against formatting.
fn may_format(target: &Target<'_>, content: Content, device: &Device) -> Result<()> {
    let Target { fs, readonly, .. } = *target;
    let refuse = |why: &str| {
        Err(Error::precondition(format!(
            "the volume should hold {fs}, but no finished file system is found on it; it is not formatted, because {why}"
        )))
    };
    if content == Content::Data {
        return refuse("it was made from a source, or formatted or used before, so it may hold data");
    }
    if readonly {
        return refuse("it is to be used read-only: use it once for writing first");
    }
    if device.size < fs.smallest() {
        return Err(Error::refused(
            Kind::OutOfRange,
            format!("the volume has {}, but {fs} needs at least {}", device.size, fs.smallest()),
        ));
    }
    Ok(())
}
