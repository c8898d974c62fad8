//! What the kernel says of this machine as a whole. Blocks the thread, for next to nothing.

use crate::error::{Error, Result};

/// The machine's name. A container that does not share its host's has its own.
///
/// # Errors
/// Where /proc cannot be read.
pub fn hostname() -> Result<String> {
    read("/proc/sys/kernel/hostname")
}

/// The id of the time since the machine was started (random(4)): after a restart it is another one.
///
/// # Errors
/// Where /proc cannot be read.
pub fn boot_id() -> Result<String> {
    read("/proc/sys/kernel/random/boot_id")
}

fn read(path: &str) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(Error::io(format!("read {path}"), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_id() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(!hostname().unwrap().is_empty());
    }
}
