//! The life of groups and their snapshots.

use super::agenda::What;
use super::objects::{Cut, Group, Metadata};
use super::{Caller, Cloud, DiskChange, Phase, Refusal, Result, SnapshotWish};

/// What somebody wants to have made.
#[derive(Clone, Debug, Default)]
pub struct GroupWish {
    /// Its name.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Its type's id or name.
    pub kind: String,
    /// The types of its volumes, by id or name.
    pub volume_types: Vec<String>,
    /// Its zone.
    pub zone: Option<String>,
}

impl Cloud {
    /// A group of a project.
    pub fn group(&self, project: &str, id: &str) -> Result<&Group> {
        let found = self.groups.get(id).filter(|group| group.project == project);
        found.ok_or_else(|| Refusal::missing(format!("Group {id} could not be found.")))
    }

    /// A group snapshot of a project.
    pub fn cut(&self, project: &str, id: &str) -> Result<&Cut> {
        let found = self.cuts.get(id).filter(|cut| cut.project == project);
        found.ok_or_else(|| Refusal::missing(format!("GroupSnapshot {id} could not be found.")))
    }

    /// The ids of a group's volumes.
    #[must_use]
    pub fn members(&self, group: &str) -> Vec<String> {
        let members = self.volumes.iter().filter(|volume| volume.group.as_deref() == Some(group));
        members.map(|volume| volume.id.clone()).collect()
    }

    /// Begins to make a group, and tells its id.
    pub fn create_group(&mut self, caller: &Caller, wish: GroupWish) -> Result<String> {
        let known =
            self.config.group_types.iter().find(|kind| kind.id == wish.kind || kind.name == wish.kind);
        let Some(kind) = known.map(|kind| kind.id.clone()) else {
            return Err(Refusal::missing(format!("Group type {} could not be found.", wish.kind)));
        };
        let mut volume_types = Vec::new();
        for wanted in &wish.volume_types {
            let Some(kind) = self.config.volume_type(wanted) else {
                return Err(Refusal::missing(format!("Volume type {wanted} could not be found.")));
            };
            volume_types.push(kind.id.clone());
        }
        let default = self.config.zones.first().cloned().unwrap_or_default();
        let zone = wish.zone.unwrap_or(default);
        if !self.config.zones.contains(&zone) {
            return Err(Refusal::invalid(format!(
                "Invalid input received: Availability zone '{zone}' is invalid."
            )));
        }
        let used = self.usage(&caller.project, None).groups;
        self.afford_one(&caller.project, "groups", used, "GroupLimitExceeded")?;
        let id = self.new_id();
        self.groups.insert(Group {
            id: id.clone(),
            project: caller.project.clone(),
            name: wish.name,
            description: wish.description,
            status: "creating",
            kind,
            volume_types,
            zone,
            created: self.now,
        });
        let after = caller.fate.duration(self.config.timings.snapshot);
        self.plan(after, Phase::Group, &id, What::GroupSettled, caller);
        Ok(id)
    }

    /// Begins to take volumes in and out.
    pub fn change_group(
        &mut self,
        caller: &Caller,
        id: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<()> {
        let group = self.group(&caller.project, id)?;
        if group.status != "available" {
            return Err(Refusal::invalid(format!(
                "Invalid Group: Group status must be available, but current status is: {}.",
                group.status
            )));
        }
        if add.is_empty() && remove.is_empty() {
            return Err(Refusal::invalid(format!(
                "Invalid Group: Cannot update group {id} because no valid name, description, add_volumes, or \
                 remove_volumes were provided."
            )));
        }
        for volume in add {
            let Ok(found) = self.volume(&caller.project, volume) else {
                return Err(Refusal::invalid(format!(
                    "Invalid volume: Cannot add volume {volume} to group {id} because volume cannot be found."
                )));
            };
            if let Some(other) = &found.group {
                return Err(Refusal::invalid(format!(
                    "Invalid volume: Cannot add volume {volume} to group {id} because it is already in group {other}."
                )));
            }
            if !group.volume_types.contains(&found.kind) {
                return Err(Refusal::invalid(format!(
                    "Invalid volume: Cannot add volume {volume} to group {id} because volume type {} is not supported \
                     by the group.",
                    found.kind
                )));
            }
            if !matches!(found.status, "available" | "in-use") {
                return Err(Refusal::invalid(format!(
                    "Invalid volume: Cannot add volume {volume} to group {id} because volume is in an invalid state: \
                     {}. Valid states are: ('available', 'in-use').",
                    found.status
                )));
            }
        }
        let members = self.members(id);
        if let Some(stranger) = remove.iter().find(|volume| !members.contains(volume)) {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Cannot remove volume {stranger} from group {id} because it is not in the group."
            )));
        }
        self.set_group(id, "updating");
        let what = What::GroupChanged { add: add.to_vec(), remove: remove.to_vec() };
        let after = caller.fate.duration(self.config.timings.snapshot);
        self.plan(after, Phase::Group, id, what, caller);
        Ok(())
    }

    /// Begins to delete a group.
    pub fn delete_group(&mut self, caller: &Caller, id: &str, volumes: bool) -> Result<()> {
        let group = self.group(&caller.project, id)?;
        if !matches!(group.status, "available" | "error") {
            return Err(Refusal::invalid(format!(
                "Invalid Group: Group status must be available or error, but current status is: {}",
                group.status
            )));
        }
        let members = self.members(id);
        if self.cuts.iter().any(|cut| cut.group == id) {
            return Err(Refusal::invalid("Invalid Group: Group has existing snapshots."));
        }
        if !members.is_empty() && !volumes {
            return Err(Refusal::invalid(format!(
                "Invalid Group: Group {id} still contains volumes. The delete-volumes flag is required to delete it."
            )));
        }
        let attached = |volume: &String| self.attachments.iter().any(|one| &one.volume == volume);
        if let Some(volume) = members.iter().find(|volume| attached(volume)) {
            return Err(Refusal::invalid(format!(
                "Invalid volume: Volume in group {id} is attached: {volume}"
            )));
        }
        self.set_group(id, "deleting");
        for member in members {
            self.set(&member, "deleting");
        }
        let after = caller.fate.duration(self.config.timings.delete_snapshot);
        self.plan(after, Phase::Group, id, What::GroupGone { volumes }, caller);
        Ok(())
    }

    /// Begins to make snapshots of a group's volumes, and tells the group snapshot's id.
    pub fn create_cut(
        &mut self,
        caller: &Caller,
        group: &str,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<String> {
        let found = self.group(&caller.project, group)?;
        if found.status != "available" {
            return Err(Refusal::invalid(format!(
                "Invalid Group: Group status must be available, but current status is: {}.",
                found.status
            )));
        }
        let kind = found.kind.clone();
        let members = self.members(group);
        if members.is_empty() {
            return Err(Refusal::invalid(
                "Invalid Group: Source group cannot be empty or in 'creating' or 'updating' state. No group snapshot will be created.",
            ));
        }
        for member in &members {
            let status = self.volume(&caller.project, member)?.status;
            if !matches!(status, "available" | "in-use") {
                return Err(Refusal::invalid(format!(
                    "Invalid volume: The snapshot cannot be created when the volume is in {status} status."
                )));
            }
        }
        let id = self.new_id();
        for volume in members {
            let Some((size, kind)) = self.volumes.get(&volume).map(|one| (one.size, one.kind.clone())) else {
                continue;
            };
            self.afford(&caller.project, 0, size, &kind)?;
            let (name, description) = (name.clone(), description.clone());
            let wish = SnapshotWish { name, description, volume, force: true, metadata: Metadata::new() };
            self.insert_snapshot(caller, wish, size, Some(id.clone()));
        }
        self.cuts.insert(Cut {
            id: id.clone(),
            project: caller.project.clone(),
            name,
            description,
            status: "creating",
            group: group.to_owned(),
            kind,
            created: self.now,
        });
        let after = caller.fate.duration(self.config.timings.snapshot);
        self.plan(after, Phase::Group, &id, What::CutMade, caller);
        Ok(id)
    }

    /// Begins to delete a group snapshot.
    pub fn delete_cut(&mut self, caller: &Caller, id: &str) -> Result<()> {
        let cut = self.cut(&caller.project, id)?;
        if !matches!(cut.status, "available" | "error") {
            return Err(Refusal::invalid(
                "Invalid GroupSnapshot: Group snapshot status must be available or error, and no group can be \
                 currently using this group snapshot as source for its creation.",
            ));
        }
        self.set_cut(id, "deleting");
        let after = caller.fate.duration(self.config.timings.delete_snapshot);
        self.plan(after, Phase::Group, id, What::CutGone, caller);
        Ok(())
    }

    fn set_group(&mut self, id: &str, status: &'static str) {
        if let Some(group) = self.groups.get_mut(id) {
            group.status = status;
        }
    }

    fn set_cut(&mut self, id: &str, status: &'static str) {
        if let Some(cut) = self.cuts.get_mut(id) {
            cut.status = status;
        }
        for snapshot in self.cut_members(id) {
            self.set_snapshot(&snapshot, status);
        }
    }

    fn cut_members(&self, cut: &str) -> Vec<String> {
        let members = self.snapshots.iter().filter(|one| one.cut.as_deref() == Some(cut));
        members.map(|one| one.id.clone()).collect()
    }

    pub(super) fn group_settled(&mut self, id: &str, caller: &Caller) {
        self.set_group(id, if caller.fate.fails.is_some() { "error" } else { "available" });
    }

    pub(super) fn group_changed(&mut self, id: &str, add: &[String], remove: &[String], caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.set_group(id, "error");
            return;
        }
        for volume in add {
            self.touch(volume, |volume| volume.group = Some(id.to_owned()));
        }
        for volume in remove {
            self.touch(volume, |volume| volume.group = None);
        }
        self.set_group(id, "available");
    }

    pub(super) fn group_gone(&mut self, id: &str, volumes: bool, caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.set_group(id, "error");
            return;
        }
        for member in self.members(id) {
            if volumes {
                self.volume_gone(&member, caller);
            }
        }
        self.groups.remove(id);
    }

    pub(super) fn cut_made(&mut self, id: &str, caller: &Caller) {
        let failed = caller.fate.fails.is_some();
        self.set_cut(id, if failed { "error" } else { "available" });
        for snapshot in self.cut_members(id).into_iter().filter(|_| !failed) {
            let Some(volume) = self.snapshots.get(&snapshot).map(|one| one.volume.clone()) else { continue };
            self.disk_change(|| DiskChange::Cut { volume, snapshot });
        }
    }

    pub(super) fn cut_gone(&mut self, id: &str, caller: &Caller) {
        if caller.fate.fails.is_some() {
            self.set_cut(id, "error_deleting");
            return;
        }
        for snapshot in self.cut_members(id) {
            self.snapshot_gone(&snapshot, caller);
        }
        self.cuts.remove(id);
    }
}
