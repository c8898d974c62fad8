//! The Identity service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::Request;

use crate::backend::Capabilities;
use crate::csi::Ready;
use crate::csi::observe::{Reply, observe};
use crate::csi::offer;
use crate::csi::status::Rpc;
use crate::metrics::Metrics;
use crate::proto::csi;

pub(super) struct Service {
    driver: String,
    offered: Capabilities,
    metrics: Arc<Metrics>,
    ready: Ready,
}

impl Service {
    pub(super) fn new(driver: String, offered: Capabilities, metrics: Arc<Metrics>, ready: Ready) -> Self {
        Self { driver, offered, metrics, ready }
    }

    fn probe(&self) -> csi::ProbeResponse {
        let ready = (self.ready)();
        if let Err(error) = &ready {
            // What changed, the watch of the parts has told; this is asked every few seconds.
            tracing::debug!(error = error.chain(), "not ready to serve");
        }
        csi::ProbeResponse { ready: Some(ready.is_ok()) }
    }
}

#[tonic::async_trait]
impl csi::identity_server::Identity for Service {
    async fn get_plugin_info(
        &self,
        request: Request<csi::GetPluginInfoRequest>,
    ) -> Reply<csi::GetPluginInfoResponse> {
        observe(&self.metrics, Rpc::GetPluginInfo, request, async |_| {
            Ok(csi::GetPluginInfoResponse {
                name: self.driver.clone(),
                vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
                manifest: BTreeMap::new(),
            })
        })
        .await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<csi::GetPluginCapabilitiesRequest>,
    ) -> Reply<csi::GetPluginCapabilitiesResponse> {
        observe(&self.metrics, Rpc::GetPluginCapabilities, request, async |_| {
            Ok(csi::GetPluginCapabilitiesResponse { capabilities: offer::plugin(self.offered) })
        })
        .await
    }

    async fn probe(&self, request: Request<csi::ProbeRequest>) -> Reply<csi::ProbeResponse> {
        observe(&self.metrics, Rpc::Probe, request, async |_| Ok(Self::probe(self))).await
    }
}
