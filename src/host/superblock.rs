//! What a file system says of itself in its superblock alone: how large it believes its device to be, and its UUID.

use std::fs::File;
use std::path::Path;

use super::device;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::volume::FsType;

/// Where the superblock lies, and how much of it is read.
const fn place(fs: FsType) -> u64 {
    match fs {
        FsType::Ext4 | FsType::Xfs => 0,
        FsType::Btrfs => 64 << 10,
    }
}

/// Whether the file system leaves at least one whole block of its device unused.
///
/// A remainder that the file system cannot use (less than an allocation group can live in) counts too: growing is then a
/// no-op of the tool.
///
/// # Errors
/// Where the superblock cannot be read or is not there.
pub(super) fn needs_growth(device: &Device, fs: FsType) -> Result<bool> {
    let file = device::open(device, device::Open::Shared)?;
    let size = device::size(&file, &device.path)?;
    let block = device::read(&file, &device.path, place(fs), device::BLOCK)?;
    let (used, unit) = extent(&block, fs).ok_or_else(|| {
        Error::precondition(format!("{} bears no {fs} superblock that can be read", device.path.display()))
    })?;
    Ok(used.checked_add(unit).is_some_and(|more| more <= size))
}

/// The UUID of the file system on a device, by the kinds that the driver makes; `None` where there is none of these, or
/// more than one, so that it cannot be told which one counts.
///
/// # Errors
/// Where the device cannot be read.
pub(super) fn uuid(file: &File, path: &Path, size: u64) -> Result<Option<[u8; 16]>> {
    let mut found = None;
    for fs in FsType::ALL {
        if size < place(fs) + device::BLOCK as u64 {
            continue;
        }
        let block = device::read(file, path, place(fs), device::BLOCK)?;
        match (uuid_in(&block, fs), found) {
            (Some(_), Some(_)) => return Ok(None),
            (Some(uuid), None) => found = Some(uuid),
            (None, _) => {}
        }
    }
    Ok(found)
}

fn uuid_in(block: &[u8], fs: FsType) -> Option<[u8; 16]> {
    let magic: (usize, &[u8]) = match fs {
        FsType::Ext4 => (1024 + 0x38, &[0x53, 0xef]),
        FsType::Xfs => (0, b"XFSB"),
        FsType::Btrfs => (64, b"_BHRfS_M"),
    };
    let at = match fs {
        FsType::Ext4 => 1024 + 0x68,
        FsType::Xfs | FsType::Btrfs => 32,
    };
    let is = block.get(magic.0..).is_some_and(|rest| rest.starts_with(magic.1));
    is.then(|| bytes(block, at))?
}

/// Bytes that the file system covers, and its block size.
fn extent(block: &[u8], fs: FsType) -> Option<(u64, u64)> {
    match fs {
        FsType::Ext4 => ext4(block.get(1024..)?),
        FsType::Xfs => {
            let magic = block.get(..4)? == b"XFSB";
            let unit = u64::from(u32::from_be_bytes(bytes(block, 4)?));
            let count = u64::from_be_bytes(bytes(block, 8)?);
            magic.then_some((count.checked_mul(unit)?, unit))
        }
        FsType::Btrfs => {
            let magic = block.get(64..72)? == b"_BHRfS_M";
            let unit = u64::from(u32::from_le_bytes(bytes(block, 0x90)?));
            // `total_bytes` of the `dev_item` at 0xc9: of this device, not of the whole file system.
            magic.then_some((u64::from_le_bytes(bytes(block, 0xc9 + 8)?), unit))
        }
    }
}

fn ext4(superblock: &[u8]) -> Option<(u64, u64)> {
    const INCOMPAT_64BIT: u32 = 0x80;
    if u16::from_le_bytes(bytes(superblock, 0x38)?) != 0xef53 {
        return None;
    }
    let unit = 1024_u64
        .checked_shl(u32::from_le_bytes(bytes(superblock, 0x18)?))
        .filter(|unit| *unit <= 64 << 10)?;
    let wide = u32::from_le_bytes(bytes(superblock, 0x60)?) & INCOMPAT_64BIT != 0;
    let high = if wide { u64::from(u32::from_le_bytes(bytes(superblock, 0x150)?)) } else { 0 };
    let count = high << 32 | u64::from(u32::from_le_bytes(bytes(superblock, 4)?));
    Some((count.checked_mul(unit)?, unit))
}

fn bytes<const N: usize>(block: &[u8], at: usize) -> Option<[u8; N]> {
    block.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_read_in_each_byte_order_and_width() {
        let mut ext4 = vec![0; 4096];
        ext4[1024 + 4..1024 + 8].copy_from_slice(&5_u32.to_le_bytes());
        ext4[1024 + 0x18] = 2;
        ext4[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        ext4[1024 + 0x150] = 1;
        assert_eq!(extent(&ext4, FsType::Ext4), Some((5 * 4096, 4096)));
        ext4[1024 + 0x60] = 0x80;
        assert_eq!(extent(&ext4, FsType::Ext4), Some((((1 << 32) + 5) * 4096, 4096)));
        ext4[1024 + 0x18] = 99;
        assert_eq!(extent(&ext4, FsType::Ext4), None);

        let mut xfs = vec![0; 4096];
        xfs[..4].copy_from_slice(b"XFSB");
        xfs[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        xfs[8..16].copy_from_slice(&7_u64.to_be_bytes());
        assert_eq!(extent(&xfs, FsType::Xfs), Some((7 * 4096, 4096)));
        for fs in FsType::ALL {
            assert_eq!(extent(&[0; 4096], fs), None, "{fs}");
            assert_eq!(extent(&[], fs), None, "{fs}");
        }
    }
}
