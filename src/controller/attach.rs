//! Attaching volumes to nodes, and taking them off again.

use crate::backend::{AttachOrder, DetachOrder};
use crate::controller::{Controller, access, volume_key};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;
use crate::volume::{Access, Attachment, NodeId, VolumeId};

/// ControllerPublishVolume, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Which volume.
    pub volume: VolumeId,
    /// To which node.
    pub node: NodeId,
    /// How it will be used there.
    pub access: Access,
    /// Whether the node must not write.
    pub readonly: bool,
}

impl Controller {
    /// Attaches a volume to a node, or finds the attachment that an earlier try made.
    ///
    /// # Errors
    /// `Unsupported` for a use that the back end lacks; else as [`crate::backend::Backend::attach`].
    pub async fn attach(&self, attach: Attach) -> Result<Attachment> {
        let Attach { volume, node, access, readonly } = attach;
        let backend = self.backends.get(&volume.backend)?.clone();
        let capabilities = backend.capabilities();
        access::check(&volume.backend, capabilities, std::slice::from_ref(&access))?;
        if readonly && !capabilities.readonly_attach {
            return Err(Error::refused(
                Kind::Unsupported,
                format!("back end {} cannot attach a volume read-only", volume.backend),
            ));
        }
        let order = AttachOrder { volume: volume.native.clone(), node, access, readonly };
        self.fly(volume_key(&volume), "attach volume", &order.clone(), async move {
            phase("attach");
            backend.attach(&order).await
        })
        .await
    }

    /// Takes a volume from a node, or from all where none is named. Not attached, or gone, is `Ok`.
    ///
    /// # Errors
    /// `Busy` while the node holds it open and is not known to be fenced off; `FailedPrecondition` where the back end
    /// is not configured.
    pub async fn detach(&self, volume: &VolumeId, node: Option<NodeId>) -> Result<()> {
        let backend = self.holder(&volume.backend)?;
        let fence = match (&self.fencing, &node) {
            (Some(fencing), Some(node)) => fencing.proof(node),
            _ => None,
        };
        let order = DetachOrder { volume: volume.native.clone(), node, fence };
        self.fly(volume_key(volume), "detach volume", &order.clone(), async move {
            phase("detach");
            backend.detach(&order).await
        })
        .await
    }
}
