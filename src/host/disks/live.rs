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
/// A SCSI status: there is sense data.
const CHECK_CONDITION: u8 = 2;

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
    /// `Unavailable` where it, or its node in `/dev`, is not there (any more); `Timeout` where it does not answer;
    /// `NotFound` where the target of a SCSI disk says that it has no such disk; `Internal` where the disk does not say
    /// all that it said to the kernel.
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
    said(disk, [vpd::SERIAL, vpd::DESIGNATORS].map(|page| (page, inquiry(file, page))))
}

/// What the answers say, all of it: half an answer would look as if the disk had become another one.
fn said(disk: &Disk, answers: [(u8, io::Result<Vec<u8>>); 2]) -> Result<Vec<Identifier>> {
    let asked = || format!("ask {} what it is (SCSI INQUIRY)", disk.path.display());
    let mut found = Vec::new();
    let mut failed = None;
    for (page, answer) in answers {
        match answer.and_then(|bytes| vpd::check(page, &bytes).map(|()| bytes)) {
            Ok(bytes) => found.extend(vpd::identifiers(page, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::unknown(Kind::NotFound, format!("the disk {} is gone", disk.name))
                    .caused_by(error));
            }
            Err(error) if disk.identifiers.iter().any(|one| one.source == vpd::source(page)) => {
                return Err(Error::io(asked(), error));
            }
            // A disk need not have both pages.
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(Error::io(asked(), error)),
        _ => Ok(found),
    }
}

/// One vital product data page (SPC-5: 6.7), whole if the disk sends it.
fn inquiry(file: &File, page: u8) -> io::Result<Vec<u8>> {
    // As the kernel does it: old disks know allocation lengths of one byte alone, and few pages need more.
    let answer = inquiry_of(file, page, 252)?;
    match vpd::length(&answer).and_then(|all| u16::try_from(all).ok()) {
        Some(all) if usize::from(all) > answer.len() => inquiry_of(file, page, all),
        _ => Ok(answer),
    }
}

/// At most so many bytes of a page.
fn inquiry_of(file: &File, page: u8, length: u16) -> io::Result<Vec<u8>> {
    let mut answer = vec![0_u8; usize::from(length)];
    let mut sense = [0_u8; 32];
    let [high, low] = length.to_be_bytes();
    let block = [0x12, 1, page, high, low, 0];
    let mut command = Command {
        interface_id: i32::from(b'S'),
        dxfer_direction: -3,
        cmd_len: 6,
        mx_sb_len: 32,
        iovec_count: 0,
        dxfer_len: length.into(),
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
    if command.host_status == 0 && command.status == CHECK_CONDITION && unsupported(&sense) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the target has no such logical unit"));
    }
    if command.status != 0 || command.host_status != 0 {
        return Err(io::Error::other(format!(
            "status {:#x} of the disk, {:#x} of its host",
            command.status, command.host_status
        )));
    }
    // What did not come is no zeros.
    answer.truncate(answer.len().saturating_sub(usize::try_from(command.resid).unwrap_or_default()));
    Ok(answer)
}

/// Whether sense data says LOGICAL UNIT NOT SUPPORTED (SPC-5: 4.4, in its descriptor and its fixed format).
fn unsupported(sense: &[u8; 32]) -> bool {
    const ILLEGAL_REQUEST: u8 = 5;
    let (key, code) = match sense[0] & 0x7f {
        0x72 => (sense[1], sense[2]),
        0x70 => (sense[2], sense[12]),
        _ => return false,
    };
    key & 0x0f == ILLEGAL_REQUEST && code == 0x25
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIAL: &[u8] = b"\0\x80\0\x24cb49b381-9012-40cb-b8ee-80c19a4801b5";
    const NAA: &[u8] = b"\0\x83\0\x0c\x01\x03\0\x08\x60\x01\x02\x03\x04\x05\x06\x07";

    /// A disk of which the kernel knows these pages.
    fn disk(pages: &[(u8, &[u8])]) -> Disk {
        Disk {
            name: "sda".into(),
            path: "/dev/sda".into(),
            number: 0,
            size: 0,
            sequence: None,
            bus: Bus::Scsi,
            identifiers: pages.iter().flat_map(|(page, bytes)| vpd::identifiers(*page, bytes)).collect(),
            silent: None,
            fault: None,
            partitions: false,
        }
    }

    fn answers(serial: io::Result<&[u8]>, designators: io::Result<&[u8]>) -> [(u8, io::Result<Vec<u8>>); 2] {
        [(vpd::SERIAL, serial.map(<[u8]>::to_vec)), (vpd::DESIGNATORS, designators.map(<[u8]>::to_vec))]
    }

    fn failed() -> io::Result<&'static [u8]> {
        Err(io::Error::other("status 0x2"))
    }

    #[test]
    fn half_an_answer_is_none() {
        let both = disk(&[(vpd::SERIAL, SERIAL), (vpd::DESIGNATORS, NAA)]);
        assert_eq!(both.identifiers.len(), 2);
        assert_eq!(said(&both, answers(Ok(SERIAL), Ok(NAA))).unwrap(), both.identifiers);
        for (serial, designators) in [
            (Ok(SERIAL), failed()),
            (failed(), Ok(NAA)),
            (failed(), failed()),
            (Ok(&SERIAL[..30]), Ok(NAA)),
            (Ok(SERIAL), Ok(&NAA[..10])),
            (Ok(SERIAL), Ok(&[][..])),
        ] {
            assert_eq!(said(&both, answers(serial, designators)).unwrap_err().kind(), Kind::Internal);
        }
        // What the kernel never had may be missing, but one page must be there.
        let one = disk(&[(vpd::SERIAL, SERIAL)]);
        assert_eq!(said(&one, answers(Ok(SERIAL), failed())).unwrap(), one.identifiers);
        assert_eq!(said(&disk(&[]), answers(failed(), failed())).unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn a_unit_that_the_target_does_not_have_is_gone() {
        let gone = said(&disk(&[(vpd::SERIAL, SERIAL)]), answers(Ok(&[0x7f, 0x80, 0, 0][..]), failed()));
        assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
        let sense = |bytes: &[(usize, u8)]| {
            let mut sense = [0; 32];
            bytes.iter().for_each(|(at, byte)| sense[*at] = *byte);
            sense
        };
        assert!(unsupported(&sense(&[(0, 0x70), (2, 5), (12, 0x25)])));
        assert!(unsupported(&sense(&[(0, 0x72), (1, 5), (2, 0x25)])));
        // No such page; a unit that attends to itself; a deferred error; nothing at all.
        for other in [
            &[(0, 0x70), (2, 5), (12, 0x24)][..],
            &[(0, 0x70), (2, 6), (12, 0x29)],
            &[(0, 0x71), (2, 5), (12, 0x25)],
            &[],
        ] {
            assert!(!unsupported(&sense(other)), "{other:?}");
        }
    }
}
