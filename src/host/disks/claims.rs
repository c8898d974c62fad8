//! Which disk is whose, for disks that do not say it themselves: noted as links in `/dev`, which the kernel keeps in memory
//! exactly as long as it keeps the names of disks. The link's name has the kernel's count of the disk in it, so that it
//! never speaks of another disk that has the same name later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Disk, Disks, gone};
use crate::error::{Error, Result};
use crate::host::files;
use crate::host::linux::blocking;

/// The directory of the links, in `/dev`.
const DIRECTORY: &str = "fairlead";

/// A disk in its life: another one of that name has another sequence.
type Life = (String, u64);

impl Disks {
    /// Notes whose a disk is, for as long as the disk is there, and forgets what was noted of disks that are not there any
    /// more.
    ///
    /// # Errors
    /// `FailedPrecondition` where the kernel does not count disks (before Linux 5.15); where `/dev` cannot be written.
    pub async fn claim(&self, disk: &Disk, name: &str) -> Result<()> {
        let sequence = disk.sequence.ok_or_else(|| {
            Error::precondition(format!(
                "the kernel does not count its disks (Linux 5.15 does), so that {disk} cannot be told from another one \
                 that comes in its place later"
            ))
        })?;
        let (this, name, target) = (self.clone(), name.to_owned(), disk.name.clone());
        blocking(move || {
            let directory = this.claims_directory();
            std::fs::create_dir_all(&directory)
                .map_err(|error| Error::io(format!("make {}", directory.display()), error))?;
            this.forget_gone(&directory)?;
            let link = directory.join(format!("{name}@{sequence}"));
            match std::os::unix::fs::symlink(Path::new("..").join(&target), &link) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    Err(Error::io(format!("make the link {}", link.display()), error))
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Which of these disks are whose, as far as it was noted.
    ///
    /// # Errors
    /// Where `/dev` cannot be read.
    pub async fn claimed(&self, disks: &[Disk]) -> Result<BTreeMap<String, Disk>> {
        let directory = self.claims_directory();
        let noted = blocking(move || links(&directory)).await?;
        let of = |(name, sequence): &Life| {
            disks.iter().find(|disk| disk.name == *name && disk.sequence == Some(*sequence)).cloned()
        };
        Ok(noted.into_iter().filter_map(|(name, _, life)| Some((name, of(&life)?))).collect())
    }

    fn claims_directory(&self) -> PathBuf {
        self.dev.join(DIRECTORY)
    }

    fn forget_gone(&self, directory: &Path) -> Result<()> {
        for (_, link, (disk, sequence)) in links(directory)? {
            if self.disk(&disk)?.is_some_and(|disk| disk.sequence == Some(sequence)) {
                continue;
            }
            match std::fs::remove_file(&link) {
                Err(error) if !gone(&error) => {
                    return Err(Error::io(format!("remove the link {}", link.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// All links: whose, the link, and which disk it means.
fn links(directory: &Path) -> Result<Vec<(String, PathBuf, Life)>> {
    let mut found = Vec::new();
    for entry in files::names(directory)? {
        let link = directory.join(&entry);
        let target = match std::fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(Error::io(format!("read the link {}", link.display()), error)),
        };
        let parts = entry.rsplit_once('@').and_then(|(name, count)| Some((name, count.parse().ok()?)));
        let disk = target.file_name().and_then(|name| name.to_str());
        if let (Some((name, sequence)), Some(disk)) = (parts, disk) {
            found.push((name.to_owned(), link, (disk.to_owned(), sequence)));
        }
    }
    Ok(found)
}
