//! What every use case works with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Connector, Device};
use crate::error::{Error, Result};
use crate::host::{Host, PathKind};
use crate::metrics::Metrics;
use crate::node::NodeConfig;
use crate::node::join::Joins;
use crate::node::mounted::{Backing, Table};
use crate::volume::{BackendName, FsType, VolumeId};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: NodeConfig,
    pub(super) host: Arc<dyn Host>,
    pub(super) connectors: BTreeMap<BackendName, Arc<dyn Connector>>,
    pub(super) joins: Joins,
    metrics: Arc<Metrics>,
    /// The volumes that the metric counts as connected: nothing is decided by it. A new process fills it as it meets
    /// the volumes again, which the once-a-minute statistics do.
    counted: Mutex<BTreeSet<VolumeId>>,
}

/// What there is of a volume at a path.
#[derive(Debug)]
pub(super) enum Place {
    /// Its file system.
    FileSystem(FsType),
    /// Its device node.
    Block,
}

impl Core {
    pub(super) fn new(
        config: NodeConfig,
        host: Arc<dyn Host>,
        connectors: BTreeMap<BackendName, Arc<dyn Connector>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { config, host, connectors, joins: Joins::default(), metrics, counted: Mutex::default() }
    }

    /// The connector of a volume's back end; `NotFound` for a back end that is not configured here.
    pub(super) fn connector(&self, volume: &VolumeId) -> Result<&dyn Connector> {
        self.connectors.get(&volume.backend).map(|connector| &**connector).ok_or_else(|| {
            let known: Vec<_> = self.connectors.keys().map(BackendName::as_str).collect();
            Error::not_found(format!(
                "no back end {:?} is configured on this node: known are {}",
                volume.backend.as_str(),
                known.join(", ")
            ))
            .with("volume", volume)
        })
    }

    /// The path as the mount table has it. Only an absolute path below `/` can be one that a volume is mounted at.
    pub(super) async fn resolve(&self, path: &Path) -> Result<PathBuf> {
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(Error::invalid(format!("{path:?} is no absolute path below the root directory")));
        }
        self.host.resolve(path).await
    }

    pub(super) async fn table(&self) -> Result<Table<'_>> {
        Table::read(&*self.host).await
    }

    /// What there is of the volume at a path, with its device; `NotFound` where it is not there.
    pub(super) async fn place(&self, volume: &VolumeId, path: &Path) -> Result<(Place, Device)> {
        let elsewhere = || Error::not_found(format!("the volume is not at {path:?}")).with("volume", volume);
        let connector = self.connector(volume)?;
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(elsewhere());
        }
        let device = connector.find(&volume.native).await?.ok_or_else(elsewhere)?;
        self.count(volume, true);
        let path = self.host.resolve(path).await?;
        let table = self.table().await?;
        if let Some(mount) = table.top(&path) {
            return match table.backing(mount).await? {
                Backing::FileSystem(number) if number == device.number => {
                    let fs = mount.fs_type.parse().map_err(|_| elsewhere())?;
                    Ok((Place::FileSystem(fs), device))
                }
                Backing::Node(number) if number == device.number => Ok((Place::Block, device)),
                _ => Err(elsewhere()),
            };
        }
        let number = match self.host.path_kind(&path).await? {
            PathKind::BlockDevice(number) => Some(number),
            // Kubelet also tells a raw device by a link of its own.
            PathKind::Link => self.host.device(&path).await.ok().map(|device| device.number),
            _ => None,
        };
        if number == Some(device.number) { Ok((Place::Block, device)) } else { Err(elsewhere()) }
    }

    /// Unmounts whatever of a volume is mounted at a path. What cannot be of a volume is refused: a wrong path in a call
    /// must not cost this machine its `/proc`.
    pub(super) async fn unmount(&self, table: &Table<'_>, path: &Path) -> Result<()> {
        for mount in table.at(path) {
            let ours = mount.fs_type.parse::<FsType>().is_ok_and(|_| !mount.fs_type.is_empty())
                || matches!(table.backing(mount).await?, Backing::Node(_));
            if !ours {
                return Err(Error::precondition(format!(
                    "what is mounted at {path:?} is no volume but {}: it is left alone",
                    mount.fs_type
                )));
            }
        }
        if table.top(path).is_some() {
            self.host.unmount(path).await?;
        }
        Ok(())
    }

    /// Lets go of a device that nothing uses any more.
    pub(super) async fn disconnect(
        &self,
        connector: &dyn Connector,
        volume: &VolumeId,
        device: Option<&Device>,
    ) -> Result<()> {
        if let Some(device) = device
            // A loop device keeps this for its next image, which may be another volume's.
            && let Err(error) = self.host.set_readonly(device, false).await
        {
            // A dead device cannot be asked for it. Whoever stages on the next one unseals it too.
            tracing::warn!(%volume, error = %error.chain(), "the device is let go of read-only");
        }
        connector.disconnect(&volume.native).await?;
        self.count(volume, false);
        Ok(())
    }

    /// Keeps the number of connected devices for the metrics.
    pub(super) fn count(&self, volume: &VolumeId, connected: bool) {
        // Nothing that panics runs under this lock.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if connected { counted.insert(volume.clone()) } else { counted.remove(volume) };
        if changed {
            self.metrics.device(volume.backend.as_str(), connected);
        }
    }
}
