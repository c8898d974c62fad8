//! The life of backups.

use super::agenda::What;
use super::objects::{Backup, Metadata};
use super::{Caller, Cloud, DiskChange, Phase, Refusal, Result};

/// What somebody wants to have backed up.
#[derive(Clone, Debug, Default)]
pub struct BackupWish {
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Which volume.
    pub volume: String,
    /// A snapshot of it to read from.
    pub snapshot: Option<String>,
    /// Where it is kept.
    pub container: Option<String>,
    /// Whether it builds on the last one.
    pub incremental: bool,
    /// Also while a server has the volume.
    pub force: bool,
    /// What is noted about it.
    pub metadata: Metadata,
}

impl Cloud {
    /// A backup of a project.
    pub fn backup(&self, project: &str, id: &str) -> Result<&Backup> {
        let found = self.backups.get(id).filter(|backup| backup.project == project);
        found.ok_or_else(|| Refusal::missing(format!("Backup {id} could not be found.")))
    }

    /// Whether others build on it.
    #[must_use]
    pub fn has_dependents(&self, id: &str) -> bool {
        self.backups.iter().any(|backup| backup.parent.as_deref() == Some(id))
    }

    /// Begins to make a backup, and tells its id.
    pub fn create_backup(&mut self, caller: &Caller, wish: BackupWish) -> Result<String> {
        self.backup_service()?;
        let volume = self.volume(&caller.project, &wish.volume)?;
        if let Some(snapshot) = &wish.snapshot {
            let snapshot = self.snapshot(&caller.project, snapshot)?;
            if snapshot.volume != wish.volume {
                return Err(Refusal::invalid(
                    "Invalid snapshot: The snapshot belongs to another volume than the one to back up",
                ));
            }
        }
        let sound = match (volume.status, &wish.snapshot) {
            ("available", _) => true,
            ("in-use", None) => wish.force,
            ("in-use", Some(_)) => true,
            _ => false,
        };
        if !sound {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume to be backed up must be available or in-use, but the current status is \
                 \"{}\".",
                volume.status
            )));
        }
        let size = volume.size;
        let used = self.usage(&caller.project, None);
        self.afford_one(&caller.project, "backups", used.backups, "BackupLimitExceeded")?;
        if let Some(limit) = self.quota(&caller.project, "backup_gigabytes")
            && used.backup_gigabytes + size > limit
        {
            return Err(Refusal::over_quota(format!(
                "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. \
                 Requested {size}G, quota is {limit}G and {}G has been consumed.",
                used.backup_gigabytes
            )));
        }
        let parent = match wish.incremental {
            false => None,
            true => {
                let of = |backup: &&Backup| backup.volume == wish.volume && backup.status == "available";
                let Some(parent) = self.backups.iter().rev().find(of) else {
                    return Err(Refusal::invalid(
                        "Invalid backup: No backups available to do an incremental backup.",
                    ));
                };
                Some(parent.id.clone())
            }
        };
        let id = self.new_id();
        match &wish.snapshot {
            Some(snapshot) => self.set_snapshot(snapshot, "backing-up"),
            None => self.set(&wish.volume, "backing-up"),
        }
        self.backups.insert(Backup {
            id: id.clone(),
            project: caller.project.clone(),
            name: wish.name,
            description: wish.description,
            status: "creating",
            size,
            volume: wish.volume,
            snapshot: wish.snapshot,
            parent,
            container: wish.container,
            created: self.now,
            updated: None,
            metadata: wish.metadata,
            failure: None,
        });
        let after = caller.fate.duration(self.config.timings.backup);
        self.plan(after, Phase::Backup, &id, What::BackupMade, caller);
        Ok(id)
    }

    fn backup_service(&self) -> Result<()> {
        match self.config.backups {
            true => Ok(()),
            false => Err(Refusal::unavailable("Service cinder-backup could not be found.")),
        }
    }

    /// Begins to delete a backup.
    pub fn delete_backup(&mut self, caller: &Caller, id: &str) -> Result<()> {
        let backup = self.backup(&caller.project, id)?;
        if !matches!(backup.status, "available" | "error") {
            return Err(Refusal::invalid("Invalid backup: Backup status must be available or error"));
        }
        if self.has_dependents(id) {
            return Err(Refusal::invalid("Invalid backup: Incremental backups exist for this backup."));
        }
        self.set_backup(id, "deleting");
        let after = caller.fate.duration(self.config.timings.delete_snapshot);
        self.plan(after, Phase::DeleteBackup, id, What::BackupGone, caller);
        Ok(())
    }

    /// Begins to restore a backup into a volume.
    pub fn restore_backup(&mut self, caller: &Caller, id: &str, volume: &str) -> Result<()> {
        self.backup_service()?;
        let backup = self.backup(&caller.project, id)?;
        if backup.status != "available" {
            return Err(Refusal::invalid("Invalid backup: Backup status must be available"));
        }
        let volume = self.volume(&caller.project, volume)?;
        if volume.status != "available" {
            return Err(Refusal::invalid("Invalid volume: Volume to be restored to must be available"));
        }
        if volume.size < backup.size {
            return Err(Refusal::invalid(format!(
                "Invalid volume: volume size {} is too small to restore backup of size {}.",
                volume.size, backup.size
            )));
        }
        let volume = volume.id.clone();
        self.set(&volume, "restoring-backup");
        self.set_backup(id, "restoring");
        let after = caller.fate.duration(self.config.timings.backup);
        self.plan(after, Phase::Restore, &volume, What::Restored { backup: id.to_owned() }, caller);
        Ok(())
    }

    fn set_backup(&mut self, id: &str, status: &'static str) {
        let now = self.now;
        if let Some(backup) = self.backups.get_mut(id) {
            backup.status = status;
            backup.updated = Some(now);
        }
    }

    pub(super) fn backup_made(&mut self, id: &str, caller: &Caller) {
        let failure = caller.fate.fails.clone();
        self.set_backup(id, if failure.is_some() { "error" } else { "available" });
        let Some(backup) = self.backups.get_mut(id) else { return };
        backup.failure.clone_from(&failure);
        let (volume, snapshot) = (backup.volume.clone(), backup.snapshot.clone());
        if failure.is_none() {
            let from = snapshot.clone().unwrap_or_else(|| volume.clone());
            self.disk_change(|| DiskChange::Cut { volume: from, snapshot: id.to_owned() });
        }
        match snapshot {
            Some(snapshot) => self.set_snapshot(&snapshot, "available"),
            None => self.touch(&volume, |volume| volume.status = volume.before),
        }
    }

    pub(super) fn backup_gone(&mut self, id: &str, caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.set_backup(id, "error_deleting");
        } else {
            self.disk_change(|| DiskChange::Gone { object: id.to_owned() });
            self.backups.remove(id);
        }
    }

    pub(super) fn restored(&mut self, volume: &str, backup: &str, caller: &Caller) {
        let failed = caller.fate.fails.is_some();
        self.set(volume, if failed { "error_restoring" } else { "available" });
        self.set_backup(backup, "available");
        if !failed {
            self.refill(volume, backup);
        }
    }
}
