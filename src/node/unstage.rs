//! Unmounts a volume and lets go of its device.

use std::path::Path;

use crate::error::{Error, Result};
use crate::failpoint;
use crate::flight::phase;
use crate::node::core::Core;
use crate::node::mounted::{Backing, targets};
use crate::volume::VolumeId;

impl Core {
    /// Works from the live mounts and the id alone: the volume may be gone, its file system dead, its back end no
    /// longer configured.
    pub(super) async fn unstage(&self, volume: &VolumeId, path: &Path) -> Result<()> {
        phase("find");
        let path = self.resolve(path).await?;
        let connector = self.connectors.get(&volume.backend);
        let device = match connector {
            Some(connector) => connector.find(&volume.native).await?,
            None => None,
        };
        let table = self.table().await?;
        // What is mounted there need not be the device that the volume has now: the storage may have come back as
        // another one. Neither may be in use elsewhere.
        let mut numbers: Vec<u64> = device.iter().map(|device| device.number).collect();
        for mount in table.at(&path) {
            if let Backing::FileSystem(number) | Backing::Node(number) = table.backing(mount).await? {
                numbers.push(number);
            }
        }
        for number in numbers {
            let mut others = table.uses(number).await?;
            others.retain(|found| found.target != path);
            if !others.is_empty() {
                return Err(Error::precondition(format!(
                    "the volume is still published at {}: unpublish it first",
                    targets(&others)
                ))
                .with("volume", volume));
            }
        }
        phase("unmount");
        self.unmount(&table, &path).await?;
        failpoint::step("unstage.unmounted");
        self.forget_intent(volume, &path).await?;
        failpoint::step("unstage.intent-removed");
        if let Some(connector) = connector {
            phase("disconnect");
            connector.disconnect(&volume.native).await?;
            self.count(volume, false);
            failpoint::step("unstage.disconnected");
        }
        Ok(())
    }
}
