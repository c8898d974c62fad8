//! Which disk is a volume's, by the name that the cloud tells, where nothing else does: Xen's disks say nothing of themselves,
//! but their names are chosen by Xen's host, which plugs in what the cloud orders under the name that it tells. Every
//! other doubt is a refusal.
//!
//! Once a disk is known to be a volume's, that is noted beside it for as long as it is plugged in (see
//! [`Disks::claim`](crate::host::disks::Disks::claim)): later calls know the volume alone.

use crate::error::{Error, Result};
use crate::host::disks::{Bus, Disk};
use crate::volume::{Attachment, Bytes, Connection};

/// The first device number of Xen's disks, and by how much they differ (Xen, misc/vbd-interface).
const FIRST: u32 = 202 << 8;
/// From the 17th disk on there is another form.
const MANY: u32 = 1 << 28;

/// The kernel's name of the disk that the cloud names.
///
/// # Errors
/// `FailedPrecondition` where it names none, or one that cannot be a volume's.
pub(super) fn kernel_name(attachment: &Attachment) -> Result<&str> {
    let told = match &attachment.connection {
        Connection::Disk { device, .. } => device.as_deref().unwrap_or_default(),
        Connection::Loop { .. }
        | Connection::Nameless { .. }
        | Connection::Storpool { .. }
        | Connection::Iscsi { .. } => "",
    };
    let name = told.strip_prefix("/dev/").unwrap_or(told);
    match index(name) {
        Some(1..) => Ok(name),
        // The first one is the server's own.
        _ => Err(Error::precondition(format!(
            "the cloud tells {told:?} as the volume's device, and only one of Xen's (/dev/xvdb, ...) is believed: nothing \
             else tells which disk is the volume's"
        ))),
    }
}

/// Whether the disk of that name is what Xen's host calls so, and has the size of the volume.
///
/// # Errors
/// `FailedPrecondition` with what is otherwise.
pub(super) fn check(disk: &Disk, number: Option<u32>, size: Bytes) -> Result<()> {
    let doubt = |text: String| {
        let why = "a name alone tells whose a disk is only where Xen's host chose it";
        Err(Error::precondition(format!("{disk} {text}; {why}")))
    };
    if disk.bus != Bus::Xen {
        return doubt(format!("is none of Xen's disks ({:?})", disk.bus));
    }
    let expected = index(&disk.name).map(|index| match index {
        0..16 => FIRST | index << 4,
        _ => MANY | index << 8,
    });
    if number.is_none() || number != expected {
        return doubt(format!(
            "has the number {number:?} at Xen's host, and its name stands for {expected:?}"
        ));
    }
    if disk.size != size.get() {
        return Err(Error::precondition(format!("{disk} is named by the cloud, but the volume has {size}")));
    }
    Ok(())
}

/// The how manieth disk a name stands for: `xvda` is 0, `xvdaa` 26.
fn index(name: &str) -> Option<u32> {
    let letters = name.strip_prefix("xvd").filter(|letters| (1..=2).contains(&letters.len()))?;
    let digit = |letter: u8| letter.is_ascii_lowercase().then(|| u32::from(letter - b'a') + 1);
    letters.bytes().try_fold(0, |sum, letter| Some(sum * 26 + digit(letter)?)).map(|count| count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::volume::Content;

    fn attachment(device: Option<&str>) -> Attachment {
        Attachment {
            nonce: "1".into(),
            size: Bytes::gib(75),
            content: Content::New,
            readonly: false,
            connection: Connection::Disk { serial: "v".into(), device: device.map(str::to_owned) },
        }
    }

    fn disk(name: &str, bus: Bus) -> Disk {
        Disk {
            name: name.to_owned(),
            path: format!("/dev/{name}").into(),
            number: 0,
            size: 75 << 30,
            sequence: Some(1),
            bus,
            identifiers: Vec::new(),
            silent: None,
            fault: None,
            partitions: false,
        }
    }

    #[test]
    fn only_names_of_xens_data_disks_are_believed() {
        for (told, name) in [("/dev/xvdb", "xvdb"), ("xvdo", "xvdo"), ("/dev/xvdaa", "xvdaa")] {
            assert_eq!(kernel_name(&attachment(Some(told))).unwrap(), name);
        }
        for told in [
            "",
            "/dev/xvda",
            "/dev/vdb",
            "/dev/sdb",
            "/dev/xvdb1",
            "/dev/xvd",
            "/dev/xvdB",
            "/dev/../xvdb",
            "/dev/xvdaaa",
        ] {
            assert_eq!(
                kernel_name(&attachment(Some(told))).unwrap_err().kind(),
                Kind::FailedPrecondition,
                "{told:?}"
            );
        }
        kernel_name(&attachment(None)).unwrap_err();
    }

    #[test]
    fn name_number_driver_and_size_must_agree() {
        let size = Bytes::gib(75);
        for (name, number) in [("xvdb", 51_728), ("xvdp", 51_952), ("xvdq", (1 << 28) | 16 << 8)] {
            check(&disk(name, Bus::Xen), Some(number), size).unwrap();
        }
        let refused = |disk: &Disk, number, size| {
            assert_eq!(check(disk, number, size).unwrap_err().kind(), Kind::FailedPrecondition);
        };
        refused(&disk("xvdb", Bus::Virtio), Some(51_728), size);
        refused(&disk("xvdb", Bus::Xen), Some(51_744), size);
        refused(&disk("xvdb", Bus::Xen), None, size);
        refused(&disk("xvdb", Bus::Xen), Some(51_728), Bytes::gib(76));
    }
}
