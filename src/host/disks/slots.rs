//! Places where another disk could be plugged in, as the kernel sees them.

use super::{Disks, text};
use crate::error::Result;
use crate::host::files;
use crate::host::linux::blocking;

impl Disks {
    /// How many PCI slots could take a device while the machine runs and hold none: each disk of virtio-blk needs one.
    /// `None` where the kernel knows of no such slot, as on machines without hot-plug of PCI, which then tells nothing.
    ///
    /// # Errors
    /// Where sysfs cannot be read.
    pub async fn free_slots(&self) -> Result<Option<u32>> {
        let this = self.clone();
        blocking(move || {
            let directory = this.sys.join("bus/pci/slots");
            let (mut slots, mut free) = (0, 0);
            for name in files::names(&directory)? {
                // Slots that the firmware only names have no such file.
                match text(&directory.join(name).join("adapter"))?.as_deref() {
                    Some("0") => (slots, free) = (slots + 1, free + 1),
                    Some(_) => slots += 1,
                    None => {}
                }
            }
            Ok((slots > 0).then_some(free))
        })
        .await
    }
}
