//! Growing volumes.

use crate::backend::{Expanded, Expansion};
use crate::controller::{Controller, access, volume_key};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;
use crate::volume::{Access, NodeId, SizeRange, VolumeId};

impl Controller {
    /// Grows a volume. Large enough already is `Ok` with the size that it has.
    ///
    /// # Errors
    /// `Unsupported` where the back end cannot grow volumes, `FailedPrecondition` where it can do so only while no node
    /// has the volume; else as [`crate::backend::Backend::expand`].
    pub async fn expand(&self, id: &VolumeId, size: SizeRange, access: Option<Access>) -> Result<Expanded> {
        let (name, native) = (id.backend.clone(), id.native.clone());
        let backend = self.backends.get(&name)?.clone();
        let capabilities = backend.capabilities();
        access::check(&name, capabilities, access.as_slice())?;
        self.fly(volume_key(id), "expand volume", &(id, size), async move {
            // What needs no growing is answered also where growing is refused: the caller repeats itself.
            phase("look");
            let volume = match capabilities.expansion {
                Expansion::Online => None,
                Expansion::Offline | Expansion::Never => Some(backend.get(&native).await?),
            };
            let enough = volume.as_ref().is_some_and(|volume| size.accepts(volume.size));
            match (capabilities.expansion, volume) {
                (Expansion::Never, _) if !enough => {
                    return Err(Error::refused(
                        Kind::Unsupported,
                        format!("back end {name} cannot grow a volume"),
                    ));
                }
                (Expansion::Never, Some(volume)) => {
                    return Ok(Expanded { size: volume.size, node_expansion: false });
                }
                (Expansion::Offline, Some(volume)) if !enough && !volume.attached.is_empty() => {
                    let nodes: Vec<_> = volume.attached.iter().map(NodeId::name).collect();
                    return Err(Error::precondition(format!(
                        "back end {name} grows a volume only while no node has it; {} has it: end its workload first",
                        nodes.join(", ")
                    )));
                }
                _ => {}
            }
            phase("expand");
            backend.expand(&native, size).await
        })
        .await
    }
}
