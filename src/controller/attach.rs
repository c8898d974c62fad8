//! Attaching volumes to nodes, and taking them off again.

use crate::backend::{AttachOrder, DetachOrder, FencingProof};
use crate::controller::{Cluster, Controller, Fencing, Notice, access, volume_key};
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
    /// `Unsupported` for a use that the back end lacks; `NotFound` for a node id that the cluster gave to another server
    /// meanwhile; else as [`crate::backend::Backend::attach`].
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
        let cluster = self.cluster.clone();
        self.fly(volume_key(&volume), "attach volume", &order.clone(), async move {
            if let Some(cluster) = cluster {
                phase("check server");
                cluster.check_server(&order.node).await?;
            }
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
        let order = DetachOrder { volume: volume.native.clone(), node, fence: None };
        let (cluster, id) = (self.cluster.clone(), volume.clone());
        self.fly(volume_key(volume), "detach volume", &order.clone(), async move {
            phase("detach");
            match (backend.detach(&order).await, cluster, &order.node) {
                (Err(held), Some(cluster), Some(node)) if held.kind() == Kind::Busy => {
                    let proof = prove(&*cluster, &id, node, held).await?;
                    phase("fence");
                    backend.detach(&DetachOrder { fence: Some(proof.clone()), ..order.clone() }).await?;
                    cluster.tell(&id, node, Notice::Fenced(proof)).await;
                    Ok(())
                }
                (detached, ..) => detached,
            }
        })
        .await
    }
}

/// The proof that the node which holds a volume writes no more; else the refusal, with why there is none.
async fn prove(cluster: &dyn Cluster, volume: &VolumeId, node: &NodeId, held: Error) -> Result<FencingProof> {
    phase("prove");
    match cluster.fencing(volume, node).await {
        Ok(Fencing::Proven(proof)) => {
            tracing::warn!(?proof, reason = %held, "taking the volume by force: its server is proven to be off");
            Ok(proof)
        }
        Ok(Fencing::Unproven(reason)) => {
            let refusal = held.and(reason);
            cluster.tell(volume, node, Notice::Held(refusal.message().to_owned())).await;
            Err(refusal)
        }
        Err(error) => {
            Err(held.and(format_args!("whether it is off could not be found out: {error}")).caused_by(error))
        }
    }
}
