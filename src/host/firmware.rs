//! What the firmware says of this machine (SMBIOS, as the kernel shows it in /sys/class/dmi). Blocks the thread.

use std::path::Path;

use crate::error::{Error, Result};

/// What the firmware says. Anybody who makes a machine can make it say anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The product's UUID as the kernel writes it. Readable for root alone.
    pub uuid: Option<String>,
    /// Manufacturer and name of the product, and the tag of its chassis, as far as they are there.
    pub words: Vec<String>,
}

/// Reads it below `sys`, which is `/sys` on a real machine. All empty where there is no such firmware.
///
/// # Errors
/// Where what is there cannot be read.
pub fn read(sys: &Path) -> Result<Firmware> {
    let text = |name: &str| {
        let path = sys.join("class/dmi/id").join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("read {}", path.display()), error)),
        }
    };
    let mut words = Vec::new();
    for name in ["sys_vendor", "product_name", "chassis_asset_tag"] {
        words.extend(text(name)?);
    }
    Ok(Firmware { uuid: text("product_uuid")?, words })
}
