//! Which disks a mkfs has begun on, for the time between its first write and the mark that it leaves: a disk that is no
//! longer blank and bears no mark yet would be nobody's.
//!
//! A disk is named by its name and the kernel's count of disks, which together are never used again until the machine is
//! started anew. So a note is good for as long as the disk stays plugged in, and for no longer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::{files, kernel};
use crate::volume::NativeId;

use super::Key;

/// What the names of the notes begin and end with.
const PREFIX: &str = "formatting-";
const SUFFIX: &str = ".json";

/// The notes of this node.
#[derive(Clone, Debug)]
pub(super) struct Begun(Option<PathBuf>);

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Note {
    boot: String,
    disk: String,
    sequence: u64,
}

impl Begun {
    /// In a directory that lasts longer than this process. Without one, an interrupted mkfs is known to nobody.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(Path::to_owned))
    }

    fn path(&self, volume: &NativeId) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{PREFIX}{volume}{SUFFIX}")))
    }

    /// Notes, durably, that mkfs is about to begin on this disk.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn write(&self, volume: &NativeId, key: &Key) -> Result<()> {
        let (Some(path), (disk, Some(sequence))) = (self.path(volume), key) else { return Ok(()) };
        let note = Note { boot: kernel::boot_id()?, disk: disk.clone(), sequence: *sequence };
        let text = serde_json::to_vec(&note)
            .map_err(|error| Error::internal("the note of a mkfs cannot be written").caused_by(error))?;
        files::replace(&path, &text)
    }

    /// The disk on which a mkfs for this volume has begun since the machine was started.
    ///
    /// # Errors
    /// Where the note cannot be read.
    pub(super) fn read(&self, volume: &NativeId) -> Result<Option<Key>> {
        let Some(path) = self.path(volume) else { return Ok(None) };
        let Some(text) = files::read(&path)? else { return Ok(None) };
        // Half a note is none: what it would tell is then found out by other means, or refused.
        let Ok(note) = serde_json::from_slice::<Note>(&text) else { return Ok(None) };
        Ok((note.boot == kernel::boot_id()?).then_some((note.disk, Some(note.sequence))))
    }

    /// Forgets the notes of all disks but these: a disk that has gone never comes back as the same.
    ///
    /// # Errors
    /// Where the directory cannot be read, or a note not be removed.
    pub(super) fn sweep(&self, there: &[Key]) -> Result<()> {
        let Some(directory) = &self.0 else { return Ok(()) };
        for name in files::names(directory)? {
            let volume = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
            let Some(volume) = volume.and_then(|volume| volume.parse().ok()) else { continue };
            if !self.read(&volume)?.is_some_and(|key| there.contains(&key)) {
                self.remove(&volume)?;
            }
        }
        Ok(())
    }

    /// Forgets it, durably.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub(super) fn remove(&self, volume: &NativeId) -> Result<()> {
        self.path(volume).map_or(Ok(()), |path| files::remove_synced(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_good_until_the_machine_is_started_anew() {
        let place = tempfile::tempdir().unwrap();
        let begun = Begun::new(Some(place.path()));
        let volume: NativeId = "44".parse().unwrap();
        let key = ("vdc".to_owned(), Some(7));
        assert_eq!(begun.read(&volume).unwrap(), None);
        begun.write(&volume, &key).unwrap();
        assert_eq!(begun.read(&volume).unwrap(), Some(key.clone()));
        assert_eq!(begun.read(&"4".parse().unwrap()).unwrap(), None);
        let path = place.path().join("formatting-44.json");
        let text = std::fs::read_to_string(&path).unwrap();
        for other in [text.replace(&kernel::boot_id().unwrap(), "another"), text.replace('}', "")] {
            std::fs::write(&path, other).unwrap();
            assert_eq!(begun.read(&volume).unwrap(), None);
        }
        begun.write(&volume, &key).unwrap();
        std::fs::write(place.path().join("csi.sock"), "").unwrap();
        begun.sweep(&[("vdb".to_owned(), Some(7)), key.clone()]).unwrap();
        assert!(path.exists());
        begun.sweep(&[("vdc".to_owned(), Some(8))]).unwrap();
        assert!(!path.exists() && place.path().join("csi.sock").exists());
        begun.remove(&volume).unwrap();
        // A kernel that does not count disks, and a node without a directory, keep none.
        begun.write(&volume, &("vdc".to_owned(), None)).unwrap();
        assert_eq!(begun.read(&volume).unwrap(), None);
        let none = Begun::new(None);
        none.write(&volume, &key).unwrap();
        assert_eq!(none.read(&volume).unwrap(), None);
        none.remove(&volume).unwrap();
    }
}
