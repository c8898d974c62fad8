//! The Kubernetes API as a part of the house: whether it is used, and what its state means for the process.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::ready::Part;
use crate::config::Config;
use crate::controller::Controller;
use crate::error::{Error, Result};
use crate::kube::Kubernetes;
use crate::metrics::Metrics;

/// How often the CSIDriver object is looked at again.
const LOOK: Duration = Duration::from_secs(60);

/// How often back ends are looked at for what is wrong with them. That is in memory, and Kubernetes is told of it no more
/// than once a minute.
const WARNINGS: Duration = Duration::from_secs(5);

/// Passes on what is wrong with back ends, as long as there is the controller.
pub async fn pass_warnings_on(controller: Weak<Controller>) {
    loop {
        tokio::time::sleep(WARNINGS).await;
        let Some(controller) = controller.upgrade() else { return };
        controller.pass_warnings_on().await;
    }
}

/// Opens it where it is to be used, and has it watched.
///
/// # Errors
/// Where it must be used, or is named, and there are no credentials that can be.
pub fn open(
    config: &Config,
    metrics: &Arc<Metrics>,
    parts: &mut Vec<Part>,
) -> Result<Option<Arc<Kubernetes>>> {
    let required = config.kubernetes.required;
    let Some(access) = &config.kubernetes.access else {
        return if required { Err(nowhere()) } else { Ok(None) };
    };
    match Kubernetes::open(access, &config.driver_name, config.kubernetes.pod.clone()) {
        Ok(kubernetes) => {
            let kubernetes = Arc::new(kubernetes);
            parts.push(part(Arc::clone(&kubernetes), required, Arc::clone(metrics)));
            Ok(Some(kubernetes))
        }
        // Nobody asked for it: a pod may well be without a token.
        Err(error) if !required && !access.named => {
            tracing::info!(reason = error.chain(), "the Kubernetes API is not used");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn nowhere() -> Error {
    Error::precondition(
        "\"kubernetes.enabled\" is true, but this process runs in no pod (KUBERNETES_SERVICE_HOST is not set): \
         name the \"kubernetes.server\"",
    )
}

/// Its state: the CSIDriver object must be right wherever it can be read. That it cannot be read makes the process
/// unready only where the API is required; otherwise what was seen last holds.
fn part(kubernetes: Arc<Kubernetes>, required: bool, metrics: Arc<Metrics>) -> Part {
    let last = Arc::new(Mutex::new(None));
    let probe = move || {
        let (kubernetes, metrics, last) = (Arc::clone(&kubernetes), Arc::clone(&metrics), Arc::clone(&last));
        Box::pin(async move {
            let asked = kubernetes.driver_fault().await;
            metrics.kubernetes_reachable(asked.is_ok());
            // Nothing that panics runs under this lock.
            let lock = || last.lock().unwrap_or_else(PoisonError::into_inner);
            let fault: Option<String> = match asked {
                Ok(fault) => {
                    lock().clone_from(&fault);
                    fault
                }
                Err(error) if required => return Err(error),
                Err(error) => {
                    tracing::warn!(
                        error = error.chain(),
                        "the Kubernetes API does not answer; all else goes on"
                    );
                    lock().clone()
                }
            };
            fault.map_or(Ok(()), |fault| Err(Error::precondition(fault)))
        }) as _
    };
    Part { name: "kubernetes".to_owned(), probe: Box::new(probe), again: Some(LOOK), tell: Box::new(|_| {}) }
}
