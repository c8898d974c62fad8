//! Which target is whose: links in `/dev`, which the kernel keeps in memory and forgets at the end of its life, as it does
//! its sessions. A link's name is the volume's id; what it leads to is no file, but a target's name and a unit's number.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::Iscsi;
use crate::error::{Error, Result};
use crate::host::files;
use crate::host::linux::blocking;

/// The directory of the links, in `/dev`.
const DIRECTORY: &str = "fairlead/iscsi";

/// The logical unit that is a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The target's name.
    pub target: String,
    /// The unit's number in it.
    pub lun: u32,
}

impl Iscsi {
    fn link(&self, volume: &str) -> PathBuf {
        self.dev.join(DIRECTORY).join(volume)
    }

    /// Notes that a volume is this unit, before anything is logged in to.
    ///
    /// # Errors
    /// Where `/dev` cannot be written.
    pub async fn note(&self, volume: &str, unit: &Unit) -> Result<()> {
        let (link, unit) = (self.link(volume), format!("{},{}", unit.target, unit.lun));
        blocking(move || {
            let failed = |error| Error::io(format!("make the link {}", link.display()), error);
            let directory = link.parent().unwrap_or(&link);
            std::fs::create_dir_all(directory).map_err(failed)?;
            let new = directory.join(format!(".{}", files::random_hex(8)?));
            symlink(unit, &new).map_err(failed)?;
            std::fs::rename(&new, &link).map_err(failed)
        })
        .await
    }

    /// What was noted of a volume.
    ///
    /// # Errors
    /// Where `/dev` cannot be read, or something else is there.
    pub async fn noted(&self, volume: &str) -> Result<Option<Unit>> {
        let link = self.link(volume);
        blocking(move || {
            let found = match std::fs::read_link(&link) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io(format!("read the link {}", link.display()), error)),
            };
            let found = found.to_string_lossy().into_owned();
            let unit = found
                .rsplit_once(',')
                .and_then(|(target, lun)| Some(Unit { target: target.to_owned(), lun: lun.parse().ok()? }));
            unit.map(Some).ok_or_else(|| {
                Error::internal(format!("{} leads to {found:?}, which is not this driver's", link.display()))
            })
        })
        .await
    }

    /// Forgets what was noted of a volume.
    ///
    /// # Errors
    /// Where `/dev` cannot be written.
    pub async fn forget(&self, volume: &str) -> Result<()> {
        let link = self.link(volume);
        blocking(move || match std::fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(format!("remove the link {}", link.display()), error))
            }
            _ => Ok(()),
        })
        .await
    }
}
