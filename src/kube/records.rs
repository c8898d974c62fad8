//! What the cluster has on record about this driver's volumes, for an operator.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};
use kube::ResourceExt as _;

use super::{Kubernetes, server};
use crate::error::Result;
use crate::operator::{Claim, Hold, Records};
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
            if let Some(volume) = attachment.spec.source.persistent_volume_name
                && attachment.spec.attacher == *self.driver
            {
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

    async fn in_use(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let before = format!("{CSI}{}^", self.driver);
        let mut nodes = BTreeMap::new();
        let pick = |node: Node| {
            let name = node.name_any();
            let volumes = node.status.and_then(|status| status.volumes_in_use).unwrap_or_default();
            let handles = volumes.iter().filter_map(|volume| volume.strip_prefix(&before));
            nodes.insert(name, handles.map(ToOwned::to_owned).collect());
            None::<()>
        };
        self.api.find(pick).await?;
        Ok(nodes)
    }
}

fn claim(volume: &PersistentVolume, driver: &str) -> Option<Claim> {
    let spec = volume.spec.as_ref()?;
    let csi = spec.csi.as_ref().filter(|csi| csi.driver == driver)?;
    let by = spec.claim_ref.as_ref();
    Some(Claim {
        handle: csi.volume_handle.clone(),
        persistent_volume: volume.name_any(),
        claim: by.and_then(|by| Some(format!("{}/{}", by.namespace.as_deref()?, by.name.as_deref()?))),
        phase: volume.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
    })
}
