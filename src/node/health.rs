//! The faults of a volume as this node sees them.

use crate::error::Result;
use crate::host::PathKind;
use crate::node::core::Core;
use crate::node::mounted::{Use, targets};
use crate::volume::{Health, HealthFault, HealthStatus, VolumeId};

impl Core {
    pub(super) async fn health(&self, volume: &VolumeId) -> Result<Health> {
        let connector = self.connector(volume)?;
        let mut faults = connector.health(&volume.native).await?;
        let Some(device) = connector.find(&volume.native).await? else {
            return Ok(faults);
        };
        self.count(volume, true);
        let uses = self.table().await?.uses(device.number).await?;
        let mut dead = Vec::new();
        for found in uses.iter().filter(|found| !found.node) {
            if self.host.path_kind(&found.target).await? == PathKind::Dead {
                dead.push(found);
            }
        }
        if !dead.is_empty() {
            faults.push(HealthFault {
                status: HealthStatus::Inaccessible,
                reason: "FileSystemDead",
                message: format!("the file system does not answer at {}", targets(dead)),
            });
        }
        // A mount that was asked for as writable on a file system that is not: the kernel took the right away
        // after an error (errors=remount-ro, or an aborted transaction).
        let fallen: Vec<&Use> = uses.iter().filter(|found| found.frozen && !found.readonly).collect();
        if !fallen.is_empty() {
            faults.push(HealthFault {
                status: HealthStatus::Degraded,
                reason: "FileSystemReadOnlyAfterErrors",
                message: format!(
                    "the kernel made the file system read-only after an error, at {}",
                    targets(fallen)
                ),
            });
        }
        Ok(faults)
    }
}
