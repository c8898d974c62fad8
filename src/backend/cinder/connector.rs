//! The node's side: a disk that Nova plugs into this server, found by its serial. Holds no credentials.
//!
//! The hypervisor gives each disk the volume's id as its serial. Nothing else is believed where disks have one: the device
//! name that Nova tells is a guess of its own, but on Xen (see `named`). A node has nothing to attach or detach, so
//! connecting is finding, and disconnecting is to see to it that nothing of this node is still to be written.

mod finder;
mod identity;
mod named;
mod nameless;
mod room;
pub mod settings;
#[cfg(test)]
mod tests;
mod uuid;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::finder::{Found, Wanted};
use self::identity::Identity;
pub use self::nameless::NamelessConnector;
use super::IDENTITY;
use super::config::CinderConfig;
use super::dialect::Telling;
use crate::backend::{Connector, Device, Presence};
use crate::error::{Error, Kind, Result};
use crate::host::disks::{Bus, Disk, Disks};
use crate::host::uevent;
use crate::metrics::Metrics;
use crate::volume::{Attachment, Bytes, Connection, Content, Health, HealthFault, HealthStatus, NativeId};

/// How long a disk may take to appear after the cloud has said that it is attached, or to show its new size.
const PATIENCE: Duration = Duration::from_secs(60);
/// When buses are asked to look again: a disk whose event came is there by then. Then each time after as long again.
const SCAN: Duration = Duration::from_secs(2);

/// One node's access to the disks of a `cinder` back end.
#[derive(Clone, Debug)]
pub struct CinderConnector {
    config: Arc<CinderConfig>,
    metrics: Arc<Metrics>,
    disks: Disks,
    patience: Duration,
    /// A server keeps its identity for as long as this process can live.
    identity: Arc<OnceCell<Identity>>,
    /// The disks that this process knows whose they are. Nothing but the telling apart of disks depends on it.
    known: Arc<Mutex<BTreeMap<NativeId, Key>>>,
}

/// A disk in its life: another one of that name has another sequence.
type Key = (String, Option<u64>);

fn key(disk: &Disk) -> Key {
    (disk.name.clone(), disk.sequence)
}

impl CinderConnector {
    /// Puts it together. Does no I/O.
    #[must_use]
    pub fn new(config: CinderConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            config: Arc::new(config),
            metrics,
            disks: Disks::default(),
            patience: PATIENCE,
            identity: Arc::default(),
            known: Arc::default(),
        }
    }

    /// The volume's disk as sysfs shows it now.
    async fn look(&self, volume: &NativeId) -> Result<Found> {
        match self.config.dialect.disks {
            // The last have a connector of their own.
            Telling::Serial | Telling::Nothing => self.by_serial(volume).await,
            Telling::Name => {
                let claimed = self.disks.claimed(&self.disks.list().await?).await?;
                let own = claimed.into_iter().find(|(name, _)| name == volume.as_str());
                Ok(own.map_or(Found::None { silent: Vec::new() }, |(_, disk)| Found::One(disk)))
            }
        }
    }

    /// The volume's disk by what the cloud tells of it.
    async fn told(&self, volume: &NativeId, attachment: &Attachment) -> Result<Found> {
        match self.config.dialect.disks {
            Telling::Serial | Telling::Nothing => self.by_serial(volume).await,
            Telling::Name => self.by_name(volume, attachment).await,
        }
    }

    /// The disk of the name that the cloud tells, once nothing speaks against it. One that is noted as another volume's is
    /// still to go.
    async fn by_name(&self, volume: &NativeId, attachment: &Attachment) -> Result<Found> {
        let name = named::kernel_name(attachment)?;
        let disks = self.disks.list().await?;
        let claimed = self.disks.claimed(&disks).await?;
        let none = || Ok(Found::None { silent: Vec::new() });
        let Some(disk) = disks.into_iter().find(|disk| disk.name == name && disk.size > 0) else {
            return none();
        };
        let (own, others): (Vec<_>, Vec<_>) = claimed.iter().partition(|(of, _)| *of == volume.as_str());
        if others.iter().any(|(_, other)| other.name == name) {
            return none();
        }
        if let Some((_, own)) = own.first().filter(|(_, own)| own.name != name) {
            return Err(Error::precondition(format!(
                "the cloud tells {name:?} as the volume's device, and it was {own} before, which is still there"
            )));
        }
        named::check(&disk, self.disks.xen_number(&disk).await?, attachment.size)?;
        if own.is_empty() {
            self.disks.free(&disk).await.map_err(|error| match error.kind() {
                Kind::Busy => Error::precondition(format!(
                    "the cloud tells {disk} as the volume's device, but it is in use here for something else"
                )),
                _ => error,
            })?;
            self.disks.claim(&disk, volume.as_str()).await?;
        }
        Ok(Found::One(disk))
    }

    async fn by_serial(&self, volume: &NativeId) -> Result<Found> {
        let wanted = Wanted::new(volume);
        if let Some(directory) = &self.config.node.by_id {
            for name in wanted.links() {
                if let Some(disk) = self.disks.linked(&directory.join(&name)).await? {
                    return wanted.linked(disk, &directory.join(name)).map(Found::One);
                }
            }
        }
        let disks = self.disks.list().await?;
        let others: Vec<Key> =
            self.known().iter().filter(|(id, _)| *id != volume).map(|(_, key)| key.clone()).collect();
        Ok(wanted.choose(disks, |disk| others.contains(&key(disk))))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<NativeId, Key>> {
        // Nothing that panics runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Connector for CinderConnector {
    async fn join(&self) -> Result<Presence> {
        let config = &self.config;
        let zones = config.zone_key.is_some() && !config.ignore_volume_az;
        let learn = || identity::learn(&config.node, &self.disks, &self.metrics, zones);
        let identity = self.identity.get_or_try_init(learn).await?;
        Ok(Presence {
            identity: Some((IDENTITY.to_owned(), identity.server.clone())),
            topology: config.place(identity.zone.as_deref()),
            max_volumes: room::volumes(&self.disks, config.per_server.or(config.dialect.per_server)).await?,
        })
    }

    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        check(volume, attachment)?;
        let begun = Instant::now();
        let scans = Mutex::new(Scans::default());
        let connected = uevent::wait_for(self.patience, async || {
            let found = self.told(volume, attachment).await;
            let disk = match found.map_err(|error| error.with("volume", volume))? {
                Found::One(disk) => disk,
                Found::Several(disks) => return Err(ambiguous(volume, &disks)),
                Found::None { .. } => {
                    self.scan(begun, &scans).await;
                    return Ok(None);
                }
            };
            self.prove(volume, &disk).await
        });
        match connected.await? {
            Some(device) => {
                if attachment.readonly {
                    // Nova gives every disk for writing.
                    self.disks.seal(&device).await.map_err(|error| error.with("volume", volume))?;
                }
                Ok(device)
            }
            None => Err(self.missing(volume, attachment, scans).await),
        }
    }

    async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        match self.look(volume).await? {
            Found::One(disk) => {
                self.known().insert(volume.clone(), key(&disk));
                Ok(Some(disk.device()))
            }
            Found::Several(disks) => Err(ambiguous(volume, &disks)),
            Found::None { silent } if silent.is_empty() => Ok(None),
            Found::None { silent } => Err(unasked(volume, &silent)),
        }
    }

    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device> {
        let found = uevent::wait_for(self.patience, async || {
            let Found::One(disk) = self.look(volume).await? else {
                return Err(Error::not_found("the volume's disk is not on this node").with("volume", volume));
            };
            // Others tell their new size by themselves.
            self.disks.rescan(&disk).await?;
            Ok(self.prove(volume, &disk).await?.filter(|device| device.size >= size))
        });
        let found = found.await?;
        match found {
            Some(device) => Ok(device),
            None => Err(Error::unknown(
                Kind::Unavailable,
                format!(
                    "the volume's disk has still not shown the {size} that are expected after {:?}: where the cloud \
                     could not tell the server, it shows them once the volume was detached and attached again",
                    self.patience
                ),
            )
            .with("volume", volume)
            .with("disks", self.shown().await)),
        }
    }

    /// The disk stays plugged in until the cloud takes it: forgetting a SCSI disk here would only hide it from a pod that
    /// comes back before that.
    async fn disconnect(&self, volume: &NativeId) -> Result<()> {
        match self.look(volume).await? {
            Found::None { silent } if silent.is_empty() => {}
            Found::None { silent } => return Err(unasked(volume, &silent)),
            Found::Several(disks) => return Err(ambiguous(volume, &disks)),
            Found::One(disk) => settle(&self.disks, volume, &disk).await?,
        }
        self.known().remove(volume);
        Ok(())
    }

    async fn content(&self, _volume: &NativeId) -> Result<Option<Content>> {
        Ok(None)
    }

    async fn mark_formatting(&self, _volume: &NativeId) -> Result<()> {
        Ok(())
    }

    async fn mark_formatted(&self, _volume: &NativeId) -> Result<()> {
        Ok(())
    }

    async fn health(&self, volume: &NativeId) -> Result<Health> {
        let fault =
            |reason, message| Ok(vec![HealthFault { status: HealthStatus::Inaccessible, reason, message }]);
        match self.look(volume).await? {
            Found::None { .. } if self.known().contains_key(volume) => {
                fault("DiskGone", "the volume's disk was on this node and is not any more".to_owned())
            }
            Found::None { .. } => Ok(Vec::new()),
            Found::Several(disks) => fault("DiskAmbiguous", ambiguous(volume, &disks).message().to_owned()),
            Found::One(Disk { fault: Some(state), name, .. }) => {
                fault("DiskOffline", format!("the kernel has set the disk {name} to {state:?} after errors"))
            }
            Found::One(disk) => match self.disks.answers(&disk.device()).await {
                Ok(()) => Ok(Vec::new()),
                Err(error) => fault("DiskDoesNotAnswer", error.chain()),
            },
        }
    }
}

/// What a connect has asked of the buses.
#[derive(Debug, Default)]
struct Scans {
    count: u32,
    hosts: usize,
    refused: Option<Error>,
}

impl CinderConnector {
    /// Opens the disk and proves that it is the volume's also then; `None` where it is not (any more).
    async fn prove(&self, volume: &NativeId, disk: &Disk) -> Result<Option<Device>> {
        let of_volume = |error: Error| error.with("volume", volume).with("disk", disk);
        let (device, identifiers) = match self.disks.prove(disk).await {
            Ok(proved) => proved,
            Err(error) if error.kind() == Kind::Unavailable => {
                tracing::info!(%volume, error = %error.chain(), "the volume's disk cannot be opened yet");
                return Ok(None);
            }
            Err(error) if error.is_not_found() => {
                self.drop_replaced(disk, &error.chain()).await.map_err(of_volume)?;
                return Ok(None);
            }
            Err(error) => return Err(of_volume(error)),
        };
        if identifiers == disk.identifiers || Wanted::new(volume).fits(&identifiers) {
            self.known().insert(volume.clone(), key(disk));
            return Ok(Some(device));
        }
        let says = format!("it says now {identifiers:?}");
        if finder::is_replaced(disk, &identifiers) {
            self.drop_replaced(disk, &says).await.map_err(of_volume)?;
        } else {
            tracing::warn!(%volume, %disk, says, "the disk does not say any more that it is the volume's");
        }
        Ok(None)
    }

    /// Has the buses looked at again where it is time for that.
    async fn scan(&self, begun: Instant, scans: &Mutex<Scans>) {
        let lock = || scans.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = begun.elapsed();
        if waited < SCAN * (1 << lock().count.min(8)) {
            return;
        }
        lock().count += 1;
        match self.disks.scan().await {
            Ok(hosts) => lock().hosts = hosts,
            Err(error) => lock().refused = Some(error),
        }
        self.look_for_replaced().await;
    }

    /// Drops the disks that another one has replaced, or that are gone. A disk that does not answer, or not as it should,
    /// may be in use all the same: it stays.
    async fn look_for_replaced(&self) {
        let disks = self.disks.list().await.unwrap_or_default();
        let volumes = disks.iter().filter(|disk| {
            disk.bus == Bus::Scsi && disk.identifiers.iter().any(|one| finder::is_volume(&one.text))
        });
        for disk in volumes {
            let why = match self.disks.prove(disk).await {
                Ok((_, now)) if finder::is_replaced(disk, &now) => format!("it says now {now:?}"),
                Err(error) if error.is_not_found() => error.chain(),
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(%disk, error = %error.chain(), "whether the disk is still the same cannot be told");
                    continue;
                }
            };
            if let Err(error) = self.drop_replaced(disk, &why).await {
                tracing::warn!(%disk, error = %error.chain(), "the kernel still takes it for what it was");
            }
        }
    }

    /// Lets the kernel forget a SCSI disk whose place another one has taken, or that is gone: it is told neither where the
    /// host sends no events, and does not see the new disk before it has forgotten the old one. It must learn that before
    /// anybody writes to it.
    async fn drop_replaced(&self, disk: &Disk, why: &str) -> Result<()> {
        tracing::warn!(%disk, why, "another disk has taken the place of this one unnoticed, or none has");
        self.disks.forget(disk).await?;
        self.disks.scan().await.map(drop)
    }

    async fn missing(&self, volume: &NativeId, attachment: &Attachment, scans: Mutex<Scans>) -> Error {
        let scans = scans.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut looked = match self.config.dialect.disks {
            Telling::Serial | Telling::Nothing => Wanted::new(volume).to_string(),
            Telling::Name => {
                let name = named::kernel_name(attachment).unwrap_or_default();
                format!("the name {name:?} that is no other volume's")
            }
        };
        if let Some(directory) = &self.config.node.by_id {
            looked.push_str(&format!(", nor a link of that name in {}", directory.display()));
        }
        let error = Error::unknown(
            Kind::Unavailable,
            format!(
                "no disk with {looked} appeared within {:?}; SCSI hosts that were asked to look again: {}",
                self.patience, scans.hosts
            ),
        )
        .with("volume", volume)
        .with("disks", self.shown().await);
        match scans.refused {
            Some(refused) => error.and(refused.message()),
            None => error,
        }
    }

    /// The disks that are here, for a message.
    async fn shown(&self) -> String {
        match self.disks.list().await {
            Ok(disks) if disks.is_empty() => "none".to_owned(),
            Ok(disks) => disks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        }
    }
}

/// Sees to it that nobody has the disk and that what was written to it is on the storage.
async fn settle(disks: &Disks, volume: &NativeId, disk: &Disk) -> Result<()> {
    match disks.settle(&disk.device()).await {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), Kind::Busy | Kind::Timeout) => Err(error.with("volume", volume)),
        // A dead disk: the kernel has given up what it could not write, so nothing writes any more.
        Err(error) => {
            tracing::warn!(%volume, disk = disk.name, error = %error.chain(), "the disk cannot be flushed any more");
            Ok(())
        }
    }
}

/// Whether the attachment is one of this volume's.
fn check(volume: &NativeId, attachment: &Attachment) -> Result<()> {
    match &attachment.connection {
        Connection::Disk { serial, .. } if serial == volume.as_str() => Ok(()),
        Connection::Disk { serial, .. } => Err(Error::invalid(format!(
            "the attachment is of the disk {serial:?}, which is not this volume's"
        ))
        .with("volume", volume)),
        Connection::Loop { .. }
        | Connection::Nameless { .. }
        | Connection::Storpool { .. }
        | Connection::Iscsi { .. } => {
            Err(Error::invalid("the attachment is of another kind of back end").with("volume", volume))
        }
    }
}

/// Disks that do not answer may be any volume's.
fn unasked(volume: &NativeId, silent: &[Disk]) -> Error {
    let disks: Vec<_> = silent.iter().map(ToString::to_string).collect();
    Error::unknown(
        Kind::Unavailable,
        "no disk of this node is known to be the volume's, but there are disks that do not answer, so one of them may be",
    )
    .with("volume", volume)
    .with("disks", disks.join("; "))
}

fn ambiguous(volume: &NativeId, disks: &[Disk]) -> Error {
    let disks: Vec<_> = disks.iter().map(ToString::to_string).collect();
    Error::precondition(
        "several disks of this node could be the volume's, and which one is cannot be told: detach the volumes whose ids \
         begin alike, but for one, from this server",
    )
    .with("volume", volume)
    .with("disks", disks.join("; "))
}
