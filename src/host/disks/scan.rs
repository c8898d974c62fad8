//! Asking the kernel to look at its buses again, where an event was lost or is not sent at all.

use std::path::Path;

use super::{Bus, Disk, Disks, text};
use crate::error::{Error, Result};
use crate::host::linux::blocking;
use crate::host::{device, files};

/// The SCSI hosts of hypervisors (`proc_name` of the driver). Others may be slow to scan, or find what is not meant.
const HOSTS: [&str; 8] =
    ["virtio_scsi", "vmw_pvscsi", "mptspi", "mptsas", "sym53c8xx", "megaraid_sas", "storvsc", "xen-scsi"];

impl Disks {
    /// Lets the hypervisor's SCSI hosts look for new disks. Tells how many there are.
    ///
    /// # Errors
    /// Where sysfs refuses: it may be mounted read-only.
    pub async fn scan(&self) -> Result<usize> {
        let this = self.clone();
        blocking(move || {
            let directory = this.sys.join("class/scsi_host");
            let mut scanned = 0;
            for name in files::names(&directory)? {
                let host = directory.join(&name);
                let driver = text(&host.join("proc_name"))?.unwrap_or_default();
                if HOSTS.contains(&driver.as_str()) {
                    write(&host.join("scan"), "- - -")?;
                    scanned += 1;
                }
            }
            Ok(scanned)
        })
        .await
    }

    /// Lets the kernel read a disk's size and identity again. Only SCSI needs it, others tell by themselves.
    ///
    /// # Errors
    /// Where sysfs refuses.
    pub async fn rescan(&self, disk: &Disk) -> Result<()> {
        self.order(disk, "rescan").await
    }

    /// Shows that nobody has the disk, or a part of it, exclusively. Nothing is written to it.
    ///
    /// # Errors
    /// `Busy` where somebody has.
    pub async fn free(&self, disk: &Disk) -> Result<()> {
        let (subject, device) = (format!("the disk {}", disk.name), disk.device());
        let free = move || device::open(&device, device::Open::Exclusive).map(drop);
        self.asker.ask(&subject, super::PATIENCE, free).await
    }

    /// Lets the kernel forget a SCSI disk that nobody has exclusively. Nothing is written to it: another disk may have taken
    /// its place.
    ///
    /// # Errors
    /// `Busy` where it is in use; where sysfs refuses.
    pub async fn forget(&self, disk: &Disk) -> Result<()> {
        if disk.bus == Bus::Scsi {
            self.free(disk).await?;
        }
        self.order(disk, "delete").await
    }

    async fn order(&self, disk: &Disk, what: &'static str) -> Result<()> {
        if disk.bus != Bus::Scsi {
            return Ok(());
        }
        let file = self.sys.join("block").join(&disk.name).join("device").join(what);
        self.asker.ask(&format!("the disk {}", disk.name), super::PATIENCE, move || write(&file, "1")).await
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    match std::fs::OpenOptions::new().write(true).open(path).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(text.as_bytes())
    }) {
        Err(error) if !super::gone(&error) => Err(Error::io(format!("write {}", path.display()), error)),
        // It went away: the next look shows that.
        _ => Ok(()),
    }
}
