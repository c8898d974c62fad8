//! Shows the node a volume's new size and grows what is on it.

use crate::error::{Error, Result};
use crate::failpoint;
use crate::flight::phase;
use crate::node::Expand;
use crate::node::core::{Core, Place};
use crate::volume::Bytes;

impl Core {
    /// A smaller size than the volume has is no fault: nothing ever shrinks.
    pub(super) async fn expand(&self, order: &Expand) -> Result<Bytes> {
        phase("find");
        let (place, _) = self.place(&order.volume, &order.path).await?;
        phase("refresh");
        let required = order.size.required();
        let device = self.connector(&order.volume)?.refresh(&order.volume.native, required).await?;
        failpoint::step("expand.refreshed");
        if let Place::FileSystem(fs) = place {
            phase("grow");
            // A read-only bind cannot be grown through, although the file system may be writable elsewhere.
            let uses = self.table().await?.uses(device.number).await?;
            let writable = uses.iter().find(|found| !found.node && !found.readonly && !found.frozen);
            let mount = writable.ok_or_else(|| {
                Error::precondition(
                    "the volume is mounted read-only: its file system can only grow where it is writable",
                )
                .with("volume", &order.volume)
            })?;
            self.host.grow(&device, fs, &mount.target).await?;
            failpoint::step("expand.grown");
        }
        Ok(device.size)
    }
}
