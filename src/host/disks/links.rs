//! Disks by links in a directory, such as udev's /dev/disk/by-id: only a claim of whoever made the link.

use std::path::Path;

use super::{Bus, Disk, Disks, node_number, text};
use crate::error::{Error, Result};
use crate::host::linux::blocking;
use crate::volume::Bytes;

impl Disks {
    /// The disk that the link leads to; `None` where there is no link, or it leads to nothing. Other than in
    /// [`Disks::list`], it may be of any kind.
    ///
    /// # Errors
    /// Where it leads to something that is no block device of this machine.
    pub async fn linked(&self, link: &Path) -> Result<Option<Disk>> {
        let (this, link) = (self.clone(), link.to_owned());
        let Some(mut disk) = blocking(move || this.follow(&link)).await? else { return Ok(None) };
        if disk.bus != Bus::Scsi {
            // What has no serial cannot contradict the link; what hangs cannot either, and shows when it is opened.
            match self.serial(&disk).await {
                Ok(text) if text.is_empty() => {}
                Ok(text) => disk.identifiers.push(super::Identifier { source: "serial", text }),
                Err(error) => disk.silent = Some(error.message().to_owned()),
            }
        }
        Ok(Some(disk))
    }

    fn follow(&self, link: &Path) -> Result<Option<Disk>> {
        let Some(number) = node_number(link)? else { return Ok(None) };
        let path = match std::fs::canonicalize(link) {
            Ok(path) => path,
            Err(error) if super::gone(&error) => return Ok(None),
            Err(error) => return Err(Error::io(format!("follow {}", link.display()), error)),
        };
        let numbers = crate::host::device::numbers(number);
        let shown = self.sys.join("dev/block").join(&numbers);
        let shown = std::fs::canonicalize(&shown)
            .map_err(|error| Error::io(format!("find {} ({numbers}) in sysfs", path.display()), error))?;
        let name = shown.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if text(&shown.join("partition"))?.is_some() {
            return Err(Error::precondition(format!(
                "{} leads to a partition, {}: a volume is a whole disk",
                link.display(),
                path.display()
            )));
        }
        Ok(self.disk(name)?.filter(|disk| disk.number == number).map(|disk| Disk { path, ..disk }))
    }
}

/// For messages: name, size and what it says of itself.
impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.name, Bytes::new(self.size))?;
        match (&self.silent, self.identifiers.as_slice()) {
            (Some(_), _) => f.write_str(", does not answer")?,
            (None, []) => f.write_str(", tells no serial")?,
            (None, identifiers) => {
                identifiers.iter().try_for_each(|one| write!(f, ", {} {:?}", one.source, one.text))?;
            }
        }
        if let Some(fault) = &self.fault {
            write!(f, ", {fault}")?;
        }
        f.write_str(")")
    }
}
