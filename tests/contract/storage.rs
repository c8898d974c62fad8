//! Places for a back end's directory, unmounted and removed again however a test ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fairlead::host::loopdev::{self, LoopDevice};
use nix::mount::{MsFlags, mount, umount};
use tempfile::TempDir;

/// A file system to make directories on.
#[derive(Debug)]
pub struct Storage {
    /// Kept back from removal while something is mounted in it.
    outer: Option<TempDir>,
    root: PathBuf,
    mounted: bool,
    device: Option<LoopDevice>,
    count: AtomicU32,
}

impl Storage {
    /// The file system of the temporary directory.
    pub fn plain() -> Arc<Self> {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().to_owned();
        Arc::new(Self { outer: Some(outer), root, mounted: false, device: None, count: AtomicU32::new(0) })
    }

    fn empty() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("mount");
        std::fs::create_dir(&root).unwrap();
        Self { outer: Some(outer), root, mounted: false, device: None, count: AtomicU32::new(0) }
    }

    /// An xfs that shares blocks, on a loop device.
    #[allow(clippy::disallowed_methods, reason = "a test makes its own file system")]
    pub fn xfs() -> Arc<Self> {
        let mut storage = Self::empty();
        let image = storage.root.with_file_name("xfs.img");
        std::fs::File::create(&image).unwrap().set_len(4 << 30).unwrap();
        let made = std::process::Command::new("/usr/sbin/mkfs.xfs")
            .args(["-q", "-m", "reflink=1"])
            .arg(&image)
            .status()
            .expect("mkfs.xfs runs (Debian package xfsprogs)");
        assert!(made.success(), "mkfs.xfs: {made}");
        let device = loopdev::attach(&image, false, "fairlead-contract-xfs").unwrap();
        storage.device = Some(device.clone());
        mount(Some(&device.path), &storage.root, Some("xfs"), MsFlags::empty(), None::<&str>).unwrap();
        storage.mounted = true;
        Arc::new(storage)
    }

    /// A small file system in memory.
    pub fn tmpfs(mib: u32) -> Arc<Self> {
        let mut storage = Self::empty();
        let options = format!("size={mib}m");
        mount(Some("tmpfs"), &storage.root, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        storage.mounted = true;
        Arc::new(storage)
    }

    /// A new name for a directory.
    pub fn directory(&self) -> PathBuf {
        self.root.join(format!("d{}", self.count.fetch_add(1, Ordering::SeqCst)))
    }

    /// Where the file system is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut clean = true;
        while self.mounted {
            match umount(&self.root) {
                Ok(()) => self.mounted = false,
                Err(errno) if Instant::now() >= deadline => {
                    eprintln!("LEFT BEHIND: a mount at {}: {errno}", self.root.display());
                    clean = false;
                    break;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        if let Some(device) = self.device.take()
            && let Err(error) = loopdev::detach(&device, Duration::from_secs(10))
        {
            eprintln!("LEFT BEHIND: {}: {error:?}", device.path.display());
            clean = false;
        }
        if let Some(outer) = self.outer.take()
            && !clean
        {
            // Removing the tree would remove what is in the mount.
            eprintln!("LEFT BEHIND: {}", outer.keep().display());
        }
    }
}
