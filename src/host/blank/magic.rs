//! Headers that are recognised in a block that is not zero, so that a refusal can say what was found.
//!
//! Only words for a message: what is not recognised is refused as well.

/// A magic number: the place within a 4 KiB block (every multiple of `every`, plus `at`), the bytes, and what bears them.
struct Magic {
    every: usize,
    at: usize,
    bytes: &'static [u8],
    what: &'static str,
}

const fn magic(every: usize, at: usize, bytes: &'static [u8], what: &'static str) -> Magic {
    Magic { every, at, bytes, what }
}

/// Once in a block.
const ONCE: usize = 4096;

const MAGICS: [Magic; 21] = [
    magic(ONCE, 0, b"LUKS\xba\xbe", "a LUKS header"),
    magic(ONCE, 0, b"SKUL\xba\xbe", "a second LUKS2 header"),
    magic(512, 0, b"LABELONE", "an LVM label"),
    magic(512, 4, b" LVM2 x[5A%r0N*>", "LVM metadata"),
    magic(512, 0, b"XFSB", "an xfs superblock"),
    magic(512, 0, b"XAGF", "an xfs group header"),
    magic(512, 0, b"XAGI", "an xfs group header"),
    magic(512, 0, b"XAFL", "an xfs group header"),
    magic(ONCE, 64, b"_BHRfS_M", "a btrfs superblock"),
    magic(ONCE, 0, &0xa92b_4efc_u32.to_le_bytes(), "an md RAID superblock"),
    magic(ONCE, 0, &0xa92b_4efc_u32.to_be_bytes(), "an md RAID superblock"),
    magic(ONCE, 4086, b"SWAPSPACE2", "a swap header"),
    magic(ONCE, 4086, b"SWAP-SPACE", "a swap header"),
    magic(KIB, 0, &0x00ba_b10c_u64.to_le_bytes(), "a zfs uberblock"),
    magic(KIB, 0, &0x00ba_b10c_u64.to_be_bytes(), "a zfs uberblock"),
    magic(
        ONCE,
        24,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        "a bcache superblock",
    ),
    magic(ONCE, 1024, b"\x10\x20\xf5\xf2", "an f2fs superblock"),
    magic(ONCE, 0, b"bluestore block device", "a Ceph BlueStore label"),
    magic(512, 3, b"NTFS    ", "an NTFS boot sector"),
    magic(512, 3, b"EXFAT   ", "an exFAT boot sector"),
    magic(ONCE, 1, b"CD001", "an ISO 9660 descriptor"),
];

const KIB: usize = 1024;

/// Where in the block which header begins, if one is known. `offset` is the block's, `size` the device's.
pub(super) fn recognise(block: &[u8], offset: u64, size: u64) -> Option<(u64, &'static str)> {
    partitions(block, offset, size)
        .or_else(|| ext4(block, offset))
        .or_else(|| MAGICS.iter().find_map(|magic| find(block, magic).map(|at| (at, magic.what))))
        .or_else(|| boot_sector(block, offset))
}

fn find(block: &[u8], magic: &Magic) -> Option<u64> {
    let mut starts = (0..block.len()).step_by(magic.every);
    let begins =
        |start: &usize| block.get(start + magic.at..).is_some_and(|rest| rest.starts_with(magic.bytes));
    starts.find(begins).map(|start| start as u64)
}

/// GPT's header is in the second sector, its spare in the last one.
fn partitions(block: &[u8], offset: u64, size: u64) -> Option<(u64, &'static str)> {
    let at = find(block, &magic(512, 0, b"EFI PART", ""))?;
    let spare = offset + at >= size / 2;
    Some((at, if spare { "a spare GPT header" } else { "a GPT header" }))
}

/// ext2/3/4's superblock, by its magic number and two fields that have few values: two bytes alone prove nothing. The first
/// one begins at 1024; spares begin on a block.
fn ext4(block: &[u8], offset: u64) -> Option<(u64, &'static str)> {
    let plausible = |start: &usize| {
        let Some(superblock) = block.get(*start..*start + KIB) else { return false };
        let field = |at: usize| {
            superblock.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_le_bytes(*b))
        };
        superblock.get(0x38..0x3a) == Some(&[0x53, 0xef])
            && field(0x18).is_some_and(|shift| shift <= 6)
            && field(0x4c).is_some_and(|revision| revision <= 1)
    };
    let start = (0..block.len()).step_by(KIB).find(plausible)? as u64;
    let what = if offset + start == 1024 { "an ext4 superblock" } else { "a spare ext4 superblock" };
    Some((start, what))
}

fn boot_sector(block: &[u8], offset: u64) -> Option<(u64, &'static str)> {
    (offset == 0 && block.get(510..512) == Some(&[0x55, 0xaa]))
        .then_some((0, "a boot sector or partition table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 4096];
        block[at..at + bytes.len()].copy_from_slice(bytes);
        block
    }

    #[test]
    fn each_magic_is_found_at_each_of_its_places_and_nowhere_else() {
        for magic in &MAGICS {
            for start in (0..4096).step_by(magic.every) {
                let found = recognise(&with(start + magic.at, magic.bytes), 1 << 20, SIZE);
                assert_eq!(found.map(|(at, _)| at), Some(start as u64), "{}", magic.what);
            }
            if magic.at + magic.bytes.len() < 4090 {
                assert_eq!(
                    recognise(&with(magic.at + 7, magic.bytes), 1 << 20, SIZE),
                    None,
                    "{}",
                    magic.what
                );
            }
        }
    }

    #[test]
    fn first_and_spare_headers_are_told_apart() {
        let gpt = with(512, b"EFI PART");
        assert_eq!(recognise(&gpt, 0, SIZE), Some((512, "a GPT header")));
        let spare = with(3584, b"EFI PART");
        assert_eq!(recognise(&spare, SIZE - 4096, SIZE), Some((3584, "a spare GPT header")));
        let ext4 = with(1024 + 0x38, &[0x53, 0xef]);
        assert_eq!(recognise(&ext4, 0, SIZE), Some((1024, "an ext4 superblock")));
        assert_eq!(recognise(&ext4, 8 << 20, SIZE), Some((1024, "a spare ext4 superblock")));
        assert_eq!(
            recognise(&with(510, &[0x55, 0xaa]), 0, SIZE),
            Some((0, "a boot sector or partition table"))
        );
    }

    #[test]
    fn plain_data_is_not_called_a_header() {
        let mut not_ext4 = with(0x38, &[0x53, 0xef]);
        not_ext4[0x18] = 200;
        for block in [vec![0xff; 4096], vec![b'x'; 512], with(100, b"XFSB"), not_ext4, vec![1]] {
            assert_eq!(recognise(&block, 1 << 20, SIZE), None);
        }
    }
}
