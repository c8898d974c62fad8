//! Attaching volumes to servers, and taking them off again.
//!
//! Cinder and Nova each keep a record of who has a volume, and change them one after the other. A volume is attached once
//! Cinder has it in use by the server and Nova has it on the server's list; it is detached once neither has. What Nova
//! answers to an attach is its entry on the list; where that answer is lost, or the attach was another's, the list is
//! asked for.

mod arrive;
mod begin;
mod bound;
mod detach;
mod job;
mod leftover;
mod limit;
mod lost;
mod memory;
mod queue;
mod stand;
#[cfg(test)]
mod tests;
mod uses;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use crate::backend::AttachOrder;
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{Attachment, Bytes, Connection, Content, NodeId};

use super::IDENTITY;
use super::client::Client;
use super::config::CinderConfig;
use super::dialect::Telling;
use super::explain::Types;
use super::identity::{Microversion, Service};
use super::model::{Volume, VolumeAttachment};
use super::watch::Watcher;
use arrive::Arrived;
use begin::Begun;
use job::Job;
use limit::Limits;
use lost::Lost;
use memory::Memory;
use queue::Queues;
use stand::Stand;

pub use limit::PROPERTY;
pub use queue::Turn;
pub use uses::{CONTENT, DATA};

/// From here on Cinder tells which service holds a volume.
const SERVICE: Microversion = Microversion(3, 48);
/// How long Cinder gets to free a volume whose left-over attachment was removed.
const CLEARED: Duration = Duration::from_millis(200);
/// How often an attach is ordered that fails without a word, or is refused although the volume looks free.
const TRIES: u32 = 4;

/// How long something is given before it is doubted.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How often it is asked what became of an attach or detach that does not get on.
    doubt: Duration,
    /// The same where there is reason for doubt: the answer was lost, or the volume's state does not tell.
    early: Duration,
    /// How long something may still come of an attach whose answer was lost and of which nothing is to be seen.
    grace: Duration,
    /// How long Nova may go on listing a volume that Cinder has free.
    listed: Duration,
    /// How long Cinder may go on telling of a server that Nova does not know, or of a volume that it is asked to detach:
    /// the volumes of a deleted server are freed one after the other.
    freeing: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            doubt: seconds(10),
            early: seconds(2),
            grace: seconds(20),
            listed: seconds(30),
            freeing: seconds(5),
        }
    }
}

/// Attaches and detaches the volumes of one cloud.
#[derive(Debug)]
pub struct Attacher {
    client: Client,
    watcher: Watcher,
    config: CinderConfig,
    queues: Queues,
    memory: Memory,
    lost: Lost,
    limits: Limits,
    types: Arc<Types>,
    patience: Patience,
}

impl Attacher {
    /// Attaches on the cloud that this client calls.
    #[must_use]
    pub fn new(client: &Client, watcher: &Watcher, config: CinderConfig) -> Self {
        let limits = Limits::new(client, config.per_server);
        Self {
            client: client.clone(),
            watcher: watcher.clone(),
            config,
            queues: Queues::new(client.dialect().servers.one_task),
            memory: Memory::default(),
            lost: Lost::default(),
            limits,
            types: Arc::default(),
            patience: Patience::default(),
        }
    }

    /// With these types of volumes, which tell whose volumes stay with one server.
    #[must_use]
    pub(super) fn with_types(self, types: Arc<Types>) -> Self {
        Self { types, ..self }
    }

    /// Notes a volume as the cloud showed it just now, which can spare a question when it is attached.
    pub fn saw(&self, volume: &Volume) {
        self.memory.saw(volume);
    }

    /// Attaches as [`crate::backend::Backend::attach`] says.
    ///
    /// # Errors
    /// As there.
    pub async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        let job = self.job(order.volume.as_str(), &order.node).await?;
        let attached = self.bring(order, &job).await.map_err(|error| job.told(error).during("attach volume"));
        let refused = attached.as_ref().is_err_and(|error| error.outcome() == Outcome::Refused);
        self.limits.settle(&job.server, job.volume, !refused).await;
        attached
    }

    async fn job<'a>(&self, volume: &'a str, node: &NodeId) -> Result<Job<'a>> {
        // A node id without an identity may be from a driver that used the server's id alone.
        let server = node.identity(IDENTITY).unwrap_or_else(|| node.name());
        Ok(Job::new(volume, server, node.name(), self.tells_service().await?))
    }

    async fn tells_service(&self) -> Result<bool> {
        Ok(self.client.endpoint(Service::Volume).await?.has(SERVICE))
    }

    async fn bring(&self, order: &AttachOrder, job: &Job<'_>) -> Result<Attachment> {
        let mut tries = 0;
        // Nova asks Cinder anyway, and refuses what is not free. Volumes that several servers can have are never taken
        // for free unseen.
        let known_free =
            self.client.dialect().attachment_ids && uses::is_plain(order) && self.memory.is_free(job.volume);
        let mut volume = if known_free { None } else { Some(self.look(job).await?) };
        loop {
            let mut shared = false;
            if let Some(found) = &volume {
                match job.stand(found) {
                    Stand::Here(attachment) if self.bound(found).is_some() => {
                        return self.give(order, job, found, attachment).await;
                    }
                    Stand::Here(attachment) => match self.found(order, job, found, attachment).await? {
                        Some(attachment) => return Ok(attachment),
                        None if job.is_late() => return Err(job.too_late("clearing up", found)),
                        None => {
                            sleep(CLEARED).await;
                            volume = Some(self.look(job).await?);
                            continue;
                        }
                    },
                    Stand::Moving => {
                        volume = Some(self.settled(job, found).await?);
                        continue;
                    }
                    Stand::Broken => return Err(broken(found)),
                    Stand::Elsewhere(others) => {
                        self.refuse_bound(found)?;
                        uses::may_share(order, found, &others)?;
                    }
                    Stand::Free => {}
                }
                shared = found.multiattach;
                self.note_use(order, job, found).await?;
            }
            tries += 1;
            let arrived = match self.begin(job, shared).await? {
                Begun::Answered(listed, turn) => {
                    self.memory.forget(job.volume);
                    let arrived = self.arrive(job, shared, None).await;
                    drop(turn);
                    arrived.map(|arrived| (arrived, listed))?
                }
                Begun::Lost(lost) => {
                    job.lost.store(true, Ordering::Relaxed);
                    self.lost.add(job.volume, &job.server);
                    self.memory.forget(job.volume);
                    self.arrive(job, shared, Some(lost)).await.map(|arrived| (arrived, false))?
                }
                Begun::Refused(refusal) => {
                    self.memory.forget(job.volume);
                    volume = Some(self.after_refusal(job, refusal, tries).await?);
                    continue;
                }
            };
            match arrived {
                (Arrived::Here(found), listed) => {
                    if listed && let Stand::Here(attachment) = job.stand(&found) {
                        return Ok(self.done(order, job, &found, attachment));
                    }
                    volume = Some(found);
                }
                (Arrived::FellBack(_), _) if tries >= TRIES => return Err(self.silent(job, tries).await),
                (Arrived::FellBack(found), _) => {
                    tracing::warn!(
                        volume = job.volume,
                        server = job.server,
                        "an attach failed without a word: again"
                    );
                    volume = match found {
                        Some(found) => Some(found),
                        None => Some(self.look(job).await?),
                    };
                }
            }
        }
    }

    /// The volume as it is now.
    async fn look(&self, job: &Job<'_>) -> Result<Volume> {
        self.client.volume(job.volume).await
    }

    /// Cinder says that the server has it. Tells how, or `None` where that was a left-over, which is now gone.
    async fn found(
        &self,
        order: &AttachOrder,
        job: &Job<'_>,
        volume: &Volume,
        attachment: &VolumeAttachment,
    ) -> Result<Option<Attachment>> {
        if uses::differs(order, volume, &job.server)? {
            let text =
                "the server has it already, and not as it is wanted now (read-only or not): detach it first";
            return Err(Error::refused(Kind::AlreadyExists, text));
        }
        let id = act(volume, attachment).unwrap_or_default();
        if self.memory.is_listed(job.volume, &job.server, id) {
            return Ok(Some(self.done(order, job, volume, attachment)));
        }
        match self.is_listed(job).await? {
            Some(true) => Ok(Some(self.done(order, job, volume, attachment))),
            None => Err(no_server()),
            Some(false) if self.clear(job).await? => Ok(None),
            Some(false) => {
                let text = "Cinder has it attached to the server, but Nova does not list it there";
                Err(Error::unknown(Kind::FailedPrecondition, text))
            }
        }
    }

    fn done(
        &self,
        order: &AttachOrder,
        job: &Job<'_>,
        volume: &Volume,
        attachment: &VolumeAttachment,
    ) -> Attachment {
        let id = act(volume, attachment);
        self.lost.settle(job.volume, &job.server);
        self.memory.attached(job.volume, &job.server, id.unwrap_or_default());
        Attachment {
            nonce: id.map_or_else(|| format!("{}@{}", job.volume, job.server), str::to_owned),
            size: Bytes::gib(volume.size),
            // What does not tell one act of attaching from another does not tell whether an interrupted formatting is still
            // that of this one: then nothing is formatted.
            content: if id.is_some() { super::content(&self.config, volume) } else { Content::Data },
            readonly: !uses::ordered(order).writes(),
            connection: match self.client.dialect().disks {
                Telling::Serial | Telling::Name => {
                    Connection::Disk { serial: job.volume.to_owned(), device: attachment.device.clone() }
                }
                Telling::Nothing => Connection::Nameless {
                    volume: job.volume.to_owned(),
                    disks: uses::disks_of(id.unwrap_or_default()),
                },
            },
        }
    }

    /// Notes how it is going to be used, where that matters later.
    async fn note_use(&self, order: &AttachOrder, job: &Job<'_>, volume: &Volume) -> Result<()> {
        if uses::ordered(order).writes() && uses::is_sealed(volume) {
            let text =
                "the cloud has it marked read-only: `openstack volume set --read-write` makes it writable";
            return Err(Error::precondition(text));
        }
        let mut notes = uses::to_note(order, volume, &job.server)?;
        let dialect = self.client.dialect();
        // Where the node has to be told more, the act is named in the server's turn.
        if !dialect.attachment_ids && dialect.disks != Telling::Nothing {
            notes.extend([uses::act(None)?]);
        }
        let more = notes.keys().filter(|key| !volume.metadata.contains_key(*key)).count();
        if dialect.most_notes.is_some_and(|most| volume.metadata.len() + more + 1 > most) {
            let mut all = uses::still_true(volume, &job.server);
            all.extend(notes);
            return self.client.replace_notes(job.volume, &all).await;
        }
        if notes.is_empty() { Ok(()) } else { self.client.note_on_volume(job.volume, &notes).await }
    }

    /// What to go on with after Nova refused although the volume looked free, or was thought to be.
    async fn after_refusal(&self, job: &Job<'_>, refusal: Error, tries: u32) -> Result<Volume> {
        let volume = self.look(job).await?;
        if job.stand(&volume) != Stand::Free && !volume.multiattach {
            return Ok(volume);
        }
        if refusal.kind() == Kind::InvalidArgument || tries >= TRIES {
            if self.is_listed(job).await? == Some(true) {
                return Err(leftover::phantom(job, refusal));
            }
            return Err(refusal.with_kind(Kind::FailedPrecondition));
        }
        // It may have become free just now.
        sleep(Duration::from_millis(300) * tries).await;
        self.look(job).await
    }
}

/// Which act of attaching it is.
fn act<'a>(volume: &'a Volume, attachment: &'a VolumeAttachment) -> Option<&'a str> {
    let noted = || volume.metadata.get(uses::ACT).filter(|act| !act.is_empty());
    attachment.attachment_id.as_ref().or_else(noted).map(String::as_str)
}

fn gone() -> Error {
    Error::not_found("the volume is gone")
}

fn no_server() -> Error {
    Error::not_found("there is no such server in this project")
}

fn broken(volume: &Volume) -> Error {
    Error::precondition(format!(
        "the volume is in state {}, in which nothing can be attached or detached",
        volume.status
    ))
}

fn elsewhere_for_good(volume: &Volume, server: &str) -> Error {
    let kind = volume.volume_type.as_deref().unwrap_or_default();
    Error::precondition(format!(
        "volumes of its type ({kind}) stay with the server on which they were made, and this one is on server {server}: its \
         pod can run there alone"
    ))
}

fn elsewhere(servers: &[&str]) -> Error {
    let text = format!("it was attached to server {} meanwhile: detach it there first", servers.join(", "));
    Error::precondition(text)
}
