//! Waiting for a volume to get where it was sent.

use tokio::time::Instant;

use super::job::Job;
use super::stand::Stand;
use super::{Attacher, broken, elsewhere, gone};
use crate::backend::cinder::model::{Status, Volume};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;

/// What became of an attach.
pub(super) enum Arrived {
    /// The server has it.
    Here(Volume),
    /// It failed: the volume is as it was before.
    FellBack(Option<Volume>),
}

impl Attacher {
    /// Waits for a volume that is on its way to get there, whoever sent it.
    pub(super) async fn settled(&self, job: &Job<'_>, found: &Volume) -> Result<Volume> {
        let mut slice = self.patience.early;
        let mut last = found.clone();
        loop {
            let judge = |volume: Option<&Volume>| match volume {
                None => Some(Err(gone())),
                Some(volume) if job.stand(volume) == Stand::Moving => {
                    last = volume.clone();
                    None
                }
                Some(volume) => Some(Ok(volume.clone())),
            };
            match self.watcher.volume(job.volume, job.slice(slice), judge).await {
                Err(error) if error.kind() == Kind::Timeout && !job.is_late() => {}
                Err(error) if error.kind() == Kind::Timeout => return Err(job.too_late("waiting", &last)),
                settled => return settled,
            }
            if matches!(last.status, Status::Reserved | Status::Attaching) && !self.clear(job).await? {
                let promised = self.promised_to(job.volume).await?;
                if let Some(other) = promised.iter().find(|server| **server != job.server) {
                    let text = format!("it is being attached to server {other}: detach it there first");
                    return Err(Error::precondition(text));
                }
            }
            slice = self.patience.doubt;
        }
    }

    /// Waits for what was ordered. `lost`: the order's answer was lost, for this reason.
    pub(super) async fn arrive(&self, job: &Job<'_>, shared: bool, lost: Option<Error>) -> Result<Arrived> {
        phase("wait for the volume");
        let began = Instant::now();
        let mut slice = if shared || lost.is_some() { self.patience.early } else { self.patience.doubt };
        let mut last = None;
        loop {
            let judge = |volume: Option<&Volume>| {
                let Some(volume) = volume else { return Some(Err(gone())) };
                last = Some(volume.clone());
                match job.stand(volume) {
                    Stand::Here(_) => Some(Ok(Arrived::Here(volume.clone()))),
                    Stand::Elsewhere(others) if !shared => Some(Err(elsewhere(&others))),
                    Stand::Broken => Some(Err(broken(volume))),
                    // Nova had reserved it before it answered, so this is the end of a failed attach.
                    _ if volume.status == Status::Available && lost.is_none() => {
                        Some(Ok(Arrived::FellBack(Some(volume.clone()))))
                    }
                    Stand::Moving | Stand::Free | Stand::Elsewhere(_) => None,
                }
            };
            match self.watcher.volume_as_usual(job.volume, "attach", job.slice(slice), judge).await {
                Err(error) if error.kind() == Kind::Timeout => {
                    if job.is_late() {
                        return Err(last.map_or(error, |volume| job.too_late("attaching", &volume)));
                    }
                }
                arrived => return arrived,
            }
            slice = self.patience.doubt;
            // Nova puts it on its list before Cinder hears of it.
            if self.is_listed(job).await? == Some(true) {
                if last.as_ref().is_some_and(|volume| volume.status == Status::Reserved) {
                    self.refuse_shelved(job).await?;
                }
                continue;
            }
            match &lost {
                Some(lost) if began.elapsed() >= self.patience.grace => return Err(lost.clone()),
                Some(_) => {}
                None => {
                    self.clear(job).await?;
                    return Ok(Arrived::FellBack(None));
                }
            }
        }
    }

    /// An attach that fails each time without a word.
    pub(super) async fn silent(&self, job: &Job<'_>, tries: u32) -> Error {
        let actions = self.client.server_actions(&job.server).await.unwrap_or_default();
        let last = actions.into_iter().find(|action| action.action == "attach_volume");
        let text = format!("the attach was accepted and failed {tries} times, and the volume is free again");
        let error = Error::unknown(Kind::Unavailable, text);
        match last.and_then(|action| Some((action.message?, action.request_id?))) {
            Some((message, request)) => error.and(format_args!("Nova says {message:?} of request {request}")),
            None => error.and("Nova does not say why (see the log of the server's compute service)"),
        }
    }
}
