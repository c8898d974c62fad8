//! Taking volumes off servers.
//!
//! A proof that the node is off changes nothing here: the cloud alone can take a disk from a server, it does so also
//! where the server is off, and it lets no user force it while the server's host cannot be reached.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::DetachOrder;
use crate::backend::cinder::model::{Status, Volume};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;

use super::begin::Ended;
use super::leftover::{has, phantom};
use super::stand::Stand;
use super::uses::ACT;
use super::{Attacher, Job, TRIES};

/// What became of a detach.
enum Left {
    /// The server does not have it any more, by what Cinder says.
    Free(Option<Box<Volume>>),
    /// The server has it still, and nothing is under way.
    Held,
}

impl Attacher {
    /// Detaches as [`crate::backend::Backend::detach`] says.
    ///
    /// # Errors
    /// As there. `Busy` where the server does not let go of it.
    pub async fn detach(&self, order: &DetachOrder) -> Result<()> {
        let volume = order.volume.as_str();
        let jobs = match &order.node {
            Some(node) => vec![self.job(volume, node).await?],
            None => self.holders(volume).await.map_err(|error| error.with("volume", volume))?,
        };
        for job in jobs {
            self.memory.forget(volume);
            let taken = match self.take_back(&job).await {
                Ok(false) => self.take_off(&job).await,
                taken => taken.map(drop),
            };
            if taken.is_ok() {
                self.limits.settle(&job.server, volume, false).await;
            }
            taken.map_err(|error| job.told(error).during("detach volume"))?;
        }
        Ok(())
    }

    /// Everyone who has the volume, or is to have it.
    async fn holders<'a>(&self, volume: &'a str) -> Result<Vec<Job<'a>>> {
        let found = match self.client.volume(volume).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            found => found?,
        };
        let mut servers: Vec<_> = found.attachments.into_iter().map(|one| one.server_id).collect();
        if found.status != Status::Available {
            servers.extend(self.promised_to(volume).await?);
        }
        servers.extend(self.lost.servers_of(volume));
        servers.sort_unstable();
        servers.dedup();
        let tells_service = self.tells_service().await?;
        Ok(servers.iter().map(|server| Job::new(volume, server, server, tells_service)).collect())
    }

    async fn take_off(&self, job: &Job<'_>) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut turn = None;
            let (left, refusal) = match self.end(job).await? {
                Ended::Answered(kept) => {
                    turn = kept;
                    (self.leave(job, None).await?, None)
                }
                Ended::Missing => return self.without_nova(job).await,
                Ended::Refused(refusal) => {
                    (self.leave(job, Some(self.patience.freeing)).await?, Some(refusal))
                }
                Ended::Lost(lost) => (self.leave(job, Some(self.patience.freeing)).await?, Some(lost)),
            };
            match (left, refusal) {
                (Left::Free(volume), refusal) => {
                    // What is taken off had been carried out.
                    if refusal.is_none() {
                        self.lost.settle(job.volume, &job.server);
                    }
                    self.unlisted(job, refusal).await?;
                    drop(turn);
                    if let Some(volume) = volume {
                        self.memory.saw(&volume);
                        self.end_act(&volume).await?;
                    }
                    return Ok(());
                }
                // Of a volume from which the server was started, say.
                (Left::Held, Some(refusal)) if refusal.kind() == Kind::InvalidArgument => {
                    return Err(refusal.with_kind(Kind::FailedPrecondition));
                }
                (Left::Held, Some(lost)) if tries >= TRIES => return Err(lost),
                (Left::Held, None) if tries >= TRIES => {
                    let text = format!(
                        "the server did not let go of the disk, {tries} times: is its guest running?"
                    );
                    return Err(Error::busy(text));
                }
                (Left::Held, _) => {
                    tracing::warn!(volume = job.volume, server = job.server, tries, "a detach failed: again");
                    drop(turn);
                    sleep(Duration::from_millis(200) * tries).await;
                }
            }
        }
    }

    /// Waits until Cinder says that the server does not have the volume. `patience`: how long the volume may look held
    /// where it is not certain that a detach is under way; without it, looking held means that the detach failed.
    async fn leave(&self, job: &Job<'_>, patience: Option<Duration>) -> Result<Left> {
        phase("wait for the volume");
        let began = Instant::now();
        let mut last = None;
        loop {
            let judge = |volume: Option<&Volume>| {
                let Some(volume) = volume else { return Some(Ok(Left::Free(None))) };
                last = Some(volume.clone());
                let held = volume.attachments.iter().any(|one| one.server_id == job.server);
                match job.stand(volume) {
                    // Cinder sets `detaching` before Nova answers.
                    Stand::Here(_) if patience.is_none_or(|patience| began.elapsed() >= patience) => {
                        Some(Ok(Left::Held))
                    }
                    Stand::Here(_) => None,
                    Stand::Moving if held || !is_settled(volume) => None,
                    _ if held => Some(Err(super::broken(volume))),
                    _ => Some(Ok(Left::Free(Some(Box::new(volume.clone()))))),
                }
            };
            match self
                .watcher
                .volume_as_usual(job.volume, "detach", job.slice(self.patience.doubt), judge)
                .await
            {
                Err(error) if error.kind() == Kind::Timeout && !job.is_late() => {}
                Err(error) if error.kind() == Kind::Timeout => {
                    return Err(last.map_or(error, |volume| job.too_late("detaching", &volume)));
                }
                left => return left,
            }
            // An attach that broke off looks like a detach that does not end.
            if last.as_ref().is_some_and(|volume| volume.status == Status::Reserved) {
                self.clear(job).await?;
            }
        }
    }

    /// Whoever attaches it next, by whatever means, does something else than we did.
    async fn end_act(&self, volume: &Volume) -> Result<()> {
        let noted = volume.metadata.get(ACT).is_some_and(|act| !act.is_empty());
        match noted && volume.attachments.is_empty() {
            true => {
                let ended = [(ACT.to_owned(), String::new())].into();
                match self.client.note_on_volume(&volume.id, &ended).await {
                    Err(error) if error.is_not_found() => Ok(()),
                    noted => noted,
                }
            }
            false => Ok(()),
        }
    }

    /// Waits until Nova does not list the volume: it takes it off its list after Cinder has it free.
    async fn unlisted(&self, job: &Job<'_>, refusal: Option<Error>) -> Result<()> {
        let began = Instant::now();
        let mut listed = None;
        let off = |list: Option<&[_]>| match list {
            Some(list) if has(list, job.volume) => {
                listed = Some(Instant::now());
                None
            }
            _ => Some(Ok(())),
        };
        let patience = self.patience.listed;
        match self.watcher.server_volumes(&job.server, patience, off).await {
            Err(error) if error.kind() == Kind::Timeout => {
                // A list that was seen long ago says nothing of now.
                if listed.is_some_and(|at| at - began >= patience / 2) {
                    return Err(phantom(job, refusal.unwrap_or(error)));
                }
                let error =
                    error.and("Cinder has it free, and whether Nova still lists it there was not to be seen");
                Err(match refusal {
                    Some(refusal) => error.and(refusal.message()),
                    None => error,
                })
            }
            unlisted => unlisted,
        }
    }

    /// Nova does not have the volume on the server, or has no such server. Sees to it that Cinder agrees.
    async fn without_nova(&self, job: &Job<'_>) -> Result<()> {
        let began = Instant::now();
        let mut first = true;
        loop {
            let volume = match self.client.volume(job.volume).await {
                Err(error) if error.is_not_found() => return Ok(()),
                volume => volume?,
            };
            let held = volume.attachments.iter().any(|one| one.server_id == job.server);
            let moving = matches!(volume.status, Status::Reserved | Status::Attaching | Status::Detaching);
            if !held && !moving {
                self.nothing_comes(job).await?;
                self.memory.saw(&volume);
                return self.end_act(&volume).await;
            }
            // One that is on its way elsewhere is not ours to wait for.
            if !held && !first && !self.promised_to(job.volume).await?.contains(&job.server) {
                return Ok(());
            }
            let patient = if volume.status == Status::Reserved {
                !first
            } else {
                began.elapsed() >= self.patience.freeing
            };
            if patient && !self.clear(job).await? && began.elapsed() >= self.patience.listed {
                let text = format!(
                    "Cinder has it {} with the server, but Nova does not know of it there: an administrator has to \
                     reset the volume's state",
                    volume.status
                );
                return Err(Error::unknown(Kind::FailedPrecondition, text));
            }
            sleep(Duration::from_millis(500)).await;
            first = false;
        }
    }

    /// Whether no attach to the server may still be carried out whose answer was lost.
    ///
    /// # Errors
    /// `Unavailable` where one may: the volume would be on the server again, and nobody would take it off.
    async fn nothing_comes(&self, job: &Job<'_>) -> Result<()> {
        let Some(since) = self.lost.since(job.volume, &job.server) else { return Ok(()) };
        if self.is_listed(job).await?.is_none() {
            return Ok(());
        }
        let text = format!(
            "it is not on the server, but the answer to an attach was lost {} s ago, and Nova may still carry that out",
            since.as_secs()
        );
        Err(Error::unknown(Kind::Unavailable, text))
    }

    /// Takes back an attach to a server that is shelved: Nova keeps the volume for when it is unshelved.
    pub(super) async fn refuse_shelved(&self, job: &Job<'_>) -> Result<()> {
        let server = self.client.server(&job.server).await?;
        if !server.status.starts_with("SHELVED") {
            return Ok(());
        }
        Box::pin(self.take_off(job)).await?;
        let text = format!("the server is {}: unshelve it first", server.status);
        Err(Error::precondition(text))
    }
}

/// Whether no server is being served. A volume loses its server a moment before it loses its state.
fn is_settled(volume: &Volume) -> bool {
    !matches!(volume.status, Status::Detaching | Status::Attaching | Status::Reserved)
}
