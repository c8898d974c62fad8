//! What an open disk itself says and does, as against what the kernel remembers of it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc;

use super::{Bus, Disk, Disks, Identifier, vpd};
use crate::backend::Device;
use crate::error::{Error, Kind, Result};
use crate::host::device::{self, Open};
use crate::host::labelled;
use crate::volume::Bytes;

/// How long a disk may take to be opened and to answer a read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what was written may take to reach the storage.
const FLUSH: Duration = Duration::from_secs(60);
/// For one SCSI command, in milliseconds.
const COMMAND: u32 = 5000;

/// `struct sg_io_hdr` of scsi/sg.h.
#[repr(C)]
struct Command {
    interface_id: libc::c_int,
    dxfer_direction: libc::c_int,
    cmd_len: u8,
    mx_sb_len: u8,
    iovec_count: u16,
    dxfer_len: u32,
    dxferp: *mut libc::c_void,
    cmdp: *const u8,
    sbp: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: libc::c_int,
    usr_ptr: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sb_len_wr: u8,
    host_status: u16,
    driver_status: u16,
    resid: libc::c_int,
    duration: u32,
    info: u32,
}

mod call {
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::Command);
}

impl Disks {
    /// Opens the disk and tells the device as it is then, and what it says of itself while it is open. A SCSI disk is
    /// asked anew: another may have taken its place unnoticed.
    ///
    /// # Errors
    /// `Unavailable` where it, or its node in `/dev`, is not there (any more); `Timeout` where it does not answer.
    pub async fn prove(&self, disk: &Disk) -> Result<(Device, Vec<Identifier>)> {
        self.confirm(disk, true).await
    }

    /// The same without asking what it says of itself: there are disks that say nothing, and answer no such question.
    ///
    /// # Errors
    /// As [`Disks::prove`].
    pub async fn prove_there(&self, disk: &Disk) -> Result<Device> {
        Ok(self.confirm(disk, false).await?.0)
    }

    async fn confirm(&self, disk: &Disk, ask: bool) -> Result<(Device, Vec<Identifier>)> {
        let (this, found) = (self.clone(), disk.clone());
        self.asker
            .ask(&format!("the disk {}", disk.name), PATIENCE, move || {
                if !found.path.exists() {
                    return Err(Error::unknown(
                        Kind::Unavailable,
                        format!(
                            "sysfs shows the disk {}, but {} is not there: this process needs the /dev of the machine",
                            found.name,
                            found.path.display()
                        ),
                    ));
                }
                let expected = device::describe(&found.path)?;
                let file = device::open(&expected, Open::Shared)?;
                let size = device::size(&file, &found.path)?;
                // What has this name now, with the disk held open.
                let now = this.disk(&found.name)?;
                let same = now.as_ref().is_some_and(|now| {
                    now.number == expected.number && now.number == found.number && now.sequence == found.sequence
                });
                if !same {
                    return Err(Error::unknown(
                        Kind::Unavailable,
                        format!("the disk {} went away while it was looked at", found.name),
                    ));
                }
                let identifiers = match found.bus {
                    Bus::Scsi if ask => inquire(&file, &found)?,
                    _ => found.identifiers,
                };
                Ok((Device { size: Bytes::new(size), ..expected }, identifiers))
            })
            .await
    }

    /// Proves that nobody has the disk exclusively (a mount, a mapping), and that what was written to it is on the storage.
    /// Drops what the page cache holds of it.
    ///
    /// # Errors
    /// `Busy` where somebody has it; `Unavailable` where it is gone; `Timeout` where it does not answer; what the kernel
    /// says where a write failed.
    pub async fn settle(&self, device: &Device) -> Result<()> {
        let (subject, device) = (format!("the flush of {}", device.path.display()), device.clone());
        self.asker
            .ask(&subject, FLUSH, move || {
                let file = device::open(&device, Open::Exclusive)?;
                file.sync_all()
                    .map_err(|error| Error::io(format!("flush {}", device.path.display()), error))?;
                device::drop_cache(&file, &device.path)
            })
            .await
    }

    /// A file of the file system on the disk; `None` where that does not bear the label (ISO 9660 and FAT are known). The
    /// disk is not mounted anywhere for it.
    ///
    /// # Errors
    /// Where the disk cannot be read, its file system cannot be mounted, or the file is not there.
    pub async fn read_labelled(
        &self,
        disk: &Disk,
        label: &'static str,
        path: &'static str,
    ) -> Result<Option<Vec<u8>>> {
        let device = disk.device();
        let read = move || labelled::read(&device, label, std::path::Path::new(path));
        self.asker.ask(&format!("the disk {}", disk.name), PATIENCE, read).await
    }

    /// Makes the kernel refuse writes to the disk.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub async fn seal(&self, device: &Device) -> Result<()> {
        let (subject, device) = (format!("the disk {}", device.path.display()), device.clone());
        self.asker.ask(&subject, PATIENCE, move || device::set_readonly(&device, true)).await
    }

    /// Shows that the disk answers reads.
    ///
    /// # Errors
    /// `Timeout`, or what the kernel says.
    pub async fn answers(&self, device: &Device) -> Result<()> {
        let (subject, device) = (format!("the disk {}", device.path.display()), device.clone());
        self.asker
            .ask(&subject, PATIENCE, move || {
                let file = device::open(&device, Open::Shared)?;
                device::read(&file, &device.path, 0, device::BLOCK).map(drop)
            })
            .await
    }
}

/// What a SCSI disk says of itself now.
fn inquire(file: &File, disk: &Disk) -> Result<Vec<Identifier>> {
    let mut found = Vec::new();
    let mut failed = None;
    for page in [vpd::SERIAL, vpd::DESIGNATORS] {
        match inquiry(file, page) {
            Ok(bytes) => found.extend(vpd::identifiers(page, &bytes)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        // A disk need not have both pages.
        Some(error) if found.is_empty() => {
            Err(Error::io(format!("ask {} what it is (SCSI INQUIRY)", disk.path.display()), error))
        }
        _ => Ok(found),
    }
}

/// One vital product data page (SPC-5: 6.7).
fn inquiry(file: &File, page: u8) -> io::Result<Vec<u8>> {
    let mut answer = vec![0_u8; 252];
    let mut sense = [0_u8; 32];
    let block = [0x12, 1, page, 0, 252, 0];
    let mut command = Command {
        interface_id: i32::from(b'S'),
        dxfer_direction: -3,
        cmd_len: 6,
        mx_sb_len: 32,
        iovec_count: 0,
        dxfer_len: 252,
        dxferp: answer.as_mut_ptr().cast(),
        cmdp: block.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: COMMAND,
        flags: 0,
        pack_id: 0,
        usr_ptr: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the descriptor is open; command, answer and sense live until the call returns and have the lengths given.
    unsafe { call::sg_io(file.as_raw_fd(), &raw mut command) }.map_err(io::Error::from)?;
    if command.status != 0 || command.host_status != 0 {
        return Err(io::Error::other(format!(
            "status {:#x} of the disk, {:#x} of its host",
            command.status, command.host_status
        )));
    }
    Ok(answer)
}
