//! By what a volume is known whose disk tells nothing of itself.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::volume::NativeId;

/// What all marks begin with.
const OURS: [u8; 4] = *b"flrd";

/// The UUID that a volume's file system bears, made from the volume's id alone: every node finds the same one, at any time,
/// and asks nobody. It is of the version that is free for such use (RFC 9562, version 8).
///
/// A cloud's ids are unique within it and never used again, and a server has the disks of one cloud only, so a mark names
/// one volume. A copy of a volume bears its source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark([u8; 16]);

impl Mark {
    /// The mark of a volume.
    #[must_use]
    pub fn of(volume: &NativeId) -> Self {
        let digest = Sha256::digest(format!("csi.fairlead.dev/mark:{volume}").as_bytes());
        let mut bytes = [0; 16];
        let parts = OURS.iter().chain(digest.iter());
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = *part;
        }
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Whether a file system's UUID is this mark.
    #[must_use]
    pub fn is(&self, uuid: &[u8; 16]) -> bool {
        self.0 == *uuid
    }

    /// Whether a file system's UUID is the mark of some volume.
    #[must_use]
    pub fn is_any(uuid: &[u8; 16]) -> bool {
        uuid.starts_with(&OURS) && uuid[6] & 0xf0 == 0x80
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_one_mark_for_ever() {
        let of = |id: &str| Mark::of(&id.parse().unwrap());
        // What is on disks must be found again by every later release.
        assert_eq!(of("44").to_string(), "666c7264-6057-8d86-aa3c-e553869823bd");
        assert_eq!(of("44"), of("44"));
        assert_ne!(of("44"), of("45"));
        assert!(of("44").is(&of("44").0) && Mark::is_any(&of("44").0));
        let random =
            [0x52, 0, 0x4e, 0x8c, 0x0f, 0x2d, 0x4c, 0x4b, 0x9a, 0x51, 0x6d, 0x2f, 0x1e, 0x0b, 0x7c, 0x44];
        assert!(!of("44").is(&random) && !Mark::is_any(&random));
    }
}
