//! Asking the kernel to look at its buses again, where an event was lost or is not sent at all.

use std::path::Path;

use super::{Bus, Disk, Disks, text};
use crate::error::{Error, Kind, Result};
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

    /// Lets the kernel forget a SCSI disk of a hypervisor's that nobody has exclusively. Nothing is written to it. The
    /// caller must know that another disk has its place, or none: who has it open without claiming it, as a raw device in
    /// a pod, loses it too.
    ///
    /// # Errors
    /// `FailedPrecondition` where its host is none of a hypervisor's; `Busy` where it is in use; where sysfs refuses.
    pub async fn forget(&self, disk: &Disk) -> Result<()> {
        if disk.bus == Bus::Scsi {
            let (this, found) = (self.clone(), disk.clone());
            blocking(move || this.check_host(&found)).await?;
            self.free(disk).await?;
        }
        self.order(disk, "delete").await
    }

    /// Disks of other hosts (iSCSI, Fibre Channel) belong to another driver.
    fn check_host(&self, disk: &Disk) -> Result<()> {
        let device = self.sys.join("block").join(&disk.name).join("device");
        let place = std::fs::canonicalize(&device)
            .map_err(|error| Error::io(format!("follow {}", device.display()), error))?;
        // .../host2/target2:0:0/2:0:0:0
        let host = place
            .iter()
            .rev()
            .filter_map(|part| part.to_str())
            .find(|part| part.strip_prefix("host").is_some_and(|number| number.parse::<u32>().is_ok()));
        let driver = match host {
            Some(host) => text(&self.sys.join("class/scsi_host").join(host).join("proc_name"))?,
            None => None,
        }
        .unwrap_or_default();
        if HOSTS.contains(&driver.as_str()) {
            return Ok(());
        }
        Err(Error::unknown(
            Kind::FailedPrecondition,
            format!("the disk {} is on a SCSI host of the driver {driver:?}: it is not let go of", disk.name),
        ))
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
