//! Astakos' quotas: what a project may have and has of the disks, in bytes (quota-api-guide).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::backend::cinder::identity::Service;
use crate::backend::cinder::model::AbsoluteLimits;
use crate::error::{Error, Result};
use crate::http::Method;

use super::{Call, Client};

/// The resource of which disks take their bytes, also those that no server has.
const DISK: &str = "cyclades.disk";
/// In this unit volumes are counted.
const GIB: u64 = 1 << 30;

/// A member's share of a resource, and the whole project's. `pending` is what was asked for and is not decided yet.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Quota {
    usage: u64,
    limit: u64,
    #[serde(default)]
    pending: u64,
    /// Older releases know no projects.
    project_usage: Option<u64>,
    project_limit: Option<u64>,
    #[serde(default)]
    project_pending: u64,
}

impl Quota {
    /// What the member has, and may have: other members' use counts against the project's limit.
    fn effective(self) -> (u64, u64) {
        let used = self.usage.saturating_add(self.pending);
        let of_all =
            self.project_usage.unwrap_or(self.usage).saturating_add(self.project_pending.max(self.pending));
        let others = of_all.saturating_sub(used);
        let left_by_others = self.project_limit.map_or(u64::MAX, |limit| limit.saturating_sub(others));
        (used, self.limit.min(left_by_others))
    }

    fn limits(self) -> AbsoluteLimits {
        let (used, limit) = self.effective();
        let gib = |bytes: u64| i64::try_from(bytes / GIB).ok();
        // Astakos writes the largest number for what has no limit.
        let limit = if limit >= i64::MAX.unsigned_abs() { Some(-1) } else { gib(limit) };
        AbsoluteLimits {
            max_total_volume_gigabytes: limit,
            total_gigabytes_used: gib(used.div_ceil(GIB).saturating_mul(GIB)),
            ..AbsoluteLimits::default()
        }
    }
}

impl Client {
    /// What the project may have and has of the disks, in whole gibibytes.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub(super) async fn quotas(&self) -> Result<AbsoluteLimits> {
        let call = Call::new(Service::Account, Method::GET, "get quotas", &["quotas"]);
        let answer = self.send(&call).await?;
        let mut all: BTreeMap<String, BTreeMap<String, serde_json::Value>> = answer.json()?;
        let access = self.session.access();
        let project = access.token().await?.project.clone();
        let project =
            project.ok_or_else(|| answer.fault("the token is of no project, whose quota is asked for"))?;
        let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
        let missing = || -> Error {
            answer.fault(format!(
                "the quotas of project {project} name no {DISK:?}; there are those of {known}"
            ))
        };
        let found = all.get_mut(&project).and_then(|own| own.remove(DISK)).ok_or_else(missing)?;
        let quota: Quota = serde_json::from_value(found).map_err(|error| {
            answer.fault(format!("the quota of {DISK:?} has another form than expected: {error}"))
        })?;
        Ok(quota.limits())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn limits(quota: Value) -> (Option<i64>, Option<i64>) {
        let quota: Quota = serde_json::from_value(quota).unwrap();
        let AbsoluteLimits { max_total_volume_gigabytes: max, total_gigabytes_used: used, .. } =
            quota.limits();
        (max, used)
    }

    #[test]
    fn the_smaller_of_the_member_s_and_the_project_s_limit_counts() {
        let gib = |count: u64| count * GIB;
        let plain = json!({"usage": gib(10), "limit": gib(100), "pending": 0});
        assert_eq!(limits(plain), (Some(100), Some(10)));
        // Others have 30 of 80, so 50 are left for the member, with its own 10.
        let shared = json!({"usage": gib(10), "limit": gib(100), "pending": 0,
            "project_usage": gib(40), "project_limit": gib(80), "project_pending": 0});
        assert_eq!(limits(shared), (Some(50), Some(10)));
        let overdrawn = json!({"usage": gib(10), "limit": gib(100), "pending": gib(2),
            "project_usage": gib(90), "project_limit": gib(80), "project_pending": gib(2)});
        assert_eq!(limits(overdrawn), (Some(0), Some(12)));
        let without = json!({"usage": 1, "limit": i64::MAX, "project_usage": 1, "project_limit": i64::MAX});
        assert_eq!(limits(without), (Some(-1), Some(1)), "what is begun counts whole");
    }
}
