//! One order of an operator, in a process of its own.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::log;
use crate::metrics::Metrics;
use crate::operator::{Operator, Order, Progress, Records, Report};
use crate::volume::{BackendName, VolumeId};

use super::{house, kubernetes, runtime};

/// Carries out one order on the configured back ends.
///
/// # Errors
/// Where a back end that the order needs cannot be used, and what comes of the order.
pub fn operate(config: &Config, order: Order) -> Result<Report> {
    log::start(&config.log)?;
    let runtime = runtime()?;
    let done = runtime.block_on(carry_out(config, order));
    // A thread that hangs on dead storage must not keep the process.
    runtime.shutdown_background();
    done
}

async fn carry_out(config: &Config, order: Order) -> Result<Report> {
    let metrics = Arc::new(Metrics::default());
    let mut config = config.clone();
    if let Some(only) = only(&config, &order) {
        config.backends.retain(|(name, _)| *name == only);
        if config.backends.is_empty() {
            return Err(Error::not_found(format!("no back end {only} is configured here")));
        }
    }
    let mut parts = Vec::new();
    let controller = house::controller(&config, &metrics, &mut parts);
    let progress = Progress::here();
    let opened =
        progress.during("open the back ends", join_all(parts.iter().map(|part| (part.probe)()))).await;
    for (part, opened) in parts.iter().zip(opened) {
        opened.map_err(|error| {
            let hint = if parts.len() > 1 { " (--backend leaves it out)" } else { "" };
            error.and(format_args!("{} cannot be used{hint}", part.name))
        })?;
    }
    let kubernetes = kubernetes::open(&config, &metrics, &mut parts)?;
    let records = kubernetes.map(|kubernetes| kubernetes as Arc<dyn Records>);
    let operator = Operator::new(Arc::new(controller), records, progress);
    operator.alone(config.kubernetes.refused).run(order).await
}

/// The one back end that an order is about: then no other has to be open.
fn only(config: &Config, order: &Order) -> Option<BackendName> {
    let of = |id: &str| VolumeId::adopt(id, config.node.foreign.as_ref()).ok().map(|id| id.backend);
    match order {
        Order::ListVolumes(backend) | Order::Reconcile { backend, .. } => backend.clone(),
        Order::VolumeInfo(id) | Order::InspectVolume(id) | Order::RemoveVolume(id) => of(id),
        Order::CreateVolume(_) | Order::InspectServer(_) => None,
    }
}
