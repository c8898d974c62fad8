//! How much is promised, and how much room is left for promises.
//!
//! The length of a volume's image is its promise, also while it is being made; so no count is kept that could be wrong
//! after a crash. Snapshots promise nothing: what they take is simply no longer free. Blocks that images share by reflink count as allocated to each; what writing to shared blocks will
//! need is not set aside.

use std::fs::File;
use std::path::Path;

use super::{Class, Client};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::host::files;
use crate::host::lock::Mode;
use crate::volume::{Bytes, NativeId};

/// What is promised to users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Promised {
    pub(in super::super) count: u64,
    pub(in super::super) bytes: u64,
    /// Of `bytes`, what has no blocks yet.
    pub(in super::super) unallocated: u64,
}

impl Client {
    /// What all volumes together promise.
    pub(in super::super) fn promised(&self) -> Result<Promised> {
        let mut sum = Promised::default();
        for id in self.with_suffix(Class::Volume, ".img")? {
            // What vanishes meanwhile promises nothing.
            if let Some((length, allocated)) = files::extent(&self.image(&id))? {
                sum.count += 1;
                sum.bytes = sum.bytes.saturating_add(length);
                sum.unallocated = sum.unallocated.saturating_add(length.saturating_sub(allocated));
            }
        }
        Ok(sum)
    }

    /// The room that is left for promises: what is free, times the thin factor, less what is promised and has no blocks.
    pub(in super::super) fn room(&self, promised: Promised) -> Result<u64> {
        Ok(scale(files::available(self.directory())?, self.config.thin_factor)
            .saturating_sub(promised.unallocated))
    }

    /// What can still be ordered: the room, less what the quotas forbid.
    pub(in super::super) fn left(&self) -> Result<Bytes> {
        let promised = self.promised()?;
        if self.config.max_volumes.is_some_and(|limit| promised.count >= limit) {
            return Ok(Bytes::ZERO);
        }
        let room = Bytes::new(self.room(promised)?);
        let quota = self.config.max_bytes.map(|limit| limit.saturating_sub(Bytes::new(promised.bytes)));
        Ok(quota.map_or(room, |quota| quota.min(room)))
    }

    /// Makes the image of a new volume at its full length, sparse, which is the promise. The caller holds the volume's
    /// lock and has begun it.
    pub(super) fn reserve_new(&self, id: &NativeId, size: Bytes) -> Result<File> {
        let path = self.image(id);
        self.promising(size.get(), 1, || {
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|error| Error::io(format!("make {}", path.display()), error))?;
            set_length(&path, &file, size.get())?;
            failpoint::step("file.image-made");
            Ok(file)
        })
    }

    /// Makes the image of a volume longer. The caller holds the volume's lock.
    pub(super) fn reserve_more(&self, id: &NativeId, from: Bytes, to: Bytes) -> Result<()> {
        let path = self.image(id);
        self.promising(to.saturating_sub(from).get(), 0, || {
            let file = File::options()
                .write(true)
                .open(&path)
                .map_err(|error| Error::io(format!("open {}", path.display()), error))?;
            set_length(&path, &file, to.get())?;
            file.sync_all().map_err(|error| Error::io(format!("sync {}", path.display()), error))?;
            failpoint::step("file.image-grown");
            Ok(())
        })
    }

    /// Checks the quotas and makes the promise in one step, as seen by every controller.
    fn promising<T>(&self, bytes: u64, count: u64, promise: impl FnOnce() -> Result<T>) -> Result<T> {
        let _guard = self.lock(&[("account".to_owned(), Mode::Exclusive)])?;
        if self.allow(bytes, count).is_err() {
            // Leftovers of a dead controller must not use up the quota.
            self.sweep_class(Class::Volume)?;
            self.allow(bytes, count)?;
        }
        promise()
    }

    fn allow(&self, bytes: u64, count: u64) -> Result<()> {
        let promised = self.promised()?;
        let full = |text: String| Err(Error::refused(Kind::ResourceExhausted, text));
        if let Some(limit) = self.config.max_volumes
            && promised.count.saturating_add(count) > limit
        {
            return full(format!(
                "{} of {limit} volumes exist here: another one is over the quota",
                promised.count
            ));
        }
        if let Some(limit) = self.config.max_bytes
            && promised.bytes.saturating_add(bytes) > limit.get()
        {
            return full(format!(
                "{} of {limit} are promised here: {} more are over the quota",
                Bytes::new(promised.bytes),
                Bytes::new(bytes)
            ));
        }
        let room = self.room(promised)?;
        if bytes > room {
            return full(format!(
                "there is room for {} in {} (thin factor {}): {} more do not fit",
                Bytes::new(room),
                self.directory().display(),
                self.config.thin_factor,
                Bytes::new(bytes)
            ));
        }
        Ok(())
    }
}

fn set_length(path: &Path, file: &File, length: u64) -> Result<()> {
    file.set_len(length).map_err(|error| {
        let error = Error::io(format!("make {} {length} bytes long", path.display()), error);
        // EFBIG: the file system below has smaller files than we allow.
        match std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(source) if source.kind() == std::io::ErrorKind::FileTooLarge => {
                error.with_kind(Kind::OutOfRange)
            }
            _ => error,
        }
    })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a byte more or less of the room does not matter"
)]
fn scale(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}
