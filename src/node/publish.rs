//! Makes a staged volume appear at a target.

use std::path::{Path, PathBuf};

use crate::backend::Device;
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::flight::phase;
use crate::host::{Mount, PathKind};
use crate::node::Publish;
use crate::node::core::Core;
use crate::node::mounted::{Backing, Table, Use, has, targets};
use crate::node::options;
use crate::volume::AccessKind;

/// A mount to be made.
struct Bind {
    source: PathBuf,
    backing: Backing,
    readonly: bool,
    flags: Vec<String>,
}

impl Core {
    pub(super) async fn publish(&self, order: &Publish) -> Result<()> {
        self.try_publish(order).await.map_err(|error| error.with("volume", &order.volume))
    }

    async fn try_publish(&self, order: &Publish) -> Result<()> {
        phase("find");
        let not_staged =
            || Error::precondition("the volume is not staged at the staging path: stage it first");
        let flags = match &order.access.kind {
            AccessKind::Mount { flags, .. } => options::split(flags)?,
            AccessKind::Block => Vec::new(),
        };
        let connector = self.connector(&order.volume)?;
        let staging = self.resolve(&order.staging).await?;
        let target = self.resolve(&order.target).await?;
        let device = connector.find(&order.volume.native).await?.ok_or_else(not_staged)?;
        self.count(&order.volume, true);
        let table = self.table().await?;
        let mut others = table.uses(device.number).await?;
        others.retain(|found| found.target != target && found.target != staging);
        let readonly = order.readonly || order.access.mode.read_only() || options::readonly(&flags);
        let block = order.access.is_block();
        let bind = if block {
            self.block_bind(&table, &device, readonly).await?
        } else {
            let mount = table.top(&staging).ok_or_else(not_staged)?;
            if table.backing(mount).await? != Backing::FileSystem(device.number) {
                return Err(not_staged());
            }
            if has(&mount.options, "ro") && !readonly {
                return Err(Error::precondition(
                    "the volume is staged read-only, but is to be published for writing",
                ));
            }
            let backing = Backing::FileSystem(device.number);
            Bind { source: staging.clone(), backing, readonly, flags }
        };
        if let Some(mount) = table.top(&target) {
            return check_published(&table, mount, &bind).await;
        }
        if !order.access.mode.many_targets() && !others.is_empty() {
            return Err(Error::precondition(format!(
                "the access mode allows one target, but the volume is published at {} already",
                targets(&others)
            )));
        }
        if block {
            self.seal(&device, readonly, &others).await?;
        }
        self.appear(&bind, &target).await
    }

    async fn block_bind(&self, table: &Table<'_>, device: &Device, readonly: bool) -> Result<Bind> {
        let uses = table.uses(device.number).await?;
        if uses.iter().any(|found| !found.node) {
            return Err(Error::precondition(format!(
                "the volume is in use as a file system at {}: it cannot be a raw device at the same time",
                targets(uses.iter().filter(|found| !found.node))
            )));
        }
        Ok(Bind {
            source: device.path.clone(),
            backing: Backing::Node(device.number),
            readonly,
            flags: Vec::new(),
        })
    }

    /// A read-only bind does not stop writes to a device node: only the device itself does, for all of its targets.
    async fn seal(&self, device: &Device, readonly: bool, others: &[Use]) -> Result<()> {
        let opposite: Vec<_> = others.iter().filter(|found| found.readonly != readonly).collect();
        if !opposite.is_empty() {
            let (is, asked) =
                if readonly { ("for writing", "read-only") } else { ("read-only", "for writing") };
            return Err(Error::precondition(format!(
                "the device is published {is} at {}, so it cannot be {asked} elsewhere on this node",
                targets(opposite)
            )));
        }
        if others.is_empty() {
            self.host.set_readonly(device, readonly).await?;
            failpoint::step("publish.readonly");
        }
        Ok(())
    }

    async fn appear(&self, bind: &Bind, target: &Path) -> Result<()> {
        let made = match self.host.path_kind(target).await? {
            PathKind::Missing => true,
            PathKind::Link => return Err(Error::invalid("the target path is a link: it is not followed")),
            _ => false,
        };
        phase("mount");
        let result = self.try_appear(bind, target).await;
        if let (Err(error), true) = (&result, made) {
            self.host.remove_empty(target).await.map_err(|left| {
                tracing::warn!(error = %left.chain(), "a failed publish leaves its target behind");
                error.clone().with_outcome(crate::error::Outcome::Unknown)
            })?;
        }
        result
    }

    async fn try_appear(&self, bind: &Bind, target: &Path) -> Result<()> {
        if matches!(bind.backing, Backing::Node(_)) {
            self.host.make_file(target).await?;
        } else {
            self.host.make_directory(target).await?;
        }
        failpoint::step("publish.made-target");
        self.host.bind(&bind.source, target, bind.readonly, &bind.flags).await?;
        failpoint::step("publish.bound");
        let table = self.table().await?;
        let backing = match table.top(target) {
            Some(mount) => table.backing(mount).await?,
            None => Backing::Nothing,
        };
        if backing != bind.backing {
            self.host.unmount(target).await?;
            return Err(Error::unknown(
                Kind::Unavailable,
                "another device took the volume's place while it was published: try again",
            ));
        }
        Ok(())
    }
}

/// Whether what is mounted at the target is what is asked for.
async fn check_published(table: &Table<'_>, mount: &Mount, bind: &Bind) -> Result<()> {
    let occupied = |message: &str| Err(Error::refused(Kind::AlreadyExists, message));
    if table.backing(mount).await? != bind.backing {
        return occupied("something else is mounted at the target path");
    }
    if has(&mount.options, "ro") != bind.readonly {
        let is = if bind.readonly { "for writing" } else { "read-only" };
        return occupied(&format!(
            "the volume is published {is} at the target path, but the opposite is asked for"
        ));
    }
    if !options::in_force(&bind.flags, mount) {
        return occupied("the volume is published at the target path with other mount flags");
    }
    Ok(())
}
