//! Files that people write: read with the places of everything in them, so that all that is wrong can be told at once.

mod fault;
pub mod section;
pub mod yaml;

use std::io::Read as _;
use std::path::Path;

pub use fault::{Fault, Faults, Place, Position};

/// The largest file that is read, in bytes. Far above any real one, far below what could hurt.
pub const MAX_BYTES: usize = 256 * 1024;

/// The bytes of the file, never more than a little above what is allowed.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(fault)?;
    if !file.metadata().map_err(fault)?.is_file() {
        return Err("is no regular file: name the file itself".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// The bytes as text. `None` where they are too many or no text, which is then among the faults.
pub fn text<'a>(bytes: &'a [u8], faults: &Faults) -> Option<&'a str> {
    if bytes.len() > MAX_BYTES {
        faults.add_whole(format!("is larger than {} KiB: this is no configuration", MAX_BYTES / 1024));
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let last = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let column = String::from_utf8_lossy(last).chars().count() + 1;
            faults.add(Position { line, column }, "this is no UTF-8 text".to_owned());
            None
        }
    }
}
