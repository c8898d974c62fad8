//! The faults of volumes.

use crate::backend::Page;
use crate::controller::{Controller, Found, Listed};
use crate::error::Result;
use crate::volume::{Health, VolumeId};

impl Controller {
    /// The faults of a volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn health(&self, id: &VolumeId) -> Result<Health> {
        self.backends.get(&id.backend)?.health(&id.native).await
    }

    /// The faults of all volumes that have any. A page covers as many volumes as it may have entries, so it can be
    /// short or empty before the end.
    ///
    /// # Errors
    /// `BadToken`; else as [`crate::backend::Backend::health`].
    pub async fn list_health(&self, page: &Page) -> Result<Listed<(VolumeId, Health)>> {
        let volumes = self.list(page).await?;
        let mut items = Vec::new();
        for Found { backend, item } in volumes.items {
            let id = VolumeId::new(backend.clone(), item.id);
            match self.health(&id).await {
                Ok(health) if health.is_empty() => {}
                Ok(health) => items.push(Found { backend, item: (id, health) }),
                // Deleted since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Listed { items, next: volumes.next })
    }
}
