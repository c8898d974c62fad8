//! What the cluster has on record about volumes, for an operator. Another driver, or this one under another name, may see
//! the same cloud, so what is in use is told of all CSI drivers.

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};
use kube::ResourceExt as _;

use super::{Kubernetes, server};
use crate::error::Result;
use crate::operator::{Claim, Hold, InUse, Records};
use crate::volume::NodeId;

/// What a kubelet writes before a CSI volume's driver and handle, between which it writes `^`
/// (`GetUniqueVolumeName` in Kubernetes' pkg/volume/util/util.go).
const CSI: &str = "kubernetes.io/csi/";

#[async_trait]
impl Records for Kubernetes {
    async fn claims(&self) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        let pick = |volume: PersistentVolume| {
            claims.extend(claim(&volume, &self.driver));
            None::<()>
        };
        self.api.find(pick).await?;
        Ok(claims)
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        let mut holds = Vec::new();
        let pick = |attachment: VolumeAttachment| {
            if let Some(volume) = attachment.spec.source.persistent_volume_name {
                holds.push(Hold {
                    persistent_volume: volume,
                    node: attachment.spec.node_name,
                    attached: attachment.status.is_some_and(|status| status.attached),
                });
            }
            None::<()>
        };
        self.api.find(pick).await?;
        Ok(holds)
    }

    async fn servers(&self) -> Result<BTreeMap<String, NodeId>> {
        let mut servers = BTreeMap::new();
        let pick = |node: CSINode| {
            servers.extend(server::registered(&node, &self.driver).map(|server| (node.name_any(), server)));
            None::<()>
        };
        self.api.find(pick).await?;
        Ok(servers)
    }

    async fn in_use(&self) -> Result<InUse> {
        let mut found = InUse::default();
        let pick = |node: Node| {
            let name = node.name_any();
            let status = node.status.unwrap_or_default();
            let used = status.volumes_in_use.unwrap_or_default();
            let attached = status.volumes_attached.unwrap_or_default();
            let all = used.iter().chain(attached.iter().map(|volume| &volume.name));
            found.any.extend(all.filter_map(|volume| Some(parts(volume)?.1.to_owned())));
            let ours =
                used.iter().filter_map(|volume| parts(volume)).filter(|(driver, _)| *driver == &*self.driver);
            found.ours.insert(name, ours.map(|(_, handle)| handle.to_owned()).collect());
            None::<()>
        };
        self.api.find(pick).await?;
        Ok(found)
    }
}

/// The driver and the handle in the name of a CSI volume.
fn parts(volume: &str) -> Option<(&str, &str)> {
    volume.strip_prefix(CSI)?.split_once('^')
}

fn claim(volume: &PersistentVolume, driver: &str) -> Option<Claim> {
    let spec = volume.spec.as_ref()?;
    let csi = spec.csi.as_ref()?;
    let by = spec.claim_ref.as_ref();
    Some(Claim {
        handle: csi.volume_handle.clone(),
        persistent_volume: volume.name_any(),
        claim: by.and_then(|by| Some(format!("{}/{}", by.namespace.as_deref()?, by.name.as_deref()?))),
        phase: volume.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
        driver: (csi.driver != driver).then(|| csi.driver.clone()),
    })
}
