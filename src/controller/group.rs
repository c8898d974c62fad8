//! Snapshots of several volumes at one moment.

use std::collections::BTreeSet;

use crate::backend::GroupOrder;
use crate::controller::snapshot::lacking;
use crate::controller::{Controller, Found, parameters};
use crate::error::{Error, Result};
use crate::flight::phase;
use crate::volume::{
    BackendName, GroupSnapshot, GroupSnapshotId, NativeId, Parameters, SnapshotId, VolumeId,
};

/// CreateVolumeGroupSnapshot, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The volumes; repetitions count once.
    pub volumes: BTreeSet<VolumeId>,
    /// As the VolumeGroupSnapshotClass has them.
    pub parameters: Parameters,
}

impl Controller {
    /// Cuts snapshots of all the volumes at one moment, or finds those that an earlier try cut.
    ///
    /// # Errors
    /// `FailedPrecondition` for volumes that no one back end has, or whose back end has no group snapshots (CSI spec:
    /// they cannot be grouped); else as [`crate::backend::Backend::create_group`].
    pub async fn create_group(&self, group: Group) -> Result<Found<GroupSnapshot>> {
        let Group { name, volumes, parameters } = group;
        let holder = one_holder(&volumes)?;
        let backend = self.backends.get(&holder)?.clone();
        if !backend.capabilities().group_snapshots {
            return Err(lacking(&holder, "group snapshots"));
        }
        let (parameters, _) = parameters::split(parameters);
        let volumes = volumes.into_iter().map(|id| id.native).collect();
        let order = GroupOrder { name, volumes, parameters };
        let key = format!("group-name/{}", order.name);
        let fingerprint = (holder.clone(), order.clone());
        let item = self
            .fly(key, "create group snapshot", &fingerprint, async move {
                phase("snapshot");
                backend.create_group(&order).await
            })
            .await?;
        Ok(Found { backend: holder, item })
    }

    /// Deletes a group snapshot with its members. Missing is `Ok`.
    ///
    /// # Errors
    /// `InvalidArgument` where the members are others than `members`; else as
    /// [`crate::backend::Backend::delete_group`]; `FailedPrecondition` where its back end is not configured.
    pub async fn delete_group(&self, id: &GroupSnapshotId, members: &[SnapshotId]) -> Result<()> {
        let backend = self.holder(&id.backend)?;
        if !backend.capabilities().group_snapshots {
            return Ok(());
        }
        let native = id.native.clone();
        let members = members_in(id, members)?;
        self.fly(format!("group/{id}"), "delete group snapshot", &(id, members.clone()), async move {
            phase("delete");
            backend.delete_group(&native, &members).await
        })
        .await
    }

    /// Tells of one group snapshot, whose members must be `members`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` where the members are others.
    pub async fn get_group(
        &self,
        id: &GroupSnapshotId,
        members: &[SnapshotId],
    ) -> Result<Found<GroupSnapshot>> {
        let backend = self.backends.get(&id.backend)?;
        if !backend.capabilities().group_snapshots {
            return Err(Error::not_found(format!("back end {} has no group snapshots", id.backend)));
        }
        let item = backend.get_group(&id.native).await?;
        let told: BTreeSet<NativeId> = members_in(id, members)?.into_iter().collect();
        if told != item.members.iter().map(|member| member.id.clone()).collect() {
            return Err(mismatch(id));
        }
        Ok(Found { backend: id.backend.clone(), item })
    }
}

/// The back end that has all of the volumes.
fn one_holder(volumes: &BTreeSet<VolumeId>) -> Result<BackendName> {
    let first =
        volumes.first().ok_or_else(|| Error::invalid("no source volume is named: one at least is needed"))?;
    match volumes.iter().find(|id| id.backend != first.backend) {
        None => Ok(first.backend.clone()),
        Some(other) => Err(Error::precondition(format!(
            "the volumes are in different back ends ({}, {}): only volumes of one back end can be cut at one moment",
            first.backend, other.backend
        ))),
    }
}

fn members_in(group: &GroupSnapshotId, members: &[SnapshotId]) -> Result<Vec<NativeId>> {
    let inside = |id: &SnapshotId| (id.backend == group.backend).then(|| id.native.clone());
    members
        .iter()
        .map(inside)
        .collect::<Option<BTreeSet<_>>>()
        .map_or_else(|| Err(mismatch(group)), |members| Ok(members.into_iter().collect()))
}

fn mismatch(group: &GroupSnapshotId) -> Error {
    Error::invalid("snapshot_ids are not the members of this group snapshot: name exactly those")
        .with("group_snapshot", group)
}
