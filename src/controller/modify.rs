//! Changing the parameters of volumes that exist.

use crate::controller::{Controller, parameters, volume_key};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;
use crate::volume::{Parameters, VolumeId};

impl Controller {
    /// Changes parameters of a volume; keys that are absent stay. With none there is only the volume to be found.
    ///
    /// # Errors
    /// `NotFound` before everything else; `Unsupported` where the back end cannot do this; `InvalidArgument` naming the
    /// bad key, with nothing applied.
    pub async fn modify(&self, id: &VolumeId, mutable: Parameters) -> Result<()> {
        let (name, native) = (id.backend.clone(), id.native.clone());
        let backend = self.backends.get(&name)?.clone();
        let (mutable, _) = parameters::split(mutable);
        self.fly(volume_key(id), "modify volume", &(id, mutable.clone()), async move {
            phase("look");
            backend.get(&native).await?;
            if mutable.0.is_empty() {
                return Ok(());
            }
            if !backend.capabilities().modify {
                return Err(Error::refused(
                    Kind::Unsupported,
                    format!("back end {name} cannot change a volume that exists"),
                ));
            }
            backend.check_mutable(&mutable)?;
            phase("modify");
            backend.modify(&native, &mutable).await
        })
        .await
    }
}
