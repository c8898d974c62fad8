//! The Linux that this process runs on.

use std::path::Path;

use async_trait::async_trait;

use super::ask::Asker;
use super::tools::{Tool, Tools};
use super::{
    Hold, Host, Mount, PathKind, Signature, Usage, blank, blkid, device, filesystem, mount, mountinfo, paths,
    superblock, usage,
};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::volume::{FsType, Mark};

/// This machine, by system calls and the usual tools.
#[derive(Debug)]
pub struct Linux {
    tools: Tools,
    asker: Asker,
}

impl Linux {
    /// Finds the tools; what is missing, [`Host::missing_tools`] tells.
    #[must_use]
    pub fn new() -> Self {
        Self { tools: Tools::find(), asker: Asker::default() }
    }
}

impl Default for Linux {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a blocking call on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("a blocking call did not end by itself").caused_by(error)),
    }
}

#[async_trait]
impl Host for Linux {
    fn missing_tools(&self, file_systems: &[FsType]) -> Vec<String> {
        self.tools.missing(file_systems)
    }

    async fn mounts(&self) -> Result<Vec<Mount>> {
        blocking(mountinfo::read).await
    }

    async fn path_kind(&self, path: &Path) -> Result<PathKind> {
        let path = path.to_owned();
        blocking(move || paths::kind(&path)).await
    }

    async fn make_directory(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || paths::make_directory(&path)).await
    }

    async fn make_file(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || paths::make_file(&path)).await
    }

    async fn remove_empty(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || paths::remove_empty(&path)).await
    }

    async fn write_durable(&self, path: &Path, content: &str) -> Result<()> {
        let (path, content) = (path.to_owned(), content.to_owned());
        blocking(move || paths::write_durable(&path, &content)).await
    }

    async fn read_small(&self, path: &Path) -> Result<Option<String>> {
        let path = path.to_owned();
        blocking(move || paths::read_small(&path)).await
    }

    async fn remove_file(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || paths::remove_file(&path)).await
    }

    async fn remove_half_written(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        blocking(move || paths::remove_half_written(&path)).await
    }

    async fn mount(&self, device: &Path, target: &Path, fs: FsType, options: &[String]) -> Result<()> {
        let (device, target, options) = (device.to_owned(), target.to_owned(), options.to_vec());
        blocking(move || mount::mount(&device, &target, fs, &options)).await
    }

    async fn bind(&self, source: &Path, target: &Path, readonly: bool, options: &[String]) -> Result<()> {
        let (source, target, options) = (source.to_owned(), target.to_owned(), options.to_vec());
        blocking(move || mount::bind(&source, &target, readonly, &options)).await
    }

    async fn unmount(&self, target: &Path) -> Result<()> {
        let target = target.to_owned();
        blocking(move || mount::unmount(&target)).await
    }

    async fn hold(&self, device: &Device) -> Result<Hold> {
        let device = device.clone();
        blocking(move || Ok(Box::new(device::open(&device, device::Open::Shared)?) as Hold)).await
    }

    async fn signature(&self, device: &Device) -> Result<Signature> {
        let opened = device.clone();
        let file = blocking(move || {
            let file = device::open(&opened, device::Open::Exclusive)?;
            device::drop_cache(&file, &opened.path)?;
            device::answers(&file, &opened.path)?;
            Ok(file)
        })
        .await?;
        let signature = blkid::probe(self.tools.path(Tool::Blkid)?, &device.path).await;
        // Held until here, so that nobody mounts or formats the device under the probe.
        drop(file);
        signature
    }

    async fn prove_blank(&self, device: &Device) -> Result<()> {
        let opened = device.clone();
        let file = blocking(move || {
            let file = device::open_whole(&opened)?;
            device::drop_cache(&file, &opened.path)?;
            device::answers(&file, &opened.path)?;
            Ok(file)
        })
        .await?;
        let of_device = |error: Error| error.with("device", device.path.display());
        let size = device.size.get();
        // Side by side: neither changes what the other reads.
        let (signature, examined) = tokio::join!(
            blkid::probe(self.tools.path(Tool::Blkid)?, &device.path),
            blocking(move || Ok(blank::examine(&file, size)))
        );
        let signature = signature.map_err(of_device)?;
        examined?.judge(blkid::words(&signature).as_deref()).map_err(of_device)
    }

    async fn format(&self, device: &Device, fs: FsType) -> Result<()> {
        filesystem::format(&self.tools, device, fs, None).await
    }

    async fn format_marked(&self, device: &Device, fs: FsType, mark: Mark) -> Result<()> {
        filesystem::format(&self.tools, device, fs, Some(mark)).await
    }

    async fn check(&self, device: &Device, fs: FsType) -> Result<()> {
        filesystem::check(&self.tools, device, fs).await
    }

    async fn grow(&self, device: &Device, fs: FsType, mounted_at: &Path) -> Result<()> {
        filesystem::grow(&self.tools, device, fs, mounted_at).await
    }

    async fn needs_growth(&self, device: &Device, fs: FsType) -> Result<bool> {
        let device = device.clone();
        blocking(move || superblock::needs_growth(&device, fs)).await
    }

    async fn device(&self, path: &Path) -> Result<Device> {
        let path = path.to_owned();
        blocking(move || device::describe(&path)).await
    }

    async fn set_readonly(&self, device: &Device, readonly: bool) -> Result<()> {
        let device = device.clone();
        blocking(move || device::set_readonly(&device, readonly)).await
    }

    async fn usage(&self, path: &Path) -> Result<Usage> {
        usage::usage(&self.asker, path).await
    }
}
