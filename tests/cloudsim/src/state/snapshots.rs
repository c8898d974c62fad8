//! The life of snapshots.

use super::agenda::What;
use super::objects::{Metadata, Snapshot};
use super::{Caller, Cloud, DiskChange, Phase, Refusal, Result};

/// What somebody wants to have cut.
#[derive(Clone, Debug, Default)]
pub struct SnapshotWish {
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Of which volume.
    pub volume: String,
    /// Also while a server has it.
    pub force: bool,
    /// What is noted about it.
    pub metadata: Metadata,
}

impl Cloud {
    /// A snapshot of a project.
    pub fn snapshot(&self, project: &str, id: &str) -> Result<&Snapshot> {
        let found = self.snapshots.get(id).filter(|snapshot| snapshot.project == project);
        found.ok_or_else(|| Refusal::missing(format!("Snapshot {id} could not be found.")))
    }

    /// Begins to make a snapshot, and tells its id.
    pub fn create_snapshot(&mut self, caller: &Caller, wish: SnapshotWish) -> Result<String> {
        let volume = self.volume(&caller.project, &wish.volume)?;
        if volume.status == "error" {
            return Err(Refusal::invalid(
                "Invalid volume: The snapshot cannot be created when the volume is in error status.",
            ));
        }
        let sound = if wish.force { &["available", "in-use"][..] } else { &["available"][..] };
        if !sound.contains(&volume.status) {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume {} status must be {}, but current status is: {}.",
                volume.id,
                sound.join(", "),
                volume.status
            )));
        }
        let (size, kind) = (volume.size, volume.kind.clone());
        let used = self.usage(&caller.project, None).snapshots;
        self.afford_one(&caller.project, "snapshots", used, "SnapshotLimitExceeded")?;
        self.afford(&caller.project, 0, size, &kind)?;
        let id = self.insert_snapshot(caller, wish, size, None);
        let after = caller.fate.duration(self.config.timings.snapshot);
        self.plan(after, Phase::Snapshot, &id, What::SnapshotMade, caller);
        Ok(id)
    }

    pub(super) fn insert_snapshot(
        &mut self,
        caller: &Caller,
        wish: SnapshotWish,
        size: u64,
        cut: Option<String>,
    ) -> String {
        let id = self.ids.uuid();
        self.snapshots.insert(Snapshot {
            id: id.clone(),
            project: caller.project.clone(),
            user: caller.user.clone(),
            name: wish.name,
            description: wish.description,
            status: "creating",
            size,
            volume: wish.volume,
            cut,
            created: self.now,
            updated: None,
            metadata: wish.metadata,
        });
        id
    }

    /// Begins to delete a snapshot.
    pub fn delete_snapshot(&mut self, caller: &Caller, id: &str) -> Result<()> {
        let snapshot = self.snapshot(&caller.project, id)?;
        if !matches!(snapshot.status, "available" | "error") || snapshot.cut.is_some() {
            return Err(Refusal::invalid(
                "Invalid snapshot: Snapshot status must be available or error and must not be part of a group.",
            ));
        }
        self.set_snapshot(id, "deleting");
        let after = caller.fate.duration(self.config.timings.delete_snapshot);
        self.plan(after, Phase::DeleteSnapshot, id, What::SnapshotGone, caller);
        Ok(())
    }

    /// Begins to set a volume back to its newest snapshot.
    pub fn revert_volume(&mut self, caller: &Caller, id: &str, snapshot: &str) -> Result<()> {
        let volume = self.volume(&caller.project, id)?;
        let newest = self.snapshots.iter().rev().find(|snapshot| snapshot.volume == id);
        let Some(newest) = newest else {
            return Err(Refusal::invalid(format!("Volume {id} doesn't have any snapshots.")));
        };
        if newest.id != snapshot {
            return Err(Refusal::invalid(format!(
                "Specified snapshot {snapshot} is None or not the latest one of volume {id}."
            )));
        }
        if newest.size != volume.size {
            return Err(Refusal::invalid(format!(
                "Can't revert volume {id} to its latest snapshot {snapshot}. The volume size must be equal to the \
                 snapshot size."
            )));
        }
        if volume.status != "available" || newest.status != "available" {
            return Err(Refusal::conflict(format!(
                "Invalid volume: Can't revert volume {id} to its latest snapshot {snapshot}. Volume's status must be \
                 'available'."
            )));
        }
        self.set(id, "reverting");
        self.set_snapshot(snapshot, "restoring");
        let after = caller.fate.duration(self.config.timings.snapshot);
        self.plan(after, Phase::Snapshot, id, What::VolumeReverted, caller);
        Ok(())
    }

    pub(super) fn set_snapshot(&mut self, id: &str, status: &'static str) {
        let now = self.now;
        if let Some(snapshot) = self.snapshots.get_mut(id) {
            snapshot.status = status;
            snapshot.updated = Some(now);
        }
    }

    pub(super) fn snapshot_made(&mut self, id: &str, caller: &Caller) {
        if let Some(text) = &caller.fate.fails {
            self.set_snapshot(id, "error");
            self.tell(caller, "VOLUME_SNAPSHOT", id, "VOLUME_VOLUME_SNAPSHOT_013_025", text.clone());
            return;
        }
        self.set_snapshot(id, "available");
        let Some(volume) = self.snapshots.get(id).map(|snapshot| snapshot.volume.clone()) else { return };
        self.disk_change(|| DiskChange::Cut { volume, snapshot: id.to_owned() });
    }

    pub(super) fn snapshot_gone(&mut self, id: &str, caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.set_snapshot(id, "error_deleting");
            return;
        }
        self.disk_change(|| DiskChange::Gone { object: id.to_owned() });
        self.snapshots.remove(id);
    }

    pub(super) fn volume_reverted(&mut self, id: &str, caller: &Caller) {
        let failed = caller.fate.fails.is_some();
        self.set(id, if failed { "error" } else { "available" });
        let restoring = self.snapshots.iter().filter(|one| one.volume == id && one.status == "restoring");
        let restoring: Vec<_> = restoring.map(|one| one.id.clone()).collect();
        for snapshot in restoring {
            self.set_snapshot(&snapshot, "available");
            if !failed {
                self.refill(id, &snapshot);
            }
        }
    }

    /// A volume that nobody has gets another content.
    pub(super) fn refill(&mut self, volume: &str, from: &str) {
        let Some(size) = self.volumes.get(volume).map(|one| one.size) else { return };
        self.disk_change(|| DiskChange::Gone { object: volume.to_owned() });
        let (volume, from) = (volume.to_owned(), Some(from.to_owned()));
        self.disk_change(|| DiskChange::Made { volume, size, from });
    }
}
