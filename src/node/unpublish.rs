//! Takes a volume from a target.

use std::path::Path;

use crate::error::Result;
use crate::failpoint;
use crate::flight::phase;
use crate::node::core::Core;

impl Core {
    /// Works from the target alone, so that it also does when the volume or its back end is gone.
    pub(super) async fn unpublish(&self, target: &Path) -> Result<()> {
        phase("unmount");
        let target = self.resolve(target).await?;
        let table = self.table().await?;
        self.unmount(&table, &target).await?;
        failpoint::step("unpublish.unmounted");
        self.host.remove_empty(&target).await?;
        failpoint::step("unpublish.removed");
        Ok(())
    }
}
