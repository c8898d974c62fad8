//! Copies of images: by shared blocks where the file system has that, else block by block.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Client;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::host::files;
use crate::volume::{Bytes, NativeId};

/// How often a long copy tells how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// An image to copy from. The caller holds the lock of its object, so nobody connects it meanwhile.
#[derive(Debug)]
pub(super) struct Original<'a> {
    /// Where it is.
    pub(super) path: &'a Path,
    /// The nodes that may be writing to it now.
    pub(super) writers: Vec<String>,
}

impl Client {
    /// Fills `target` (empty, or as long as `size` and all holes) with the original's content, makes it at least `size`
    /// long, and syncs it.
    ///
    /// # Errors
    /// `FailedPrecondition` where a node may be writing and only a copy that takes time is possible: that would be the
    /// state of no moment.
    pub(super) fn fill(&self, original: &Original<'_>, target: &File, size: Bytes) -> Result<()> {
        let source = File::open(original.path)
            .map_err(|error| Error::io(format!("open {}", original.path.display()), error))?;
        // A network file system's other clients may hold back writes, in any order.
        let instant = original.writers.is_empty() || !files::is_network(self.directory())?;
        if !(instant && files::reflink(&source, target)?) {
            if !original.writers.is_empty() {
                return Err(Error::precondition(format!(
                    "the volume is in use on {} and {} cannot copy it in one step, so the copy would be the state of no \
                     moment: detach the volume first, or keep the directory on a local xfs or btrfs",
                    original.writers.join(", "),
                    self.directory().display(),
                )));
            }
            self.copy(original.path, &source, target)?;
        }
        failpoint::step("file.image-filled");
        let finish = || {
            if target.metadata()?.len() < size.get() {
                target.set_len(size.get())?;
            }
            target.sync_all()
        };
        finish().map_err(|error| Error::io("finish the copied image", error))
    }

    fn copy(&self, path: &Path, source: &File, target: &File) -> Result<()> {
        let total =
            source.metadata().map_err(|error| Error::io(format!("look at {}", path.display()), error))?.len();
        let mut told = Instant::now();
        files::copy_sparse(source, target, |done| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                tracing::info!(image = %path.display(), done, total, "copies an image");
            }
        })
    }

    /// An empty file for the image of a snapshot.
    pub(super) fn new_snapshot_image(&self, id: &NativeId) -> Result<File> {
        let path = self.path(super::Class::Snapshot, id, "img");
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io(format!("make {}", path.display()), error))
    }
}
