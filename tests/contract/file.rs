//! The `file` back end as a cloud for facts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fairlead::backend::file::{FileBackend, FileConfig, FileConnector};
use fairlead::backend::{Backend, Connector};
use fairlead::host::loopdev;
use fairlead::volume::{NativeId, NodeId};

use crate::fixture::{Fixture, Quotas};
use crate::storage::Storage;

#[derive(Debug)]
pub struct FileFixture {
    pub config: FileConfig,
    _storage: Arc<Storage>,
}

impl FileFixture {
    pub fn new(storage: &Arc<Storage>) -> Self {
        let mut config = FileConfig::new(storage.directory());
        std::fs::create_dir_all(&config.directory).unwrap();
        // The default size is a gibibyte, and many facts share one small file system.
        config.thin_factor = 100.0;
        Self { config, _storage: Arc::clone(storage) }
    }

    pub fn image(&self, volume: &NativeId) -> PathBuf {
        self.config.directory.join(format!("volumes/{volume}.img"))
    }
}

#[async_trait]
impl Fixture for FileFixture {
    async fn start(&self) {
        for node in self.nodes() {
            self.connector(&node).join().await.unwrap();
        }
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(FileBackend::open(self.config.clone()).await.unwrap())
    }

    async fn limited(&self, quotas: Quotas) -> Arc<dyn Backend> {
        let mut config = self.config.clone();
        (config.max_volumes, config.max_bytes, config.per_server) =
            (quotas.volumes, quotas.bytes, quotas.per_server);
        Arc::new(FileBackend::open(config).await.unwrap())
    }

    fn nodes(&self) -> Vec<NodeId> {
        ["alpha;nova=1", "beta", "gamma"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn connector(&self, node: &NodeId) -> Arc<dyn Connector> {
        Arc::new(FileConnector::new(self.config.clone(), "here".parse().unwrap(), node.name().to_owned()))
    }

    fn allocated(&self, volume: &NativeId) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        Some(std::fs::metadata(self.image(volume)).unwrap().blocks() * 512)
    }
}

impl Drop for FileFixture {
    /// Unbinds the devices that a failed fact left.
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.config.directory.join("volumes")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(identity) = loopdev::identity(&entry.path()) else { continue };
            if !name.ends_with(".img") {
                continue;
            }
            for device in loopdev::find(&name, |tag| tag.starts_with("fairlead:")).unwrap_or_default() {
                if Some(device.backing) == identity
                    && let Err(error) = loopdev::detach(&device, Duration::from_secs(10))
                {
                    eprintln!("LEFT BEHIND: {}: {error:?}", device.path.display());
                }
            }
        }
    }
}
