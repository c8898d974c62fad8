//! Device-mapper's maps over disks: above all those that multipathd makes of several paths to one unit. Their UUIDs begin
//! with `mpath-` (multipath-tools: libmultipath/devmapper.h).

use super::{Disk, Disks, text};
use crate::error::{Error, Result};
use crate::host::files;
use crate::host::linux::blocking;

/// What the UUID of a multipath map begins with.
const MULTIPATH: &str = "mpath-";

/// What has a disk for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A multipath map, with its name and the disk that it is.
    Multipath {
        /// How multipath's tools call it.
        name: String,
        /// The map.
        map: Box<Disk>,
        /// The kernel's names of all disks that it is made of.
        parts: Vec<String>,
    },
    /// Anything else, by the kernel's name.
    Other(String),
}

impl Disks {
    /// A disk of any kind by the kernel's name; `None` where it is not there (any more).
    ///
    /// # Errors
    /// Where sysfs cannot be read.
    pub async fn named(&self, name: &str) -> Result<Option<Disk>> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || this.disk(&name)).await
    }

    /// What is made of a disk.
    ///
    /// # Errors
    /// Where sysfs cannot be read.
    pub async fn holders(&self, disk: &Disk) -> Result<Vec<Holder>> {
        let (this, name) = (self.clone(), disk.name.clone());
        blocking(move || {
            let directory = this.sys.join("block").join(&name).join("holders");
            let mut found = Vec::new();
            for holder in files::names(&directory)? {
                let at = this.sys.join("block").join(&holder);
                let uuid = text(&at.join("dm/uuid"))?.unwrap_or_default();
                if !uuid.starts_with(MULTIPATH) {
                    found.push(Holder::Other(holder));
                    continue;
                }
                let name = text(&at.join("dm/name"))?.unwrap_or_default();
                let map = this.disk(&holder)?.map(Box::new);
                let map = map.ok_or_else(|| Error::internal(format!("the map {holder} goes away")))?;
                let parts = files::names(&at.join("slaves"))?;
                found.push(Holder::Multipath { name, map, parts });
            }
            Ok(found)
        })
        .await
    }
}
