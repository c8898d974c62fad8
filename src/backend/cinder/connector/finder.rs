//! Which disk is a volume's, by what disks say of themselves.
//!
//! virtio carries 20 bytes of a serial, so of a volume's id it shows the beginning alone; SCSI carries all of it. VMware
//! shows the id as a binary number.

use std::fmt;

use crate::error::{Error, Result};
use crate::host::disks::{Disk, Identifier};
use crate::volume::NativeId;

/// What virtio-blk carries of a serial (VIRTIO_BLK_ID_BYTES), and QEMU's SCSI disks before QEMU 3.
const SHORT: usize = 20;

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// No disk that could be the volume's.
    None {
        /// Disks that could not be asked.
        silent: Vec<Disk>,
    },
    /// The volume's disk.
    One(Disk),
    /// Disks of which one may be the volume's.
    Several(Vec<Disk>),
}

/// How well a disk fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is another volume's, or none.
    No,
    /// It shows only the beginning of an id, and that is the volume's.
    Beginning,
    /// It shows the volume's whole id.
    Whole,
}

/// A volume whose disk is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a>(&'a str);

impl<'a> Wanted<'a> {
    pub(super) fn new(volume: &'a NativeId) -> Self {
        Self(volume.as_str())
    }

    /// The names that udev's rules give a link to the disk.
    pub(super) fn links(self) -> Vec<String> {
        let mut names = Vec::new();
        for prefix in ["virtio-", "scsi-0QEMU_QEMU_HARDDISK_"] {
            names.extend(self.serials().map(|serial| format!("{prefix}{serial}")));
        }
        names.push(format!("wwn-0x{}", self.binary()));
        names
    }

    /// The serials that it can have, the certain one first.
    fn serials(self) -> impl Iterator<Item = &'a str> {
        [Some(self.0), self.short()].into_iter().flatten()
    }

    /// The beginning of the id that virtio shows, where it is not all of it.
    fn short(self) -> Option<&'a str> {
        self.0.get(..SHORT).filter(|short| *short != self.0)
    }

    fn binary(self) -> String {
        self.0.replace('-', "")
    }

    /// Whether what a disk says of itself fits.
    pub(super) fn fits(self, identifiers: &[Identifier]) -> bool {
        self.fit(identifiers) > Fit::No
    }

    fn fit(self, identifiers: &[Identifier]) -> Fit {
        let mut best = Fit::No;
        for Identifier { text, .. } in identifiers {
            let fit = if text == self.0 || *text == self.binary() {
                Fit::Whole
            } else if Some(text.as_str()) == self.short() {
                Fit::Beginning
            } else if is_id(text) {
                // It says in full that it is another's.
                return Fit::No;
            } else {
                Fit::No
            };
            best = best.max(fit);
        }
        best
    }

    /// A link is believed unless its disk says that it is another's.
    pub(super) fn linked(self, disk: Disk, link: &std::path::Path) -> Result<Disk> {
        let contradicts = disk.identifiers.iter().any(|one| is_id(&one.text) || one.text.len() == SHORT);
        if contradicts && !self.fits(&disk.identifiers) {
            return Err(Error::precondition(format!(
                "the link {} leads to a disk that says that it is another's: {disk}",
                link.display()
            ))
            .with("volume", self.0));
        }
        Ok(disk)
    }

    /// The volume's disk among all. `taken` tells which are known to be another volume's.
    pub(super) fn choose(self, disks: Vec<Disk>, taken: impl Fn(&Disk) -> bool) -> Found {
        let (mut whole, mut beginning, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for disk in disks {
            match self.fit(&disk.identifiers) {
                Fit::Whole => whole.push(disk),
                Fit::Beginning if taken(&disk) => {}
                Fit::Beginning => beginning.push(disk),
                Fit::No if disk.silent.is_some() => silent.push(disk),
                Fit::No => {}
            }
        }
        let mut fitting = if whole.is_empty() { beginning } else { whole };
        match fitting.len() {
            0 => Found::None { silent },
            1 => fitting.pop().map_or(Found::None { silent }, Found::One),
            _ => Found::Several(fitting),
        }
    }
}

/// For a message: what a disk must say.
impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.short() {
            Some(short) => write!(f, "the serial {short:?} (virtio) or {:?} (SCSI)", self.0),
            None => write!(f, "the serial {:?}", self.0),
        }
    }
}

/// Whether what is in a disk's place says now that it is another volume's. Who says nothing, or less, contradicts nobody.
pub(super) fn is_replaced(disk: &Disk, now: &[Identifier]) -> bool {
    let ids = |all: &[Identifier]| -> Vec<String> {
        // In one form, with or without hyphens.
        all.iter().filter(|one| is_volume(&one.text)).map(|one| one.text.replace('-', "")).collect()
    };
    let (was, now) = (ids(&disk.identifiers), ids(now));
    // One of the two may be a beginning.
    let same = |one: &String| was.iter().any(|other| one.starts_with(other) || other.starts_with(one));
    !now.is_empty() && !now.iter().any(same)
}

/// Whether a text is an id of OpenStack's: a UUID, or its hexadecimal digits alone.
fn is_id(text: &str) -> bool {
    let digits = text.replace('-', "");
    let shape = matches!((text.len(), digits.len()), (36 | 32, 32));
    shape && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text is such an id, or its beginning as virtio shows it.
pub(super) fn is_volume(text: &str) -> bool {
    const SHAPE: &str = "00000000-0000-0000-0";
    let short = text.len() == SHORT
        && text.bytes().zip(SHAPE.bytes()).all(|(byte, shape)| match shape {
            b'-' => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    short || is_id(text)
}
