//! Where a device is looked at before it may be called blank.

use std::collections::BTreeSet;

use crate::host::device::BLOCK;

/// One read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where, a multiple of 4 KiB.
    pub(super) offset: u64,
    /// How much; less than a block only at the very end.
    pub(super) length: usize,
}

/// The largest read.
pub(super) const LARGEST: usize = 128 << 10;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const UNIT: u64 = BLOCK as u64;

/// Read whole at the head: the first headers of everything, LVM's metadata, zfs' labels L0 and L1.
const HEAD: u64 = MIB;
/// Read whole at the tail: GPT's spare table, md 0.90 and 1.0, zfs' labels L2 and L3, vendor RAID.
const TAIL: u64 = MIB;
/// One sample in each of so many equal parts.
const STRATA: u64 = 512;

/// Every place to look at, in order and without overlap.
pub(super) fn all(size: u64) -> Vec<Place> {
    if size <= HEAD + TAIL {
        return chunks(0, size).collect();
    }
    // A tail that begins on a block; the device's end need not be on one.
    let tail = (size - TAIL) / UNIT * UNIT;
    let mut points = BTreeSet::new();
    let mut look = |offset: u64| {
        let block = offset / UNIT * UNIT;
        if block >= HEAD && block < tail {
            points.insert(block);
        }
    };
    fixed().for_each(&mut look);
    ext4(size, &mut look);
    xfs(size, &mut look);
    samples(size, &mut look);
    let middle = points.into_iter().map(|offset| Place { offset, length: BLOCK });
    chunks(0, HEAD).chain(middle).chain(chunks(tail, size)).collect()
}

fn chunks(from: u64, to: u64) -> impl Iterator<Item = Place> {
    let step = LARGEST as u64;
    (0..(to - from).div_ceil(step)).map(move |index| {
        let offset = from + index * step;
        // At most LARGEST, so it fits.
        Place { offset, length: usize::try_from(step.min(to - offset)).unwrap_or(LARGEST) }
    })
}

/// Places that depend on nothing: btrfs' mirrors, LUKS2's second headers (their distance is the header's size), and 1 MiB,
/// where a first partition or the data of LVM and md begin, so that a lost table does not hide what it led to.
fn fixed() -> impl Iterator<Item = u64> {
    [64 * MIB, 256 * GIB, 1 << 50, MIB, MIB + 64 * KIB, 2 * MIB, 4 * MIB, 128 * MIB, 256 * MIB].into_iter()
}

/// ext2/3/4 keep spare superblocks in block groups 1 and the powers of 3, 5 and 7 (`sparse_super`), or in 1 and the last
/// (`sparse_super2`). A group has as many blocks as one block has bits, at most 65528 (mke2fs(8), `-g`).
fn ext4(size: u64, look: &mut impl FnMut(u64)) {
    let plain = (0..=6).map(|shift| KIB << shift).map(|block| {
        let group = (8 * block).min(65_528) * block;
        // With 1 KiB blocks, block 0 belongs to the boot loader.
        (group, if block == KIB { KIB } else { 0 })
    });
    // `bigalloc` counts clusters of 16 blocks by default.
    let clustered = std::iter::once((8 * 4 * KIB * 64 * KIB, 0));
    for (group, first) in plain.chain(clustered) {
        let last = (size - 1) / group;
        let powers = [3_u64, 5, 7].into_iter().flat_map(|base| {
            std::iter::successors(Some(base), move |power| power.checked_mul(base))
                .take_while(move |power| *power <= last)
        });
        for index in powers.chain([1, last]).filter(|index| (1..=last).contains(index)) {
            look(index * group + first);
        }
    }
}

/// xfs keeps a superblock at the begin of every allocation group. mkfs.xfs makes 4 groups of a plain disk (2 of a very
/// small one) and groups of 1 TiB less one block of a large one, 8 to 32 of a striped one, and as many as the machine has
/// processors where it optimises for concurrency.
fn xfs(size: u64, look: &mut impl FnMut(u64)) {
    let blocks = size / UNIT;
    let largest = (TIB - 1) / UNIT;
    let mut group = |length: u64, count: u64| {
        (1..=count)
            .map(|index| index * length)
            .take_while(|start| *start < blocks)
            .for_each(|start| look(start * UNIT));
    };
    group(largest, u64::MAX / TIB);
    for count in [2, 4, 8, 16, 32] {
        for length in [blocks / count, blocks.div_ceil(count)] {
            if (1..=largest).contains(&length) {
                group(length, count);
            }
        }
    }
    for count in 2..=64 {
        for length in [blocks / count, blocks.div_ceil(count)] {
            if (1..=largest).contains(&length) {
                group(length, 1);
            }
        }
    }
    // Of a disk that has grown since: its first size was most likely a whole number of gibibytes, in 4 groups.
    group(256 * MIB / UNIT, 64);
}

/// One block in each stratum. The offsets are the same for the same size, so that a refusal can be shown again.
fn samples(size: u64, look: &mut impl FnMut(u64)) {
    let blocks = size / UNIT;
    for stratum in 0..STRATA {
        let at = |index: u64| {
            u64::try_from(u128::from(blocks) * u128::from(index) / u128::from(STRATA)).unwrap_or(0)
        };
        let (from, to) = (at(stratum), at(stratum + 1));
        if from < to {
            look((from + scatter(size ^ stratum.rotate_left(48)) % (to - from)) * UNIT);
        }
    }
}

/// Spreads numbers evenly (the finaliser of SplitMix64).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(size: u64, offset: u64) -> bool {
        all(size).iter().any(|place| (place.offset..place.offset + place.length as u64).contains(&offset))
    }

    #[test]
    fn places_are_in_order_without_overlap_and_within_the_device() {
        for size in [
            512,
            4096,
            4608,
            MIB,
            2 * MIB,
            2 * MIB + 512,
            3 * MIB,
            97 * MIB + 512,
            GIB,
            TIB + 512,
            16 * TIB,
            1 << 53,
        ] {
            let places = all(size);
            for pair in places.windows(2) {
                assert!(pair[0].offset + pair[0].length as u64 <= pair[1].offset, "{size}: {pair:?}");
            }
            let last = places.last().unwrap();
            assert_eq!(last.offset + last.length as u64, size);
            assert!(
                places.iter().all(|place| place.offset % UNIT == 0 && (1..=LARGEST).contains(&place.length))
            );
            assert!(size > 64 * TIB || places.len() < 1300, "{size}: {}", places.len());
        }
        assert!(all(0).is_empty());
    }

    #[test]
    fn spare_headers_are_looked_at() {
        let size = 16 * TIB;
        for offset in [
            128 * MIB,         // ext4, group 1 of 4 KiB blocks
            243 * 128 * MIB,   // group 3^5
            8 * MIB + KIB,     // 1 KiB blocks
            32 * MIB,          // 2 KiB blocks
            TIB - UNIT,        // xfs, group 1
            15 * (TIB - UNIT), // xfs, a late group
            64 * MIB,          // btrfs
            256 * GIB,         // btrfs
            4 * MIB,           // LUKS2
            size - 512,        // GPT
            size - 8 * KIB,    // md 1.0
            size - 512 * KIB,  // zfs L2
        ] {
            assert!(looked_at(size, offset), "{offset}");
        }
        for count in [4, 8, 32] {
            assert!((1..count).all(|index| looked_at(GIB, index * (GIB / count))), "{count}");
        }
    }

    #[test]
    fn every_stratum_is_sampled() {
        let size = TIB;
        let places = all(size);
        for stratum in 0..STRATA {
            let range = stratum * (size / STRATA)..(stratum + 1) * (size / STRATA);
            assert!(places.iter().any(|place| range.contains(&place.offset)), "{stratum}");
        }
    }
}
