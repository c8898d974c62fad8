//! What is on a disk, as far as a glance shows it.

use super::{Disk, Disks};
use crate::error::Result;
use crate::host::{blank, device, superblock};

/// How much of the head and the tail is read. Every file system that the driver makes has its first superblock in it.
const LOOK: u64 = 128 << 10;

/// What a glance at a disk shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// The UUID of the file system on it, where that is one of those that the driver makes.
    pub uuid: Option<[u8; 16]>,
    /// Whether head and tail are zero. No proof that it is blank, only that it may be.
    pub empty: bool,
}

impl Disks {
    /// Reads what is on a disk, past the page cache.
    ///
    /// # Errors
    /// `Timeout` where it does not answer; `Unavailable` where it is gone; what the kernel says.
    pub async fn glance(&self, disk: &Disk) -> Result<Glance> {
        let (subject, found) = (format!("the disk {}", disk.name), disk.device());
        self.asker
            .ask(&subject, super::PATIENCE, move || {
                let file = device::open(&found, device::Open::Shared)?;
                let size = device::size(&file, &found.path)?;
                let uuid = superblock::uuid(&file, &found.path, size)?;
                let unit = device::BLOCK as u64;
                let whole = size / unit * unit;
                let mut empty = uuid.is_none() && whole > 0;
                for (from, to) in [(0, LOOK.min(whole)), (whole.saturating_sub(LOOK), whole)] {
                    if !empty {
                        break;
                    }
                    let length = usize::try_from(to - from).unwrap_or(device::BLOCK);
                    empty = blank::is_zero(&device::read(&file, &found.path, from, length)?);
                }
                Ok(Glance { uuid, empty })
            })
            .await
    }
}
