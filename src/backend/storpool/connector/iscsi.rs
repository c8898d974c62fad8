//! The node's side without `storpool_block`: a volume is a target that this host logs in to.
//!
//! Which target is whose is noted before the login and forgotten after the logout. The disk is found by the session's target
//! name, never by a path that was told. Several paths to it are used through multipathd's map alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use crate::backend::Device;
use crate::backend::storpool::config::IscsiSettings;
use crate::backend::storpool::nodes::is_initiator;
use crate::error::{Error, Kind, Result};
use crate::host::disks::{Disk, Disks, Holder};
use crate::host::iscsi::{Iscsi, Session, Unit};
use crate::host::uevent;
use crate::volume::{Attachment, Bytes, Connection, NativeId};

/// What this host has of a unit.
#[derive(Debug)]
struct Paths {
    sessions: Vec<Session>,
    /// The unit's disk in each session that shows it.
    disks: Vec<Disk>,
    /// The multipath maps of them, by number.
    maps: BTreeMap<u64, Map>,
    /// What else is made of them.
    others: Vec<String>,
}

/// What multipathd makes of paths.
#[derive(Debug)]
struct Map {
    name: String,
    disk: Disk,
    /// The kernel's names of all its paths.
    parts: Vec<String>,
}

/// A node that logs in to its volumes.
#[derive(Clone, Debug)]
pub(super) struct Initiator {
    settings: IscsiSettings,
    iscsi: Iscsi,
    disks: Disks,
}

impl Initiator {
    pub(super) fn new(settings: &IscsiSettings) -> Self {
        Self { iscsi: Iscsi::new(&settings.host_root), disks: Disks::default(), settings: settings.clone() }
    }

    /// The same on another machine.
    #[cfg(test)]
    pub(super) fn on(mut self, iscsi: Iscsi, disks: Disks) -> Self {
        (self.iscsi, self.disks) = (iscsi, disks);
        self
    }

    /// Where a file of the host is seen.
    pub(super) fn host_path(&self, file: &Path) -> PathBuf {
        self.settings.host_root.join(file.strip_prefix("/").unwrap_or(file))
    }

    /// The name by which this host logs in.
    ///
    /// # Errors
    /// `FailedPrecondition` where it has none that StorPool takes.
    pub(super) async fn name(&self) -> Result<String> {
        let file = self.iscsi.initiator_file();
        let name = self.iscsi.initiator().await?.ok_or_else(|| {
            Error::precondition(format!(
                "{} names no initiator: install open-iscsi on the node and start it once",
                file.display()
            ))
        })?;
        match is_initiator(&name) {
            true => Ok(name),
            false => Err(Error::precondition(format!(
                "{} names the initiator {name:?}, and StorPool takes small letters, digits, '-', '.' and ':' after \
                 \"iqn.\" alone: give the node another name",
                file.display()
            ))),
        }
    }

    /// Logs in, and waits for a device of at least this size.
    pub(super) async fn connect(
        &self,
        volume: &NativeId,
        attachment: &Attachment,
        patience: Duration,
    ) -> Result<Device> {
        let (unit, portals) = check(volume, attachment)?;
        if let Some(old) = self.iscsi.noted(volume.as_str()).await?
            && old != unit
        {
            self.disconnect(volume, patience).await?;
        }
        self.iscsi.note(volume.as_str(), &unit).await?;
        self.log_in(&unit, &portals).await?;
        let device = self.wait(&unit, attachment.size, patience).await?;
        if attachment.readonly {
            // An export has no rights: this kernel alone refuses writes.
            self.disks.seal(&device).await?;
        }
        Ok(device)
    }

    /// One session for each portal, or one alone where there is no multipath.
    async fn log_in(&self, unit: &Unit, portals: &[SocketAddr]) -> Result<()> {
        let sessions = self.iscsi.sessions(&unit.target).await?;
        let has = |portal: &SocketAddr| sessions.iter().any(|session| session.portal == Some(*portal));
        let log_in = async |portal: SocketAddr| self.iscsi.log_in(&unit.target, portal).await;
        let mut failed = None;
        if self.settings.multipath {
            let missing = portals.iter().filter(|portal| !has(portal));
            for result in join_all(missing.map(|portal| log_in(*portal))).await {
                failed =
                    result.inspect_err(|error| tracing::warn!(%error, "a path is missing")).err().or(failed);
            }
        } else if sessions.is_empty() {
            for portal in portals {
                match log_in(*portal).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failed = Some(error),
                }
            }
        }
        match failed {
            Some(error) if self.iscsi.sessions(&unit.target).await?.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    async fn paths(&self, unit: &Unit) -> Result<Paths> {
        let sessions = self.iscsi.sessions(&unit.target).await?;
        let mut paths = Paths { disks: Vec::new(), maps: BTreeMap::new(), others: Vec::new(), sessions };
        for (lun, name) in paths.sessions.iter().flat_map(|session| &session.units) {
            let Some(disk) = self.disks.named(name).await?.filter(|_| *lun == unit.lun) else { continue };
            for holder in self.disks.holders(&disk).await? {
                match holder {
                    Holder::Multipath { name, map, parts } => {
                        paths.maps.insert(map.number, Map { name, disk: *map, parts });
                    }
                    Holder::Other(name) => paths.others.push(name),
                }
            }
            paths.disks.push(disk);
        }
        paths.disks.sort_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
        Ok(paths)
    }

    /// The disk to use; `None` where it is not there (yet).
    fn choose(&self, paths: &Paths) -> Result<Option<Disk>> {
        let maps: Vec<_> = paths.maps.values().collect();
        match (maps.as_slice(), paths.disks.as_slice()) {
            ([map], disks) => {
                let ours = |part: &&String| disks.iter().any(|disk| disk.name == **part);
                match map.parts.iter().find(|part| !ours(part)) {
                    None => Ok(Some(map.disk.clone())),
                    Some(other) => Err(Error::precondition(format!(
                        "the multipath map {} has the path {other}, which is none of its target's: see \"multipath -ll\"",
                        map.name
                    ))),
                }
            }
            ([_, ..], _) => {
                let names: Vec<_> = maps.iter().map(|map| map.name.as_str()).collect();
                Err(Error::precondition(format!(
                    "its paths are in several multipath maps, {}: multipathd must make one of them",
                    names.join(" and ")
                )))
            }
            ([], _) if self.settings.multipath => Ok(None),
            ([], []) => Ok(None),
            // Not one that is on its way out, or cannot be reached now.
            ([], [disk]) => Ok(Some(disk.clone()).filter(|disk| disk.fault.is_none())),
            ([], several) => {
                let names: Vec<_> = several.iter().map(|disk| disk.name.as_str()).collect();
                Err(Error::precondition(format!(
                    "this node has several paths to it, {}, and \"iscsi.multipath\" is not set: set it, or log out of \
                     all but one",
                    names.join(" and ")
                )))
            }
        }
    }

    async fn look(&self, unit: &Unit) -> Result<Option<Disk>> {
        self.choose(&self.paths(unit).await?)
    }

    /// The device of a volume that this host is logged in to.
    pub(super) async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        let Some(unit) = self.iscsi.noted(volume.as_str()).await? else { return Ok(None) };
        Ok(self.look(&unit).await?.map(|disk| disk.device()))
    }

    /// Makes the device show the volume's present size; `None` where this host is not logged in to it.
    pub(super) async fn refresh(
        &self,
        volume: &NativeId,
        size: Bytes,
        patience: Duration,
    ) -> Result<Option<Device>> {
        let Some(unit) = self.iscsi.noted(volume.as_str()).await? else { return Ok(None) };
        match self.look(&unit).await? {
            None => Ok(None),
            Some(_) => self.wait(&unit, size, patience).await.map(Some),
        }
    }

    /// Waits for a device of at least this size.
    async fn wait(&self, unit: &Unit, size: Bytes, patience: Duration) -> Result<Device> {
        let found = uevent::wait_for(patience, || self.fit(unit, size)).await?;
        if let Some(device) = found {
            return Ok(device);
        }
        let paths = self.paths(unit).await?;
        let target = &unit.target;
        let text = match (self.choose(&paths)?, paths.sessions.len()) {
            (Some(disk), _) => format!(
                "{} has {}, and not the {size} that are expected, {patience:?} after it was asked for",
                disk.path.display(),
                Bytes::new(disk.size),
            ),
            (None, 0) => format!("there is no session with {target} any more: is the volume still exported?"),
            (None, count) if self.settings.multipath && !paths.disks.is_empty() => format!(
                "multipathd has made no map of the {} disks in {count} sessions with {target} within {patience:?}: does it \
                 run on the node, and does its configuration leave these disks out (find_multipaths, blacklist)?",
                paths.disks.len()
            ),
            (None, count) => {
                format!("no disk that works appeared in {count} sessions with {target} within {patience:?}")
            }
        };
        Err(Error::unknown(Kind::Unavailable, text))
    }

    /// The device, where it is there and large enough. The kernel is told to ask for the size again where it is not.
    async fn fit(&self, unit: &Unit, size: Bytes) -> Result<Option<Device>> {
        let paths = self.paths(unit).await?;
        let Some(disk) = self.choose(&paths)? else { return Ok(None) };
        if disk.size < size.get() {
            for path in &paths.disks {
                self.disks.rescan(path).await?;
            }
            if let Some(map) = paths.maps.get(&disk.number) {
                self.iscsi.resize_map(&map.name).await?;
            }
            // As it is after that.
            return match self.look(unit).await? {
                Some(disk) if disk.size >= size.get() => self.prove(unit, &disk, size).await,
                _ => Ok(None),
            };
        }
        self.prove(unit, &disk, size).await
    }

    /// The disk's device, where it can be opened and is still the unit's then.
    async fn prove(&self, unit: &Unit, disk: &Disk, size: Bytes) -> Result<Option<Device>> {
        let device = match self.disks.prove_there(disk).await {
            Ok(device) => device,
            // It is shown before it can be opened, or is on its way out.
            Err(error) if error.kind() == Kind::Unavailable => return Ok(None),
            Err(error) => return Err(error),
        };
        let now = self.look(unit).await?;
        let same = now.is_some_and(|now| now.number == device.number && now.sequence == disk.sequence);
        Ok(Some(device).filter(|device| same && device.size >= size))
    }

    /// Ends all sessions with the volume's target, after what was written is on the storage and nobody has it open.
    pub(super) async fn disconnect(&self, volume: &NativeId, patience: Duration) -> Result<()> {
        let Some(unit) = self.iscsi.noted(volume.as_str()).await? else { return Ok(()) };
        let paths = self.paths(&unit).await?;
        if let Some(other) = paths.others.first() {
            return Err(Error::busy(format!(
                "{other} is made of its disk on this node: take that apart first"
            )));
        }
        for map in paths.maps.values() {
            self.settle(&map.disk).await?;
            self.iscsi.remove_map(&map.name).await?;
        }
        for disk in self.all(&paths).await? {
            if let Some(holder) = self.disks.holders(&disk).await?.first() {
                return Err(Error::busy(format!("{} is still in use: {holder:?}", disk.path.display())));
            }
            self.settle(&disk).await?;
        }
        for session in &paths.sessions {
            let portal = session.portal.ok_or_else(|| {
                let text = format!("{} has no connection now, so it cannot be ended", session.name);
                Error::unknown(Kind::Unavailable, text)
            })?;
            self.iscsi.log_out(&unit.target, portal).await?;
        }
        let gone = async || {
            let sessions = self.iscsi.sessions(&unit.target).await?;
            Ok(sessions.is_empty().then_some(()))
        };
        match uevent::wait_for(patience, gone).await? {
            Some(()) => self.iscsi.forget(volume.as_str()).await,
            None => {
                let text =
                    format!("sessions with {} are still there {patience:?} after the logout", unit.target);
                Err(Error::unknown(Kind::Unavailable, text))
            }
        }
    }

    /// All disks of the sessions, other units too: a logout takes them all.
    async fn all(&self, paths: &Paths) -> Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for (_, name) in paths.sessions.iter().flat_map(|session| &session.units) {
            disks.extend(self.disks.named(name).await?);
        }
        Ok(disks)
    }

    async fn settle(&self, disk: &Disk) -> Result<()> {
        match self.disks.settle(&disk.device()).await {
            Ok(()) => Ok(()),
            // It went away meanwhile.
            Err(error) if error.kind() == Kind::Unavailable => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether the attachment is one of this volume's, and names nothing that could be another thing to a tool.
fn check(volume: &NativeId, attachment: &Attachment) -> Result<(Unit, Vec<SocketAddr>)> {
    let bad = |text: &str| Err(Error::invalid(text.to_owned()));
    match &attachment.connection {
        Connection::Iscsi { volume: told, .. } if told != volume.as_str() => {
            bad("the attachment is of another volume")
        }
        Connection::Iscsi { target, .. } if !is_initiator(target) => {
            bad("the attachment names no target of iSCSI")
        }
        Connection::Iscsi { portals, .. } if portals.is_empty() => bad("the attachment names no portal"),
        Connection::Iscsi { target, lun, portals, .. } => {
            Ok((Unit { target: target.clone(), lun: *lun }, portals.clone()))
        }
        _ => bad("the attachment is of another kind of back end"),
    }
}
