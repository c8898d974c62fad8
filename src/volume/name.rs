//! From the CSI name of an object to its name in a back end, and whose object it is.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::volume::NativeId;

/// Names up to this long, in bytes, and made of safe characters are used as they are.
const MAX_PLAIN: usize = 64;
/// What is kept of any other name, before the digest.
const MAX_SLUG: usize = 32;

/// The name under which a back end without restrictions of its own keeps the object that CSI calls `name`.
///
/// A plain name stays as it is, so that an operator finds `pvc-…` where it is looked for. Any other name becomes
/// `<slug>~<digest>`: `~` is no plain character, so the two forms never meet, and the same name always gives
/// the same id, which makes create idempotent.
///
/// # Errors
/// [`crate::error::Kind::InvalidArgument`] for an empty name, one over 128 bytes, or one with control characters
/// (CSI spec, "Size Limits" and CreateVolumeRequest.name).
pub fn native_name(name: &str) -> Result<NativeId> {
    if name.is_empty() {
        return Err(Error::invalid("the name is empty"));
    }
    if name.len() > 128 {
        return Err(Error::invalid(format!("the name has {} bytes: CSI allows 128", name.len())));
    }
    if let Some(bad) = name.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(format!("the name {name:?} holds the control character {bad:?}")));
    }
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain = name.len() <= MAX_PLAIN
        && name.chars().all(safe)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if plain {
        return name.parse();
    }
    let slug: String = name.chars().filter(|c| safe(*c)).take(MAX_SLUG).collect();
    let digest = Sha256::digest(name.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{hex}", slug.trim_start_matches(['.', '-', '_'])).parse()
}

/// Whose volume it is, as the external-provisioner tells with `--extra-create-metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The PersistentVolumeClaim's name.
    pub claim: Option<String>,
    /// The claim's namespace.
    pub namespace: Option<String>,
    /// The PersistentVolume's name.
    pub volume: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_others_are_told_apart() {
        assert_eq!(native_name("pvc-0f6c").unwrap().as_str(), "pvc-0f6c");
        let spaced = native_name("my volume").unwrap();
        assert!(spaced.as_str().starts_with("myvolume~"), "{spaced}");
        assert_ne!(spaced, native_name("my  volume").unwrap());
        assert_ne!(native_name("..").unwrap().as_str(), "..");
        assert_eq!(native_name(&"X".repeat(128)).unwrap(), native_name(&"X".repeat(128)).unwrap());
        assert_ne!(native_name(&"X".repeat(128)).unwrap(), native_name(&"X".repeat(127)).unwrap());
        assert_ne!(native_name("日本語").unwrap(), native_name("日本").unwrap());
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "a\0b", "line\nbreak", &"é".repeat(65)] {
            assert_eq!(
                native_name(name).unwrap_err().kind(),
                crate::error::Kind::InvalidArgument,
                "{name:?}"
            );
        }
    }
}
