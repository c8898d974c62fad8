//! The proof that a device is blank, without which nothing is ever formatted.
//!
//! That no tool knows a signature proves nothing: the first part of a disk may be lost while its data is not. So every
//! place where a file system, a partition table, a RAID or an encryption layer keeps its first or a spare header must be
//! zero, and so must samples of the whole.

mod magic;
mod places;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use self::places::Place;
use super::device::Aligned;
use crate::error::{Error, Result};

/// How many reads are under way at once: enough to hide a network disk's latency.
const READERS: usize = 16;

/// Something that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    offset: u64,
    what: Option<&'static str>,
}

/// What the readers share.
#[derive(Debug, Default)]
struct Progress {
    next: AtomicUsize,
    findings: Mutex<Vec<Finding>>,
    failure: Mutex<Option<(u64, io::Error)>>,
}

/// What the places that were looked at hold.
#[derive(Debug)]
pub(super) struct Examined {
    places: usize,
    findings: Vec<Finding>,
    failure: Option<(u64, io::Error)>,
}

/// Reads every place of [`places::all`] of `file`, which has `size` bytes. A device must have been opened with O_DIRECT,
/// so that the disk answers and not the page cache.
pub(super) fn examine(file: &File, size: u64) -> Examined {
    let places = places::all(size);
    let progress = Progress::default();
    std::thread::scope(|scope| {
        for _ in 1..READERS.min(places.len()) {
            // This thread reads too, so a thread that cannot be had only costs time.
            let helper = std::thread::Builder::new().name("blank".to_owned()).stack_size(128 << 10);
            drop(helper.spawn_scoped(scope, || read_places(file, size, &places, &progress)));
        }
        read_places(file, size, &places, &progress);
    });
    let mut findings = progress.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort_unstable();
    let failure = progress.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    Examined { places: places.len(), findings, failure }
}

impl Examined {
    /// The proof: all that was looked at is zero, and `signature`, what blkid found, is nothing. That alone would be
    /// reason enough to refuse.
    ///
    /// # Errors
    /// `FailedPrecondition` saying what was found at which offset; `Internal` where a place could not be read.
    pub(super) fn judge(self, signature: Option<&str>) -> Result<()> {
        let Self { places, findings, failure } = self;
        if places == 0 {
            return Err(Error::precondition("the device has no size: nothing can be proven of it"));
        }
        // A header that is known says more than data before it.
        let finding = findings.iter().find(|finding| finding.what.is_some()).or_else(|| findings.first());
        let mut found: Vec<_> = signature.map(|words| format!("blkid finds {words}")).into_iter().collect();
        found.extend(finding.map(|finding| {
            format!("{} at offset {}", finding.what.unwrap_or("non-zero data"), finding.offset)
        }));
        if findings.len() > 1 {
            found.push(format!("{} of {places} places looked at are not zero", findings.len()));
        }
        if !found.is_empty() {
            return Err(Error::precondition(format!(
                "the device is not blank: {}. It is left as it is; if nobody needs what is on it, wipe it by hand",
                found.join(", ")
            )));
        }
        match failure {
            Some((offset, error)) => Err(Error::internal(format!(
                "the device cannot be read at offset {offset}, so nothing is proven"
            ))
            .caused_by(error)),
            None => Ok(()),
        }
    }
}

/// Takes places until there are none, or until a read fails.
fn read_places(file: &File, size: u64, places: &[Place], progress: &Progress) {
    let mut buffer = Aligned::new(places::LARGEST);
    while let Some(place) = places.get(progress.next.fetch_add(1, Ordering::Relaxed)) {
        match buffer.read(file, place.offset, place.length) {
            Ok(bytes) => {
                if let Some(finding) = look(bytes, place.offset, size) {
                    progress.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
                }
            }
            Err(error) => {
                progress
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert((place.offset, error));
                progress.next.store(places.len(), Ordering::Relaxed);
            }
        }
    }
}

/// What is not zero among these bytes: the first header that is known, else the first byte.
fn look(bytes: &[u8], offset: u64, size: u64) -> Option<Finding> {
    if is_zero(bytes) {
        return None;
    }
    let mut first = None;
    for (index, block) in bytes.chunks(super::device::BLOCK).enumerate() {
        let at = offset + (index * super::device::BLOCK) as u64;
        if let Some(byte) = block.iter().position(|byte| *byte != 0) {
            if let Some((within, what)) = magic::recognise(block, at, size) {
                return Some(Finding { offset: at + within, what: Some(what) });
            }
            first.get_or_insert(Finding { offset: at + byte as u64, what: None });
        }
    }
    first
}

/// By words, because an unoptimised build compares bytes slowly.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
