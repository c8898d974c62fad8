//! The node's side where disks say nothing of themselves, as in Cyclades. Holds no credentials.
//!
//! What a disk cannot say, its file system does: it bears a mark that is made from the volume's id. A disk without a file
//! system yet is taken for the volume's only where nothing else is possible (see `choose`). A raw device bears nothing, so
//! there are none here.

mod begun;
mod choose;
mod name;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex as Turn, OnceCell};
use tokio::time::Instant;

use self::begun::Begun;
use self::choose::Seen;
use super::finder::Found;
use super::{Key, PATIENCE, key};
use crate::backend::cinder::IDENTITY;
use crate::backend::cinder::config::CinderConfig;
use crate::backend::{Connector, Device, Presence};
use crate::error::{Error, Kind, Result};
use crate::host::disks::{Disk, Disks};
use crate::host::{files, kernel, uevent};
use crate::volume::{
    Attachment, Bytes, Connection, Content, Health, HealthFault, HealthStatus, Mark, NativeId,
};

/// The disks of a server all together, its own among them (GANETI_MAX_DISKS_PER_INSTANCE).
const DISKS: u32 = 8;

/// One node's access to the disks of a cloud that gives them no names.
#[derive(Clone, Debug)]
pub struct NamelessConnector {
    config: Arc<CinderConfig>,
    node: String,
    disks: Disks,
    patience: Duration,
    server: Arc<OnceCell<String>>,
    /// The disks that this process knows whose they are.
    known: Arc<Mutex<BTreeMap<NativeId, Key>>>,
    /// One volume's disk is chosen at a time, so that no two get one.
    choosing: Arc<Turn<()>>,
    begun: Begun,
}

/// An attached volume whose disk is looked for.
struct Wanted<'a> {
    volume: &'a NativeId,
    attachment: &'a Attachment,
    /// The disks that must be there.
    disks: u32,
}

impl NamelessConnector {
    /// Puts it together. Does no I/O. `node` is the node's name.
    #[must_use]
    pub fn new(config: CinderConfig, node: String) -> Self {
        Self {
            begun: Begun::new(config.node.state.as_deref()),
            config: Arc::new(config),
            node,
            disks: Disks::default(),
            patience: PATIENCE,
            server: Arc::default(),
            known: Arc::default(),
            choosing: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NativeId, Key>> {
        // Nothing that panics runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disks that could be volumes: those that links in the operator's directory lead to, where there is one, else all.
    async fn disks(&self) -> Result<Vec<Disk>> {
        let Some(directory) = &self.config.node.by_id else {
            let mut disks = self.disks.list().await?;
            disks.retain(is_disk);
            return Ok(disks);
        };
        let listed = directory.clone();
        let names = tokio::task::spawn_blocking(move || files::names(&listed)).await;
        let names =
            names.map_err(|error| Error::internal("a directory cannot be read").caused_by(error))??;
        let mut disks = Vec::new();
        for name in names {
            disks.extend(self.disks.linked(&directory.join(name)).await?);
        }
        Ok(disks)
    }

    /// All whole disks with what is known of them, for one who looks for this volume's.
    async fn survey(&self, volume: &NativeId) -> Result<Vec<Seen>> {
        let others: Vec<Key> =
            self.known().iter().filter(|(id, _)| *id != volume).map(|(_, key)| key.clone()).collect();
        let mut seen = Vec::new();
        for mut disk in self.disks().await? {
            let taken = others.contains(&key(&disk));
            let glance = match disk.partitions {
                true => None,
                false => match self.disks.glance(&disk).await {
                    Ok(glance) => Some(glance),
                    // It went away.
                    Err(error) if error.kind() == Kind::Unavailable => continue,
                    Err(error) => {
                        disk.silent = Some(error.message().to_owned());
                        None
                    }
                },
            };
            seen.push(Seen { disk, glance, taken });
        }
        Ok(seen)
    }

    /// The disk that is known to be the volume's without its mark: by this process, or because mkfs has begun on it. Only a
    /// kernel that counts disks tells one disk from another of the same name.
    fn own(&self, volume: &NativeId) -> Result<Option<Key>> {
        let known = self.known().get(volume).cloned();
        let own = known.map_or_else(|| self.begun.read(volume), |key| Ok(Some(key)))?;
        Ok(own.filter(|(_, sequence)| sequence.is_some()))
    }

    /// The volume's disk as it can be told now.
    async fn look(&self, volume: &NativeId) -> Result<(Found, Vec<Seen>)> {
        let (mark, seen) = (Mark::of(volume), self.survey(volume).await?);
        if let Some(own) = self.own(volume)?
            && let Some(one) = seen.iter().find(|one| key(&one.disk) == own && !one.bears_another(&mark))
        {
            return Ok((Found::One(one.disk.clone()), seen));
        }
        Ok((choose::marked(&mark, &seen), seen))
    }

    /// The disk of a volume that was never formatted.
    async fn blank(&self, wanted: &Wanted<'_>, seen: &[Seen]) -> Result<Option<Disk>> {
        let size = wanted.attachment.size;
        let all_here = u32::try_from(seen.len()).is_ok_and(|count| count >= wanted.disks);
        let silent = seen.iter().any(|one| one.disk.silent.is_some());
        if wanted.attachment.content != Content::New || !all_here || silent {
            return Ok(None);
        }
        let mut possible = choose::possible(size, seen);
        for at in (0..possible.len()).rev() {
            let Some(one) = possible.get(at) else { continue };
            match self.disks.free(&one.disk).await {
                Ok(()) => {}
                // Somebody else's: what has no mark is none that this driver has mounted.
                Err(error) if error.kind() == Kind::Busy => drop(possible.remove(at)),
                // It went away, or does not answer: the next look tells.
                Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Timeout) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        choose::only(wanted.volume, &possible)
    }

    /// One look for the disk of a volume that is to be brought up.
    async fn bring(&self, wanted: &Wanted<'_>) -> Result<Option<Device>> {
        let _turn = self.choosing.lock().await;
        let volume = wanted.volume;
        let disk = match self.look(volume).await? {
            (Found::One(disk), _) => disk,
            (Found::Several(disks), _) => return Err(ambiguous(volume, &disks)),
            (Found::None { .. }, seen) => match self.blank(wanted, &seen).await? {
                Some(disk) => disk,
                None => return Ok(None),
            },
        };
        let size = wanted.attachment.size;
        if disk.size != size.get() {
            return Err(Error::precondition(format!(
                "the disk that bears the volume's mark has {}, and the volume has {size}: it is another volume's that was \
                 copied from this one",
                Bytes::new(disk.size)
            ))
            .with("volume", volume)
            .with("disk", &disk));
        }
        self.prove(volume, &disk).await
    }

    /// Opens the disk and proves that it is still the one that was found; `None` where it is not.
    async fn prove(&self, volume: &NativeId, disk: &Disk) -> Result<Option<Device>> {
        match self.disks.prove_there(disk).await {
            Ok(device) => {
                self.known().insert(volume.clone(), key(disk));
                Ok(Some(device))
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                tracing::info!(%volume, error = %error.chain(), "the volume's disk cannot be opened yet");
                Ok(None)
            }
            Err(error) => Err(error.with("volume", volume).with("disk", disk)),
        }
    }

    async fn missing(&self, wanted: &Wanted<'_>) -> Error {
        let (volume, mark) = (wanted.volume, Mark::of(wanted.volume));
        let seen = self.survey(volume).await.unwrap_or_default();
        let shown: Vec<_> = seen.iter().map(|one| one.disk.to_string()).collect();
        let text = format!(
            "no disk with a file system whose UUID is {mark} appeared within {:?}, by which the volume would be known",
            self.patience
        );
        let error = Error::unknown(Kind::Unavailable, text);
        let error = match (wanted.attachment.content, u32::try_from(seen.len())) {
            (Content::Data, _) => error.and(
                "it is one that holds data already; where another than this driver made its file system, give it that UUID \
                 by hand",
            ),
            (_, Ok(count)) if count < wanted.disks => error.and(format!(
                "and for a volume without a file system all disks must be there: the cloud had {} at the server when it \
                 attached this one, and there are {count}. If one was detached meanwhile, this one must be detached and \
                 attached again",
                wanted.disks
            )),
            _ => error.and(format!("nor is there a blank disk of {} that nobody uses", wanted.attachment.size)),
        };
        error.with("volume", volume).with("disks", shown.join("; "))
    }

    /// Volumes that this node can have: the disks of a server, less those that are others'.
    async fn room(&self) -> Result<u32> {
        let others = self.disks().await?.into_iter().filter(|disk| disk.partitions);
        // The server's own disk counts also where it has no partitions.
        let others = u32::try_from(others.count()).unwrap_or(u32::MAX).max(1);
        let room = DISKS.saturating_sub(others);
        // 0 would mean that no limit is known (CSI, NodeGetInfo).
        Ok(self.config.per_server.map_or(room, |cap| cap.min(room)).max(1))
    }
}

#[async_trait]
impl Connector for NamelessConnector {
    async fn join(&self) -> Result<Presence> {
        let learn = || async {
            match &self.config.node.server {
                Some(server) => Ok(server.clone()),
                None => name::server(&self.node, &kernel::hostname()?),
            }
        };
        let server = self.server.get_or_try_init(learn).await?;
        let there: Vec<Key> = self.disks().await?.iter().map(key).collect();
        if let Err(error) = self.begun.sweep(&there) {
            tracing::warn!(error = %error.chain(), "notes of disks that are gone stay behind");
        }
        Ok(Presence {
            identity: Some((IDENTITY.to_owned(), server.clone())),
            topology: self.config.place_of_server(server),
            max_volumes: Some(self.room().await?),
        })
    }

    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        let wanted = Wanted { volume, attachment, disks: check(volume, attachment)? };
        let scanned = Mutex::new(Instant::now());
        let connected = uevent::wait_for(self.patience, async || {
            let found = self.bring(&wanted).await?;
            if found.is_none() && is_due(&scanned) {
                // Where SCSI sends no events.
                self.disks.scan().await?;
            }
            Ok(found)
        });
        let Some(device) = connected.await? else { return Err(self.missing(&wanted).await) };
        if attachment.readonly {
            self.disks.seal(&device).await.map_err(|error| error.with("volume", volume))?;
        }
        Ok(device)
    }

    async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        match self.look(volume).await?.0 {
            Found::One(disk) => {
                self.known().insert(volume.clone(), key(&disk));
                Ok(Some(disk.device()))
            }
            Found::Several(disks) => Err(ambiguous(volume, &disks)),
            Found::None { silent } if silent.is_empty() => Ok(None),
            Found::None { silent } => Err(super::unasked(volume, &silent)),
        }
    }

    /// Volumes do not grow here.
    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device> {
        let found = self.find(volume).await?;
        let device = found.ok_or_else(|| {
            Error::not_found("the volume's disk is not on this node").with("volume", volume)
        })?;
        if device.size < size {
            let text =
                format!("the volume's disk has {}, and volumes of this cloud do not grow", device.size);
            return Err(Error::unknown(Kind::Unavailable, text).with("volume", volume));
        }
        Ok(device)
    }

    async fn disconnect(&self, volume: &NativeId) -> Result<()> {
        match self.look(volume).await?.0 {
            Found::None { silent } if silent.is_empty() => {}
            Found::None { silent } => return Err(super::unasked(volume, &silent)),
            Found::Several(disks) => return Err(ambiguous(volume, &disks)),
            Found::One(disk) => super::settle(&self.disks, volume, &disk).await?,
        }
        self.known().remove(volume);
        Ok(())
    }

    fn mark(&self, volume: &NativeId) -> Option<Mark> {
        Some(Mark::of(volume))
    }

    /// There is no record but that of an interrupted mkfs, on this node alone.
    async fn content(&self, volume: &NativeId) -> Result<Option<Content>> {
        let Some(begun) = self.begun.read(volume)? else { return Ok(None) };
        let there = self.disks().await?.iter().any(|disk| key(disk) == begun);
        Ok(there.then_some(Content::Formatting))
    }

    async fn mark_formatting(&self, volume: &NativeId) -> Result<()> {
        let known = self.known().get(volume).cloned();
        let key = known.ok_or_else(|| {
            Error::internal("the volume is to be formatted and is not connected").with("volume", volume)
        })?;
        self.begun.write(volume, &key)
    }

    async fn mark_formatted(&self, volume: &NativeId) -> Result<()> {
        self.begun.remove(volume)
    }

    async fn health(&self, volume: &NativeId) -> Result<Health> {
        let fault =
            |reason, message| Ok(vec![HealthFault { status: HealthStatus::Inaccessible, reason, message }]);
        match self.look(volume).await?.0 {
            Found::None { .. } if self.known().contains_key(volume) => {
                fault("DiskGone", "the volume's disk was on this node and is not any more".to_owned())
            }
            Found::None { .. } => Ok(Vec::new()),
            Found::Several(disks) => fault("DiskAmbiguous", ambiguous(volume, &disks).message().to_owned()),
            Found::One(disk) => match self.disks.answers(&disk.device()).await {
                Ok(()) => Ok(Vec::new()),
                Err(error) => fault("DiskDoesNotAnswer", error.chain()),
            },
        }
    }
}

/// What can be a volume: no drive of discs, nothing without a medium.
fn is_disk(disk: &Disk) -> bool {
    disk.size > 0 && !disk.name.starts_with("sr") && !disk.name.starts_with("fd")
}

/// Whether the buses are to be asked to look again, which is then begun.
fn is_due(scanned: &Mutex<Instant>) -> bool {
    let mut last = scanned.lock().unwrap_or_else(PoisonError::into_inner);
    let due = last.elapsed() >= super::SCAN;
    if due {
        *last = Instant::now();
    }
    due
}

/// Whether the attachment is one of this volume's; the disks that must be there.
fn check(volume: &NativeId, attachment: &Attachment) -> Result<u32> {
    match &attachment.connection {
        Connection::Nameless { volume: told, disks } if told == volume.as_str() => Ok(*disks),
        Connection::Nameless { volume: told, .. } => {
            Err(Error::invalid(format!("the attachment is of the volume {told:?}")).with("volume", volume))
        }
        Connection::Disk { .. }
        | Connection::Loop { .. }
        | Connection::Storpool { .. }
        | Connection::Iscsi { .. } => {
            Err(Error::invalid("the attachment is of another kind of back end").with("volume", volume))
        }
    }
}

fn ambiguous(volume: &NativeId, disks: &[Disk]) -> Error {
    let disks: Vec<_> = disks.iter().map(ToString::to_string).collect();
    Error::precondition(
        "several disks of this node bear the volume's mark, so all but one are copies, and which one is the volume's cannot \
         be told: detach the copies from this server",
    )
    .with("volume", volume)
    .with("disks", disks.join("; "))
}
