//! Which disk is a volume's, where disks say nothing of themselves.
//!
//! A volume's file system bears its mark, which settles it. Only before there is a file system the disk has to be told by
//! what it is not: it is taken where all disks of the server are there, it alone has the volume's size and is nobody's, and
//! it may be blank. Two such disks are never told apart by a guess.

use crate::backend::cinder::connector::finder::Found;
use crate::error::{Error, Result};
use crate::host::disks::{Disk, Glance};
use crate::volume::{Bytes, Mark, NativeId};

/// A disk with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) disk: Disk,
    /// What a glance shows; `None` of a disk that is somebody's by its partitions.
    pub(super) glance: Option<Glance>,
    /// Whether it is known to be another volume's.
    pub(super) taken: bool,
}

impl Seen {
    /// Whether its file system bears this mark.
    pub(super) fn bears(&self, mark: &Mark) -> bool {
        self.uuid().is_some_and(|uuid| mark.is(&uuid))
    }

    /// Whether its file system bears another volume's mark.
    pub(super) fn bears_another(&self, mark: &Mark) -> bool {
        self.uuid().is_some_and(|uuid| Mark::is_any(&uuid) && !mark.is(&uuid))
    }

    fn uuid(&self) -> Option<[u8; 16]> {
        self.glance?.uuid
    }

    /// Whether it could be the disk of a volume of this size that was never formatted, or whose mkfs was interrupted.
    fn is_possible(&self, size: Bytes) -> bool {
        let unmarked = self.glance.is_some_and(|glance| glance.uuid.is_none_or(|uuid| !Mark::is_any(&uuid)));
        unmarked && !self.taken && self.disk.size == size.get()
    }

    fn is_empty(&self) -> bool {
        self.glance.is_some_and(|glance| glance.empty)
    }
}

/// The disk that bears the mark.
pub(super) fn marked(mark: &Mark, seen: &[Seen]) -> Found {
    let mut fitting: Vec<_> = seen.iter().filter(|one| one.bears(mark)).map(|one| one.disk.clone()).collect();
    let silent = seen.iter().filter(|one| one.disk.silent.is_some()).map(|one| one.disk.clone()).collect();
    match fitting.len() {
        0 => Found::None { silent },
        1 => fitting.pop().map_or(Found::None { silent }, Found::One),
        _ => Found::Several(fitting),
    }
}

/// The disks that could be those of a volume of this size that bears no mark yet.
pub(super) fn possible(size: Bytes, seen: &[Seen]) -> Vec<Seen> {
    seen.iter().filter(|one| one.is_possible(size)).cloned().collect()
}

/// The one among the possible disks, of which none is in use.
///
/// # Errors
/// `FailedPrecondition` with what was found and what to do, where it cannot be told.
pub(super) fn only(volume: &NativeId, possible: &[Seen]) -> Result<Option<Disk>> {
    match possible {
        [] => Ok(None),
        [one] if one.is_empty() => Ok(Some(one.disk.clone())),
        [one] => Err(Error::precondition(format!(
            "the only disk of the volume's size that nobody uses is not blank and bears no mark, so it is the volume's \
             with a mkfs that was interrupted, or somebody else's: {}. If nobody needs what is on it, wipe its first and \
             last megabyte by hand",
            one.disk
        ))
        .with("volume", volume)),
        several => {
            let shown = |one: &Seen| match one.is_empty() {
                true => format!("{}, empty", one.disk),
                false => format!("{}, not empty", one.disk),
            };
            let disks: Vec<_> = several.iter().map(shown).collect();
            Err(Error::precondition(
                "several disks of this node have the volume's size, bear no mark and are used by nobody, and disks of this \
                 cloud say nothing of themselves: let one volume after the other be formatted (delete the pods of all but \
                 one, so that their volumes are detached), and mount or partition disks that are none of the driver's",
            )
            .with("volume", volume)
            .with("disks", disks.join("; ")))
        }
    }
}
