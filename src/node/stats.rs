//! How full a volume is.

use std::path::Path;

use crate::error::Result;
use crate::node::Stats;
use crate::node::core::{Core, Place};
use crate::volume::VolumeId;

impl Core {
    pub(super) async fn stats(&self, volume: &VolumeId, path: &Path) -> Result<Stats> {
        match self.place(volume, path).await? {
            (Place::Block, device) => Ok(Stats::Block(device.size)),
            (Place::FileSystem(_), _) => {
                let usage = self.host.usage(path).await.map_err(|error| error.with("volume", volume))?;
                Ok(Stats::FileSystem(usage))
            }
        }
    }
}
