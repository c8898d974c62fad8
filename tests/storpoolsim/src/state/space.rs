//! How much room there is. Volumes are thin: they take what is written to them.

use super::{Cluster, Kind, Refusal, Result};

/// The room of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Volumes.
    pub volumes: u64,
    /// Snapshots, with those that are being deleted.
    pub snapshots: u64,
    /// Snapshots that are being deleted.
    pub leaving: u64,
    /// Bytes that volumes and snapshots promise.
    pub size: u64,
    /// Bytes that volumes promise.
    pub volumes_size: u64,
    /// Bytes that were written.
    pub stored: u64,
    /// Bytes that fit.
    pub capacity: u64,
}

impl Space {
    /// Bytes that still fit.
    #[must_use]
    pub const fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.stored)
    }
}

impl Cluster {
    /// The room of a template.
    #[must_use]
    pub fn space(&self, template: &str) -> Space {
        let known = self.config.templates.iter().find(|known| known.name == template);
        let mut space = Space { capacity: known.map_or(0, |known| known.capacity), ..Space::default() };
        for object in self.objects.values().filter(|object| object.policy.template == template) {
            space.stored += object.stored;
            space.size += object.size;
            match object.kind {
                Kind::Volume => {
                    space.volumes += 1;
                    space.volumes_size += object.size;
                }
                Kind::Snapshot => {
                    space.snapshots += 1;
                    space.leaving += u64::from(object.deleted.is_some());
                }
            }
        }
        space
    }

    /// Refuses something new where nothing fits any more.
    pub(super) fn check_room(&self, template: &str) -> Result<()> {
        match template.is_empty() || self.space(template).free() > 0 {
            true => Ok(()),
            false => Err(Refusal::full(format!("Not enough free space in template '{template}'"))),
        }
    }
}
