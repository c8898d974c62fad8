//! What a volume's state says of its health.

use crate::backend::cinder::model::{self, Status};
use crate::error::Result;
use crate::volume::{Health, HealthFault, HealthStatus};

use super::Cloud;

impl Cloud {
    /// The faults of a volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn health(&self, id: &str) -> Result<Health> {
        let volume = self.client.volume(id).await?;
        let Some((status, reason)) = fault(&volume) else { return Ok(Vec::new()) };
        let why = if volume.status.is_error() { self.told_about(id).await } else { String::new() };
        let replication = volume.replication_status.as_deref().unwrap_or("none");
        let message = format!("its state is {}, its replication's {replication}. {why}", volume.status);
        Ok(vec![HealthFault { status, reason, message: message.trim_end().to_owned() }])
    }
}

fn fault(volume: &model::Volume) -> Option<(HealthStatus, &'static str)> {
    let replication = volume.replication_status.as_deref();
    match (&volume.status, replication) {
        (Status::Error, _) => Some((HealthStatus::Inaccessible, "VolumeError")),
        (Status::ErrorDeleting, _) => Some((HealthStatus::Inaccessible, "DeleteFailed")),
        (Status::ErrorRestoring, _) => Some((HealthStatus::DataLoss, "RestoreFailed")),
        (Status::ErrorExtending, _) => Some((HealthStatus::Degraded, "ExtendFailed")),
        (Status::Maintenance, _) => Some((HealthStatus::Inaccessible, "Maintenance")),
        (status, _) if status.is_error() => Some((HealthStatus::Degraded, "VolumeError")),
        (_, Some("failing-over" | "failover-error")) => {
            Some((HealthStatus::Inaccessible, "ReplicationFailover"))
        }
        (_, Some("error" | "failed-over")) => Some((HealthStatus::Degraded, "ReplicationDegraded")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_a_fault_or_none() {
        let of = |status: &str, replication: Option<&str>| {
            let volume = json!({"id": "v", "size": 1, "status": status, "replication_status": replication});
            fault(&serde_json::from_value(volume).unwrap()).map(|(_, reason)| reason)
        };
        assert_eq!(of("in-use", Some("enabled")), None);
        assert_eq!(of("available", None), None);
        assert_eq!(of("error_extending", None), Some("ExtendFailed"));
        assert_eq!(of("error_backing-up", None), Some("VolumeError"));
        assert_eq!(of("in-use", Some("failed-over")), Some("ReplicationDegraded"));
    }
}
