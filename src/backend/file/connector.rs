//! The node's side: an image file behind a loop device.
//!
//! The device bears a tag that names volume, node and attachment, so several nodes on one machine each have their own,
//! and what an earlier attachment left behind is never taken for the present one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::client::{Client, missing};
use super::config::FileConfig;
use super::run;
use crate::backend::{Connector, Device, Presence};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::host::loopdev::{self, LoopDevice};
use crate::host::uevent;
use crate::volume::{Attachment, BackendName, Bytes, Content, Health, NativeId, NodeId};

/// How long a device may take to be let go of, or to show its new size.
const WAIT: Duration = Duration::from_secs(10);

/// One node's access to a `file` back end.
#[derive(Clone, Debug)]
pub struct FileConnector {
    config: FileConfig,
    backend: BackendName,
    node: String,
}

impl FileConnector {
    /// Puts it together. Does no I/O. `node` is the node's name, unique among those that see the directory.
    #[must_use]
    pub const fn new(config: FileConfig, backend: BackendName, node: String) -> Self {
        Self { config, backend, node }
    }

    /// Runs `work` with the directory on a blocking thread.
    async fn with<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Local) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        run(operation, move || {
            let client = Client::existing(this.config)?;
            work(&Local { client, backend: this.backend, node: this.node })
        })
        .await
    }

    /// The device, as large as its image shows here now.
    async fn resized(&self, volume: &NativeId) -> Result<Device> {
        let volume = volume.clone();
        self.with("refresh", move |local| local.refresh(&volume)).await
    }

    /// Waits until the device has at least `size`: another machine's growth may show late. Nothing is locked meanwhile.
    async fn grown(&self, volume: &NativeId, found: Device, size: Bytes) -> Result<Device> {
        if found.size >= size {
            return Ok(found);
        }
        let grown = uevent::wait_for(WAIT, async || {
            self.resized(volume).await.map(|now| (now.size >= size).then_some(now))
        });
        grown.await?.ok_or_else(|| {
            Error::unknown(
                Kind::Unavailable,
                format!("{} has still less than the {size} that are expected", found.path.display()),
            )
            .with("volume", volume)
        })
    }
}

#[async_trait]
impl Connector for FileConnector {
    async fn join(&self) -> Result<Presence> {
        // The node may be here before the controller.
        let config = self.config.clone();
        run("join", || Client::open(config)).await?;
        self.with("join", |local| {
            NodeId::new(&local.node, BTreeMap::new())?;
            local.client.join_server(&local.node)?;
            for volume in local.client.held_by(&local.node)? {
                let _guard = local.client.lock_volume(&volume)?;
                // A hold without a device: this machine was switched off, or stopped just before or after.
                if local.devices(&volume)?.is_empty() {
                    local.client.release(&local.node, &volume)?;
                }
            }
            Ok(Presence {
                identity: None,
                topology: local.client.config.reach.clone(),
                max_volumes: local.client.config.per_server,
            })
        })
        .await
    }

    fn tells_identity(&self) -> bool {
        false
    }

    async fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        let found = {
            let (volume, attachment) = (volume.clone(), attachment.clone());
            self.with("connect", move |local| local.connect(&volume, &attachment)).await?
        };
        self.grown(volume, found, attachment.size).await
    }

    async fn find(&self, volume: &NativeId) -> Result<Option<Device>> {
        let volume = volume.clone();
        self.with("find", move |local| Ok(local.bound(&volume)?.map(|found| device(&found)))).await
    }

    async fn refresh(&self, volume: &NativeId, size: Bytes) -> Result<Device> {
        let found = self.resized(volume).await?;
        self.grown(volume, found, size).await
    }

    async fn disconnect(&self, volume: &NativeId) -> Result<()> {
        let volume = volume.clone();
        self.with("disconnect", move |local| local.disconnect(&volume)).await
    }

    async fn content(&self, volume: &NativeId) -> Result<Option<Content>> {
        let volume = volume.clone();
        self.with("content", move |local| local.client.content(&volume)).await.map(Some)
    }

    async fn mark_formatting(&self, volume: &NativeId) -> Result<()> {
        let volume = volume.clone();
        self.with("mark formatting", move |local| local.client.mark_formatting(&volume)).await
    }

    async fn mark_formatted(&self, volume: &NativeId) -> Result<()> {
        let volume = volume.clone();
        self.with("mark formatted", move |local| local.client.mark_formatted(&volume)).await
    }

    async fn health(&self, volume: &NativeId) -> Result<Health> {
        let volume = volume.clone();
        self.with("health", move |local| local.client.health(&volume)).await
    }
}

/// The same, on a blocking thread, with the directory open.
struct Local {
    client: Client,
    backend: BackendName,
    node: String,
}

impl Local {
    /// What the tags of all of this node's devices of a volume begin with.
    fn prefix(&self, volume: &NativeId) -> String {
        let identity = format!("{}\n{}\n{}", self.backend, self.node, self.client.image(volume).display());
        format!("fairlead:{}:", hex(&identity, 16))
    }

    fn tag(&self, volume: &NativeId, nonce: &str) -> String {
        format!("{}{}", self.prefix(volume), hex(nonce, 10))
    }

    fn devices(&self, volume: &NativeId) -> Result<Vec<LoopDevice>> {
        let prefix = self.prefix(volume);
        loopdev::find(&format!("{volume}.img"), |tag| tag.starts_with(&prefix))
    }

    /// The one device of a volume, if there is one; proven to show the image that is there now.
    fn bound(&self, volume: &NativeId) -> Result<Option<LoopDevice>> {
        let devices = self.devices(volume)?;
        if let [_, _, ..] = devices.as_slice() {
            let paths: Vec<_> = devices.iter().map(|device| device.path.display().to_string()).collect();
            return Err(Error::internal(format!(
                "several devices of this node show the volume ({}): unstage it",
                paths.join(", ")
            ))
            .with("volume", volume));
        }
        let Some(device) = devices.into_iter().next() else { return Ok(None) };
        // Where the image was deleted, the device still shows it, and whoever cleans up must find that.
        match loopdev::identity(&self.client.image(volume))? {
            Some(identity) if identity != device.backing => Err(Error::precondition(format!(
                "{} shows an earlier image of the volume: unstage it",
                device.path.display()
            ))
            .with("volume", volume)),
            _ => Ok(Some(device)),
        }
    }

    fn connect(&self, volume: &NativeId, attachment: &Attachment) -> Result<Device> {
        let _guard = self.client.lock_volume(volume)?;
        let record = self.client.verify(&self.node, volume, attachment)?;
        let tag = self.tag(volume, &attachment.nonce);
        let image = self.client.image(volume);
        let identity = loopdev::identity(&image)?.ok_or_else(|| {
            Error::unknown(Kind::Unavailable, format!("its image {} is missing", image.display()))
                .with("volume", volume)
        })?;
        let mut bound = None;
        for found in self.devices(volume)? {
            let good = found.tag == tag
                && found.backing == identity
                && found.readonly == attachment.readonly
                && !found.leaving
                && bound.is_none();
            if good {
                bound = Some(found);
            } else {
                // Left by an earlier attachment: its caches may be old.
                loopdev::detach(&found, WAIT).map_err(|error| error.with("volume", volume))?;
            }
        }
        self.client.hold(&self.node, volume, &record)?;
        let found = match bound {
            Some(found) => found,
            None => match loopdev::attach(&image, attachment.readonly, &tag) {
                Ok(found) => found,
                Err(error) => {
                    self.give_up(volume)?;
                    return Err(error.with("volume", volume));
                }
            },
        };
        failpoint::step("file.connected");
        if found.backing != identity || found.readonly != attachment.readonly {
            return Err(Error::internal(format!(
                "{} shows file {:?}, not {identity:?}",
                found.path.display(),
                found.backing
            ))
            .with("volume", volume));
        }
        Ok(device(&found))
    }

    /// Takes the hold back where no device came up.
    fn give_up(&self, volume: &NativeId) -> Result<()> {
        if self.devices(volume)?.is_empty() { self.client.release(&self.node, volume) } else { Ok(()) }
    }

    fn refresh(&self, volume: &NativeId) -> Result<Device> {
        let _guard = self.client.lock_volume(volume)?;
        let found = self
            .bound(volume)?
            .ok_or_else(|| Error::not_found("the volume is not connected here").with("volume", volume))?;
        let attachment = self.client.attachment(&self.node, volume)?;
        if attachment.is_none_or(|record| self.tag(volume, &record.nonce) != found.tag) {
            return Err(
                Error::precondition("it was detached or fenced meanwhile: unstage it").with("volume", volume)
            );
        }
        // The image's own size is the truth, also where the caller asks for less.
        loopdev::resize(&found)?.map(|found| device(&found)).ok_or_else(|| missing(volume))
    }

    fn disconnect(&self, volume: &NativeId) -> Result<()> {
        let _guard = self.client.lock_volume(volume)?;
        for device in self.devices(volume)? {
            loopdev::detach(&device, WAIT).map_err(|error| error.with("volume", volume))?;
            failpoint::step("file.disconnected");
        }
        sync(&self.client.image(volume))?;
        self.client.release(&self.node, volume)
    }
}

/// What the device wrote into the page cache of its image must be on the storage before another node reads it.
fn sync(image: &Path) -> Result<()> {
    match std::fs::File::open(image) {
        Ok(file) => file.sync_all().map_err(|error| Error::io(format!("sync {}", image.display()), error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format!("open {}", image.display()), error)),
    }
}

fn device(found: &LoopDevice) -> Device {
    Device { path: found.path.clone(), number: found.number, size: Bytes::new(found.size) }
}

fn hex(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
