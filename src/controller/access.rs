//! Which ways of using a volume make sense together, and which ones a back end can offer.

use crate::backend::Capabilities;
use crate::error::{Error, Kind, Result};
use crate::volume::{Access, AccessKind, BackendName};

/// Whether a volume of this back end can be used in all these ways.
///
/// # Errors
/// `InvalidArgument` for what no back end can offer, `Unsupported` for what this one lacks.
pub(super) fn check(backend: &BackendName, capabilities: Capabilities, access: &[Access]) -> Result<()> {
    for one in access {
        if !one.is_block() && one.mode.multi_node() && !one.mode.read_only() {
            return Err(Error::invalid(format!(
                "access mode {:?} with a file system: a file system that one node writes must not be mounted on \
                 another; use volumeMode Block, or a mode of one node or of readers only",
                one.mode
            )));
        }
        if one.is_block() && !capabilities.raw {
            return Err(Error::refused(
                Kind::Unsupported,
                format!(
                    "back end {backend} hands out no raw devices: its disks say nothing of themselves, so a volume is known \
                     again by its file system alone; use volumeMode Filesystem"
                ),
            ));
        }
        if one.mode.multi_node() && !capabilities.multi_attach {
            return Err(Error::refused(
                Kind::Unsupported,
                format!(
                    "access mode {:?}: back end {backend} attaches a volume to one node at a time",
                    one.mode
                ),
            ));
        }
    }
    let first = access.first().map(|one| &one.kind);
    match access.iter().map(|one| &one.kind).find(|kind| first.is_some_and(|first| contradict(first, kind))) {
        Some(_) => Err(Error::invalid(
            "the volume capabilities contradict each other: all of them must be block, or all mount with one fs_type",
        )),
        None => Ok(()),
    }
}

/// Mount flags may differ from use to use; what is on the disk cannot.
fn contradict(one: &AccessKind, other: &AccessKind) -> bool {
    match (one, other) {
        (AccessKind::Block, AccessKind::Block) => false,
        (AccessKind::Mount { fs: one, .. }, AccessKind::Mount { fs: other, .. }) => one != other,
        _ => true,
    }
}
