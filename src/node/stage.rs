//! Brings a volume up on this node: connect, prove, format, mount.

use std::path::Path;

use crate::backend::{Connector, Device};
use crate::error::{Error, Kind, Outcome, Result};
use crate::failpoint;
use crate::flight::phase;
use crate::host::{Mount, PathKind};
use crate::node::Stage;
use crate::node::core::Core;
use crate::node::format::Target;
use crate::node::mounted::{Backing, Table, has, targets};
use crate::node::options;
use crate::volume::{AccessKind, AccessMode, FsType};

/// A file system to be mounted.
struct Wanted {
    fs: FsType,
    /// The caller's flags, one by one.
    flags: Vec<String>,
    /// Nobody writes through this mount.
    readonly: bool,
    /// The device cannot or must not be written at all.
    sealed: bool,
}

impl Core {
    pub(super) async fn stage(&self, order: &Stage) -> Result<()> {
        let wanted = Wanted::read(order)?;
        let connector = self.connector(&order.volume)?;
        let path = self.resolve(&order.path).await?;
        match self.try_stage(connector, order, wanted.as_ref(), &path).await {
            Err(error) if error.outcome() == Outcome::Refused => {
                let error = error.with("volume", &order.volume);
                // AlreadyExists speaks of what was there before this call: that stays.
                let keep = error.kind() == Kind::AlreadyExists;
                Err(match self.roll_back(connector, order, &path, keep).await {
                    Ok(()) => error,
                    Err(left) => {
                        tracing::warn!(volume = %order.volume, error = %left.chain(), "a failed stage leaves something behind");
                        error.with_outcome(Outcome::Unknown)
                    }
                })
            }
            result => result.map_err(|error| error.with("volume", &order.volume)),
        }
    }

    async fn try_stage(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        wanted: Option<&Wanted>,
        path: &Path,
    ) -> Result<()> {
        match self.host.path_kind(path).await? {
            PathKind::Directory => {}
            PathKind::Dead => {
                return Err(Error::unknown(
                    Kind::Unavailable,
                    "the file system at the staging path does not answer: it has to be unstaged first",
                ));
            }
            found => {
                return Err(Error::precondition(format!(
                    "the staging path must be a directory that the caller made, but there is: {found:?}"
                )));
            }
        }
        phase("connect");
        let device = self.connect(connector, order).await?;
        failpoint::step("stage.connected");
        match wanted {
            None => self.stage_block(connector, order, path, &device).await,
            Some(wanted) => self.stage_file_system(connector, order, wanted, path, device).await,
        }
    }

    async fn connect(&self, connector: &dyn Connector, order: &Stage) -> Result<Device> {
        let (volume, size) = (&order.volume.native, order.attachment.size);
        let mut device = connector.connect(volume, &order.attachment).await?;
        self.count(&order.volume, true);
        if device.size < size {
            device = connector.refresh(volume, size).await?;
        }
        if device.size < size {
            return Err(Error::precondition(format!(
                "the device has {}, but the volume should have {size}",
                device.size
            )));
        }
        Ok(device)
    }

    /// Nothing is mounted for a raw device: kubelet removes what is in its staging directory.
    async fn stage_block(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        path: &Path,
        device: &Device,
    ) -> Result<()> {
        let table = self.table().await?;
        if table.top(path).is_some() {
            return Err(occupied("something is mounted at the staging path"));
        }
        let uses = table.uses(device.number).await?;
        if uses.iter().any(|found| !found.node) {
            let at = targets(uses.iter().filter(|found| !found.node));
            return Err(occupied(format!("the volume is staged as a file system at {at}")));
        }
        // Not by the access mode: a target may be published with another one.
        if !order.attachment.readonly {
            self.hand_out_raw(connector, order, path).await?;
        }
        let readonly = order.attachment.readonly || order.access.mode.read_only();
        // While it is published, its targets decide.
        if readonly || uses.is_empty() {
            self.host.set_readonly(device, readonly).await?;
        }
        Ok(())
    }

    async fn stage_file_system(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        wanted: &Wanted,
        path: &Path,
        device: Device,
    ) -> Result<()> {
        let table = self.table().await?;
        if let Some(mount) = table.top(path) {
            check_mounted(&table, mount, wanted, &device).await?;
            // The try that mounted it may have ended before it grew.
            if !wanted.readonly && wanted.fs != FsType::Ext4 {
                phase("grow");
                self.host.grow(&device, wanted.fs, path).await?;
            }
            return Ok(());
        }
        let elsewhere = table.uses(device.number).await?;
        if !elsewhere.is_empty() {
            return Err(occupied(format!(
                "the volume is mounted at {} already: unstage and unpublish it there first",
                targets(&elsewhere)
            )));
        }
        let &Wanted { fs, readonly, sealed, .. } = wanted;
        if !readonly {
            // It may have been sealed for readers of the raw device, or for an earlier volume behind the same device.
            self.host.set_readonly(&device, false).await?;
        }
        let formatted =
            self.ensure_file_system(connector, Target { order, path, fs, readonly }, &device).await?;
        let mut growth = false;
        // What was just made is whole, and as large as its device.
        if !readonly && !formatted {
            phase("check");
            self.host.check(&device, fs).await?;
            failpoint::step("stage.checked");
            growth = self.host.needs_growth(&device, fs).await?;
        }
        if growth && fs == FsType::Ext4 {
            phase("grow");
            self.host.grow(&device, fs, path).await?;
            failpoint::step("stage.grown");
        }
        phase("mount");
        let options = options::complete(wanted.flags.clone(), fs, readonly, sealed);
        self.host.mount(&device.path, path, fs, &options).await.map_err(|error| match error.kind() {
            // One system call: what the kernel refuses it has not done.
            Kind::FailedPrecondition => error.with_outcome(Outcome::Refused),
            _ => error,
        })?;
        failpoint::step("stage.mounted");
        let table = self.table().await?;
        let backing = match table.top(path) {
            Some(mount) => table.backing(mount).await?,
            None => Backing::Nothing,
        };
        if backing != Backing::FileSystem(device.number) {
            // btrfs tells devices apart by UUID alone: a clone beside its source can come up as the source.
            self.host.unmount(path).await?;
            return Err(Error::precondition(
                "the kernel mounted another device than the volume's: does another volume with the same file system \
                 UUID (its source or a clone) exist on this node?",
            ));
        }
        if growth && fs != FsType::Ext4 {
            phase("grow");
            self.host.grow(&device, fs, path).await?;
        }
        Ok(())
    }

    /// Undoes what this stage, or an earlier try of it, did. Where the volume is in use by more than that, this is
    /// right with `keep`, and fails otherwise.
    async fn roll_back(
        &self,
        connector: &dyn Connector,
        order: &Stage,
        path: &Path,
        keep: bool,
    ) -> Result<()> {
        phase("roll back");
        let device = connector.find(&order.volume.native).await?;
        if let Some(device) = &device {
            let table = self.table().await?;
            let uses = table.uses(device.number).await?;
            if keep && !uses.is_empty() {
                return Ok(());
            }
            let (here, others): (Vec<_>, Vec<_>) =
                uses.into_iter().partition(|found| table.same_place(&found.target, path));
            if !others.is_empty() {
                return Err(Error::busy(format!("the volume is in use at {}", targets(&others))));
            }
            if !here.is_empty() {
                self.unmount(&table, path).await?;
            }
        }
        self.disconnect(connector, &order.volume, device.as_ref()).await
    }
}

impl Wanted {
    /// `None` for a raw device.
    fn read(order: &Stage) -> Result<Option<Self>> {
        let AccessKind::Mount { fs, flags } = &order.access.kind else {
            return Ok(None);
        };
        let flags = options::split(flags)?;
        let (mode, sealed) = (order.access.mode, order.attachment.readonly);
        Ok(Some(Self {
            fs: *fs,
            readonly: sealed || mode.read_only() || options::readonly(&flags),
            // Several nodes that replay one journal at once would destroy it.
            sealed: sealed || mode == AccessMode::MultiNodeReaderOnly,
            flags,
        }))
    }
}

fn occupied(message: impl Into<String>) -> Error {
    Error::refused(Kind::AlreadyExists, message)
}

/// Whether what is mounted at the staging path is what is asked for.
async fn check_mounted(table: &Table<'_>, mount: &Mount, wanted: &Wanted, device: &Device) -> Result<()> {
    if table.backing(mount).await? != Backing::FileSystem(device.number) {
        return Err(occupied("something else is mounted at the staging path"));
    }
    if mount.fs_type != wanted.fs.as_str() {
        return Err(occupied(format!(
            "the volume is staged as {}, but {} is asked for",
            mount.fs_type, wanted.fs
        )));
    }
    if has(&mount.options, "ro") != wanted.readonly {
        let is = if wanted.readonly { "for writing" } else { "read-only" };
        return Err(occupied(format!("the volume is staged {is}, but the opposite is asked for")));
    }
    if !options::same(&wanted.flags, mount) {
        return Err(occupied("the volume is staged with other mount flags"));
    }
    Ok(())
}
