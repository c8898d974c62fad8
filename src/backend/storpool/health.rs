//! What a volume's state says of its health.

use super::Cloud;
use super::model::Status;
use crate::error::Result;
use crate::volume::{Health, HealthFault, HealthStatus};

impl Cloud {
    /// The faults of a volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn health(&self, id: &str) -> Result<Health> {
        let volume = self.client.volume(id).await?;
        let all = self.client.statuses().await?;
        let found = all.get(&volume.name).or_else(|| {
            all.values().find(|status| !status.global_id.is_empty() && status.global_id == volume.global_id)
        });
        Ok(found.and_then(fault).into_iter().collect())
    }
}

fn fault(found: &Status) -> Option<HealthFault> {
    let (status, reason) = match found.status.as_str() {
        "down" => (HealthStatus::Inaccessible, "VolumeDown"),
        "up soon" => (HealthStatus::Inaccessible, "VolumeUpSoon"),
        "data lost" => (HealthStatus::DataLoss, "DataLost"),
        _ if found.decreased_redundancy => (HealthStatus::Degraded, "RedundancyDecreased"),
        _ => return None,
    };
    let copies = if found.decreased_redundancy { ", with fewer copies than there should be" } else { "" };
    Some(HealthFault { status, reason, message: format!("StorPool calls it {:?}{copies}", found.status) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_a_fault_or_none() {
        let of = |status: &str, fewer: bool| {
            let status = json!({"name": "v", "status": status, "decreasedRedundancy": fewer});
            fault(&serde_json::from_value(status).unwrap()).map(|fault| fault.reason)
        };
        assert_eq!(of("up", false), None);
        assert_eq!(of("up", true), Some("RedundancyDecreased"));
        assert_eq!(of("up soon", true), Some("VolumeUpSoon"));
        assert_eq!(of("data lost", false), Some("DataLost"));
    }
}
