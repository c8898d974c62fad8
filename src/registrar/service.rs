//! The Registration service.

use tonic::{Request, Response, Status as Refusal};

use super::{Plugin, Status};
use crate::proto::pluginregistration::registration_server::Registration;
use crate::proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};

/// What the kubelet calls a CSI driver.
const KIND: &str = "CSIPlugin";
/// CSI's version as the kubelet reads it: any 1.x will do, and drivers say 1.0.0, whatever later additions they know.
const VERSION: &str = "1.0.0";

pub(super) struct Service {
    plugin: Plugin,
    status: Status,
}

impl Service {
    pub(super) const fn new(plugin: Plugin, status: Status) -> Self {
        Self { plugin, status }
    }
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Refusal> {
        tracing::debug!("the kubelet asks what is behind the registration socket");
        Ok(Response::new(PluginInfo {
            r#type: KIND.to_owned(),
            name: self.plugin.driver.clone(),
            endpoint: self.plugin.endpoint.display().to_string(),
            supported_versions: vec![VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Refusal> {
        let RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            self.status.registered();
        } else {
            self.status.waiting(&format!("could not register the driver, and tries again: {error}"));
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
