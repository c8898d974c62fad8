use std::os::unix::fs::FileExt;

use super::*;
use crate::error::Kind;

const GIB: u64 = 1 << 30;

fn image(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    file
}

fn refused(file: &File, size: u64) -> String {
    let error = examine(file, size).judge(None).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, crate::error::Outcome::Refused));
    error.to_string()
}

#[test]
fn zeros_are_blank() {
    for size in [512, 4096, 1 << 20, (3 << 20) + 512, GIB, 15 << 40] {
        examine(&image(size), size).judge(None).unwrap();
    }
}

#[test]
fn one_byte_at_head_or_tail_is_found_with_its_offset() {
    let size = GIB + 512;
    for offset in [0, 5000, (1 << 20) - 1, size - (1 << 20), size - 512, size - 1] {
        let file = image(size);
        file.write_all_at(&[1], offset).unwrap();
        let message = refused(&file, size);
        assert!(message.contains(&format!("non-zero data at offset {offset}")), "{message}");
    }
}

#[test]
fn data_spread_over_a_disk_is_found_by_the_samples() {
    let size = GIB;
    let file = image(size);
    // A tenth of the disk, none of it where headers are.
    for offset in (300 << 20..400_u64 << 20).step_by(1 << 20) {
        file.write_all_at(&[7; 1 << 20], offset).unwrap();
    }
    assert!(refused(&file, size).contains("places looked at are not zero"));
}

#[test]
fn a_known_header_is_told_before_data_that_lies_lower() {
    let file = image(GIB);
    file.write_all_at(&[9; 100], 70_000).unwrap();
    file.write_all_at(b"XFSB", GIB / 4).unwrap();
    let message = refused(&file, GIB);
    assert!(message.contains(&format!("an xfs superblock at offset {}", GIB / 4)), "{message}");
}

#[test]
fn a_place_that_cannot_be_read_is_an_error_and_not_blank() {
    // Shorter than it claims to be.
    let error = examine(&image(GIB - 4096), GIB).judge(None).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Internal, crate::error::Outcome::Unknown));
    assert!(error.to_string().contains("cannot be read at offset"), "{error}");
    assert_eq!(examine(&image(0), 0).judge(None).unwrap_err().kind(), Kind::FailedPrecondition);
}

#[test]
fn what_blkid_found_is_reason_enough() {
    let error = examine(&image(GIB), GIB).judge(Some("crypto_LUKS")).unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("blkid finds crypto_LUKS. "), "{error}");
}
