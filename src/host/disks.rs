//! The disks of this machine as sysfs shows them, found by what they are (Documentation/ABI of the kernel:
//! stable/sysfs-block, testing/sysfs-bus-scsi). Links that udev makes are not needed.

mod claims;
mod content;
mod links;
mod live;
mod maps;
mod scan;
mod slots;
mod vpd;

use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;

use super::ask::Asker;
use super::linux::blocking;
use crate::backend::Device;
use crate::error::{Error, Kind, Result};
use crate::volume::Bytes;

pub use content::Glance;
pub use maps::Holder;

/// How long a disk may take to tell its serial. A virtio disk is asked itself, in its queue behind all other requests.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a sysfs file has at most.
const MAX: u64 = 4096;

/// How a disk is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// Anything that Linux drives as SCSI.
    Scsi,
    /// Xen's paravirtual block device.
    Xen,
    /// Anything else.
    Other,
}

/// One thing that a disk says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// Where it says so: `serial`, `VPD 0x80`, `VPD 0x83`.
    pub source: &'static str,
    /// What it says; binary designators in lower-case hexadecimal.
    pub text: String,
}

/// A whole disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, such as `vdb`.
    pub name: String,
    /// Its node in `/dev`.
    pub path: PathBuf,
    /// Its device number.
    pub number: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The kernel's count of disks: another disk of the same name has another one. Since Linux 5.15.
    pub sequence: Option<u64>,
    /// How it is plugged in.
    pub bus: Bus,
    /// What it says of itself. A disk that does not answer has said nothing.
    pub identifiers: Vec<Identifier>,
    /// Why it could not be asked.
    pub silent: Option<String>,
    /// The state of a SCSI device where it is not `running`.
    pub fault: Option<String>,
    /// Whether the kernel sees partitions on it.
    pub partitions: bool,
}

impl Disk {
    /// The block device, as sysfs shows it.
    #[must_use]
    pub fn device(&self) -> Device {
        Device { path: self.path.clone(), number: self.number, size: Bytes::new(self.size) }
    }
}

/// Looks at disks.
#[derive(Clone, Debug)]
pub struct Disks {
    sys: PathBuf,
    dev: PathBuf,
    asker: Asker,
    /// What disks have said, by name and sequence: it never changes in a disk's life, and a disk that hangs later on must
    /// not keep the others from being found.
    said: Arc<Mutex<HashMap<(String, u64), String>>>,
}

impl Default for Disks {
    fn default() -> Self {
        Self::at(Path::new("/sys"), Path::new("/dev"))
    }
}

impl Disks {
    /// The disks that are shown at these places instead of `/sys` and `/dev`.
    #[must_use]
    pub fn at(sys: &Path, dev: &Path) -> Self {
        Self { sys: sys.to_owned(), dev: dev.to_owned(), asker: Asker::default(), said: Arc::default() }
    }

    /// Where sysfs is.
    #[must_use]
    pub fn sys(&self) -> &Path {
        &self.sys
    }

    /// All disks that have a device behind them (no loop devices, mappings, RAM disks), by name.
    ///
    /// # Errors
    /// Where sysfs cannot be read. One disk that cannot is left out where it went away meanwhile.
    pub async fn list(&self) -> Result<Vec<Disk>> {
        let this = self.clone();
        let mut disks = blocking(move || this.shown()).await?;
        for disk in disks.iter_mut().filter(|disk| disk.bus != Bus::Scsi) {
            match self.serial(disk).await {
                Ok(text) if text.is_empty() => {}
                Ok(text) => disk.identifiers.push(Identifier { source: "serial", text }),
                Err(error) => disk.silent = Some(error.message().to_owned()),
            }
        }
        Ok(disks)
    }

    fn shown(&self) -> Result<Vec<Disk>> {
        let directory = self.sys.join("block");
        let mut disks = Vec::new();
        for name in super::files::names(&directory)? {
            if directory.join(&name).join("device").exists() {
                disks.extend(self.disk(&name)?);
            }
        }
        disks.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
        Ok(disks)
    }

    /// A disk by the kernel's name; `None` where it is not there (any more).
    fn disk(&self, name: &str) -> Result<Option<Disk>> {
        let at = self.sys.join("block").join(name);
        let (Some(number), Some(sectors)) = (text(&at.join("dev"))?, text(&at.join("size"))?) else {
            return Ok(None);
        };
        let bad = |what: &str, found: &str| {
            Error::internal(format!("{} has a {what} that cannot be read: {found:?}", at.display()))
        };
        let parsed = number.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (major, minor) = parsed.ok_or_else(|| bad("number", &number))?;
        let sectors: u64 = sectors.parse().map_err(|_| bad("size", &sectors))?;
        let bus = self.bus(name);
        let mut identifiers = Vec::new();
        let mut fault = None;
        if bus == Bus::Scsi {
            for (page, file) in [(0x80, "device/vpd_pg80"), (0x83, "device/vpd_pg83")] {
                identifiers.extend(vpd::identifiers(page, &bytes(&at.join(file))?.unwrap_or_default()));
            }
            fault = text(&at.join("device/state"))?.filter(|state| state != "running");
        }
        Ok(Some(Disk {
            name: name.to_owned(),
            // In sysfs '!' stands for '/'.
            path: self.dev.join(name.replace('!', "/")),
            number: libc::makedev(major, minor),
            size: sectors * 512,
            sequence: text(&at.join("diskseq"))?.and_then(|found| found.parse().ok()),
            bus,
            identifiers,
            silent: None,
            fault,
            partitions: partitioned(&at)?,
        }))
    }

    fn bus(&self, name: &str) -> Bus {
        let device = self.sys.join("block").join(name).join("device");
        let subsystem = std::fs::canonicalize(device.join("subsystem")).unwrap_or_default();
        match subsystem.file_name().and_then(|name| name.to_str()) {
            Some("virtio") => Bus::Virtio,
            Some("scsi") => Bus::Scsi,
            Some("xen") => Bus::Xen,
            _ => Bus::Other,
        }
    }

    /// The number that Xen's host gave a disk of its own (`vbd-51728`; 51728 stands for the first data disk, `xvdb`); `None` where it
    /// is none of Xen's.
    ///
    /// # Errors
    /// Where sysfs cannot be asked.
    pub async fn xen_number(&self, disk: &Disk) -> Result<Option<u32>> {
        if disk.bus != Bus::Xen {
            return Ok(None);
        }
        let device = self.sys.join("block").join(&disk.name).join("device");
        blocking(move || {
            let shown = match std::fs::canonicalize(&device) {
                Err(error) if gone(&error) => return Ok(None),
                shown => shown.map_err(|error| Error::io(format!("follow {}", device.display()), error))?,
            };
            let name = shown.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            Ok(name.strip_prefix("vbd-").and_then(|number| number.parse().ok()))
        })
        .await
    }

    async fn serial(&self, disk: &Disk) -> Result<String> {
        let key = disk.sequence.map(|sequence| (disk.name.clone(), sequence));
        let known = key.as_ref().and_then(|key| lock(&self.said).get(key).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let file = self.sys.join("block").join(&disk.name).join("serial");
        // The subject counts threads that hang: another disk of this name is another subject.
        let subject = format!("the disk {} (sequence {})", disk.name, disk.sequence.unwrap_or_default());
        let found = self.asker.ask(&subject, PATIENCE, move || text(&file)).await?;
        let serial = found.unwrap_or_default();
        // A virtio disk that is being unplugged tells an empty one, which must not last.
        if let Some(key) = key.filter(|_| !serial.is_empty()) {
            let mut said = lock(&self.said);
            said.retain(|(name, _), _| *name != key.0);
            said.insert(key, serial.clone());
        }
        Ok(serial)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that panics runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a disk has partitions: directories in its own.
fn partitioned(at: &Path) -> Result<bool> {
    Ok(super::files::names(at)?.iter().any(|name| at.join(name).join("partition").exists()))
}

/// The bytes of a sysfs file; `None` where it, or its device, is not there.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(Error::io(format!("read {}", path.display()), error)),
    }
}

/// Whether a file in sysfs, or the device behind it, is not there (any more).
pub(super) fn gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::ENOTDIR | libc::EINVAL))
}

/// The text of a sysfs file, without what surrounds it.
fn text(path: &Path) -> Result<Option<String>> {
    let found = bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(found.map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()))
}

/// The number of a device node; `None` where nothing is there.
fn node_number(path: &Path) -> Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::metadata(path) {
        Ok(data) if data.file_type().is_block_device() => Ok(Some(data.rdev())),
        Ok(_) => {
            Err(Error::unknown(Kind::FailedPrecondition, format!("{} is no block device", path.display())))
        }
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(Error::io(format!("look at {}", path.display()), error)),
    }
}

#[cfg(test)]
mod tests;
