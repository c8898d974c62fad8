//! What a project has, and what it may have.

use super::{Cloud, Refusal, Result};

/// What a project has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Volumes.
    pub volumes: u64,
    /// GiB of volumes and snapshots.
    pub gigabytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Backups.
    pub backups: u64,
    /// GiB of backups.
    pub backup_gigabytes: u64,
    /// Groups.
    pub groups: u64,
}

impl Cloud {
    /// What a project has; of one type alone where it is named by id.
    #[must_use]
    pub fn usage(&self, project: &str, kind: Option<&str>) -> Usage {
        let mut usage = Usage::default();
        let volumes = self.volumes.iter().filter(|volume| {
            volume.project == project && !volume.deleted && kind.is_none_or(|kind| volume.kind == kind)
        });
        for volume in volumes {
            usage.volumes += 1;
            usage.gigabytes += volume.size;
        }
        for snapshot in self.snapshots.iter().filter(|snapshot| snapshot.project == project) {
            let of_kind = |kind: &str| self.volumes.get(&snapshot.volume).is_some_and(|of| of.kind == kind);
            if kind.is_none_or(of_kind) {
                usage.snapshots += 1;
                usage.gigabytes += snapshot.size;
            }
        }
        for backup in self.backups.iter().filter(|backup| backup.project == project && kind.is_none()) {
            usage.backups += 1;
            usage.backup_gigabytes += backup.size;
        }
        usage.groups = self
            .groups
            .iter()
            .filter(|group| group.project == project)
            .count()
            .try_into()
            .unwrap_or(u64::MAX);
        usage
    }

    /// What a project may have of something; `None`: as much as it likes.
    #[must_use]
    pub fn quota(&self, project: &str, name: &str) -> Option<u64> {
        let project = self.config.projects.iter().find(|known| known.id == project)?;
        // -1 is no limit.
        u64::try_from(*project.quotas.get(name)?).ok()
    }

    /// Refuses what is beyond a project's quota of volumes and GiB.
    pub(super) fn afford(&self, project: &str, volumes: u64, gigabytes: u64, kind: &str) -> Result<()> {
        let name = self.config.volume_type(kind).map(|kind| format!("_{}", kind.name)).unwrap_or_default();
        for (suffix, of) in [("", None), (name.as_str(), Some(kind))] {
            let (quota, other) = (format!("gigabytes{suffix}"), format!("volumes{suffix}"));
            let limits = (self.quota(project, &quota), self.quota(project, &other));
            if limits == (None, None) {
                // Without a limit nothing has to be counted.
                continue;
            }
            let usage = self.usage(project, of);
            if let Some(limit) = limits.0
                && usage.gigabytes + gigabytes > limit
            {
                return Err(Refusal::over_quota(format!(
                    "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed {quota} quota. \
                     Requested {gigabytes}G, quota is {limit}G and {}G has been consumed.",
                    usage.gigabytes
                )));
            }
            if let Some(limit) = limits.1
                && usage.volumes + volumes > limit
            {
                return Err(Refusal::over_quota(format!(
                    "VolumeLimitExceeded: Maximum number of volumes allowed ({limit}) exceeded for quota '{other}'."
                )));
            }
        }
        Ok(())
    }

    /// Refuses more of something that is counted.
    pub(super) fn afford_one(&self, project: &str, name: &str, used: u64, class: &str) -> Result<()> {
        match self.quota(project, name) {
            Some(limit) if used >= limit => Err(Refusal::over_quota(format!(
                "{class}: Maximum number of {name} allowed ({limit}) exceeded"
            ))),
            _ => Ok(()),
        }
    }
}
