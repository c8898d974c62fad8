//! The node's side: a volume that StorPool's client shows on this host. Holds no token.
//!
//! The client makes links by global id and by name to a device whose number means nothing. Both links are followed where
//! both are there, and the device must be one and have the size that was told. A node has nothing to attach or detach, so
//! connecting is finding, and disconnecting is to see to it that nothing of this node is still to be written. A node without
//! the client logs in to volumes instead (see `iscsi`).

mod iscsi;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::conf::Conf;
use super::config::{Served, StorpoolConfig};
use super::names::is_global_id;
use super::nodes::INITIATOR_IDENTITY;
use super::{IDENTITY, PER_SERVER, Seat};
use crate::backend::{Connector, Device, Presence};
use crate::error::{Error, Kind, Result};
use crate::host::disks::{Disk, Disks};
use crate::host::uevent;
use crate::volume::{Attachment, Bytes, Connection, Content, Health, HealthFault, HealthStatus, NativeId};
use iscsi::Initiator;

/// How long a device may take to appear after the cluster has said that it is attached, or to show its new size.
const PATIENCE: Duration = Duration::from_secs(60);

/// One node's access to the devices of a `storpool` back end.
#[derive(Clone, Debug)]
pub struct StorpoolConnector {
    config: Arc<StorpoolConfig>,
    host: String,
    disks: Disks,
    initiator: Option<Initiator>,
    patience: Duration,
}

impl StorpoolConnector {
    /// Puts it together. Does no I/O. `host` is this host's name in StorPool's configuration.
    #[must_use]
    pub fn new(config: StorpoolConfig, host: String) -> Self {
        let initiator = config.iscsi.as_ref().map(Initiator::new);
        Self { config: Arc::new(config), host, disks: Disks::default(), initiator, patience: PATIENCE }
    }

    /// The same on another machine.
    #[cfg(test)]
    pub(super) fn on(mut self, iscsi: crate::host::iscsi::Iscsi, disks: Disks) -> Self {
        self.initiator = self.initiator.map(|initiator| initiator.on(iscsi, disks));
        self
    }

    /// The same with another patience.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The links that a volume may have here. `connection`: what the controller told of it.
    fn links(&self, volume: &NativeId, connection: Option<&Connection>) -> Vec<PathBuf> {
        let node = &self.config.node;
        match connection {
            Some(Connection::Storpool { global_id, name }) => {
                let by_name = name.iter().map(|name| node.by_name.join(name));
                [node.by_id.join(global_id)].into_iter().chain(by_name).collect()
            }
            _ if is_global_id(volume.as_str()) => vec![node.by_id.join(volume.as_str())],
            _ => vec![node.by_name.join(volume.as_str())],
        }
    }

    /// The disk that the links lead to; `None` where no link is there (yet).
    async fn look(&self, links: &[PathBuf]) -> Result<Option<Disk>> {
        let mut found: Option<(Disk, &PathBuf)> = None;
        for link in links {
            let Some(disk) = self.disks.linked(link).await? else { continue };
            match &found {
                Some((other, by)) if other.number != disk.number => {
                    return Err(Error::precondition(format!(
                        "{} leads to {}, and {} to {}: one of the links is of an earlier volume",
                        by.display(),
                        other.path.display(),
                        link.display(),
                        disk.path.display()
                    )));
                }
                _ => found = Some((disk, link)),
            }
        }
        Ok(found.map(|(disk, _)| disk))
    }

    async fn device(&self, volume: &NativeId) -> Result<Option<Device>> {
        let found =
            self.look(&self.links(volume, None)).await.map_err(|error| error.with("volume", volume))?;
        Ok(found.map(|disk| disk.device()))
    }

    /// Waits for a device of at least this size.
    async fn wait(&self, volume: &NativeId, links: &[PathBuf], size: Bytes) -> Result<Device> {
        let found = uevent::wait_for(self.patience, async || {
            let Some(disk) = self.look(links).await? else { return Ok(None) };
            match self.disks.prove(&disk).await {
                Ok((device, _)) => Ok(Some(device).filter(|device| device.size >= size)),
                // The link is there before the device can be opened, or leads to one that is on its way out.
                Err(error) if error.kind() == Kind::Unavailable => Ok(None),
                Err(error) => Err(error),
            }
        });
        let told = |error: Error| error.with("volume", volume);
        if let Some(device) = found.await.map_err(told)? {
            return Ok(device);
        }
        let shown: Vec<_> = links.iter().map(|link| link.display().to_string()).collect();
        let text = match self.look(links).await.map_err(told)? {
            Some(disk) => format!(
                "{} has {}, and not the {size} that are expected, {:?} after it was asked for",
                disk.path.display(),
                Bytes::new(disk.size),
                self.patience
            ),
            None => format!(
                "none of {} appeared within {:?}: does storpool_block run on this node?",
                shown.join(", "),
                self.patience
            ),
        };
        Err(told(Error::unknown(Kind::Unavailable, text)))
    }
}

#[async_trait]
impl Connector for StorpoolConnector {
    /// A node's client is told by the hosts' configuration, which a node of a cluster with iSCSI need not have.
    async fn join(&self) -> Result<Presence> {
        let file = match &self.initiator {
            Some(initiator) => initiator.host_path(&self.config.conf_file),
            None => self.config.conf_file.clone(),
        };
        let host = self.host.clone();
        let conf = tokio::task::spawn_blocking(move || Conf::read(&file, Some(&host)))
            .await
            .map_err(|error| Error::internal("reading the configuration broke off").caused_by(error))??;
        let node = &self.config.node;
        let client = match node.client {
            Some(client) => Some(client),
            None => conf.client()?,
        };
        let served = self.config.iscsi.as_ref().map(|iscsi| iscsi.nodes);
        let identity = match (&self.initiator, client) {
            (Some(initiator), None) => (INITIATOR_IDENTITY, initiator.name().await?),
            (Some(initiator), Some(_)) if served == Some(Served::All) => {
                (INITIATOR_IDENTITY, initiator.name().await?)
            }
            (_, Some(client)) => {
                let cluster = match &node.cluster_id {
                    Some(cluster) => Some(cluster.clone()),
                    None => conf.cluster()?,
                };
                (IDENTITY, Seat { cluster, client }.to_string())
            }
            (None, None) => {
                return Err(Error::precondition(format!(
                    "this node's number in StorPool is not known: {} has no SP_OURID for {:?} ({}), and \"node.clientId\" is \
                     not set; a node without storpool_block needs \"iscsi\"",
                    self.config.conf_file.display(),
                    self.host,
                    conf.hosts()
                )));
            }
        };
        Ok(Presence {
            identity: Some((identity.0.to_owned(), identity.1)),
            topology: self.config.reach.clone(),
            max_volumes: Some(self.config.per_server.unwrap_or(PER_SERVER).min(PER_SERVER)),
        })
    }

    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        if let (Some(initiator), Connection::Iscsi { .. }) = (&self.initiator, &attachment.connection) {
            let connected = initiator.connect(volume, attachment, self.patience).await;
            return connected.map_err(|error| error.with("volume", volume));
        }
        check(volume, attachment)?;
        let links = self.links(volume, Some(&attachment.connection));
        let device = self.wait(volume, &links, attachment.size).await?;
        if attachment.readonly {
            // The cluster's own rights do that too.
            self.disks.seal(&device).await.map_err(|error| error.with("volume", volume))?;
        }
        Ok(device)
    }

    async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        let found = self.device(volume).await?;
        match &self.initiator {
            Some(initiator) if found.is_none() => {
                initiator.find(volume).await.map_err(|error| error.with("volume", volume))
            }
            _ => Ok(found),
        }
    }

    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device> {
        let links = self.links(volume, None);
        if self.device(volume).await?.is_none() {
            let refreshed = match &self.initiator {
                Some(initiator) => initiator.refresh(volume, size, self.patience).await,
                None => Ok(None),
            };
            if let Some(device) = refreshed.map_err(|error| error.with("volume", volume))? {
                return Ok(device);
            }
            return Err(Error::not_found("the volume's device is not on this node").with("volume", volume));
        }
        self.wait(volume, &links, size).await
    }

    /// A device of the client's stays until the cluster takes it.
    async fn disconnect(&self, volume: &NativeId) -> Result<()> {
        if let Some(initiator) = &self.initiator {
            let ended = initiator.disconnect(volume, self.patience).await;
            ended.map_err(|error| error.with("volume", volume))?;
        }
        let Some(device) = self.device(volume).await? else { return Ok(()) };
        match self.disks.settle(&device).await {
            Ok(()) => Ok(()),
            // It went away meanwhile.
            Err(error) if error.kind() == Kind::Unavailable => Ok(()),
            Err(error) => Err(error.with("volume", volume)),
        }
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
        let Some(device) = self.find(volume).await? else { return Ok(Vec::new()) };
        Ok(match self.disks.answers(&device).await {
            Ok(()) => Vec::new(),
            Err(error) => vec![HealthFault {
                status: HealthStatus::Inaccessible,
                reason: "DeviceDoesNotAnswer",
                message: error.chain(),
            }],
        })
    }
}

/// Whether the attachment is one of this volume's, and names nothing that could lead elsewhere.
fn check(volume: &NativeId, attachment: &Attachment) -> Result<()> {
    let bad = |text: &str| Err(Error::invalid(text.to_owned()).with("volume", volume));
    let (global_id, name) = match &attachment.connection {
        Connection::Storpool { global_id, name } => (global_id, name),
        Connection::Iscsi { .. } => {
            return bad("the volume is exported over iSCSI, and this node's settings have no \"iscsi\"");
        }
        _ => return bad("the attachment is of another kind of back end"),
    };
    let id = volume.as_str();
    if !is_global_id(global_id) || name.as_ref().is_some_and(|name| !super::names::is_name(name)) {
        return bad("the attachment names no StorPool volume");
    }
    match name.as_deref() == Some(id) || global_id == id {
        true => Ok(()),
        false => bad("the attachment is of another volume"),
    }
}
