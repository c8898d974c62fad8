//! What the kubelet has said: for `/readyz`, the metrics and the log.

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::server::http::Readiness;

/// The registration's name on `/readyz`.
const PART: &str = "kubelet";

/// Where the state of the registration is told. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Status {
    driver: String,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

impl Status {
    /// Tells it of this driver to these.
    #[must_use]
    pub const fn new(driver: String, readiness: Readiness, metrics: Arc<Metrics>) -> Self {
        Self { driver, readiness, metrics }
    }

    /// Not registered, and why.
    pub(super) fn waiting(&self, reason: &str) {
        self.metrics.kubelet_registered(&self.driver, false);
        if self.readiness.set(PART, Some(reason.to_owned())) {
            tracing::warn!(reason, "the kubelet has not registered the driver");
        }
    }

    /// Registered.
    pub(super) fn registered(&self) {
        self.metrics.kubelet_registered(&self.driver, true);
        self.readiness.set(PART, None);
        tracing::info!("the kubelet has registered the driver");
    }
}
