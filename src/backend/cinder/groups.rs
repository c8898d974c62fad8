//! Snapshots of several volumes at one moment, by Cinder's generic groups.
//!
//! Cinder cuts a group, and a volume in a group can be neither deleted nor given another type. So a group is made for the
//! cut alone: its volumes come in, it is cut, they leave, and it stays, empty, as long as its snapshot, which names it.

use std::collections::BTreeSet;

use crate::backend::GroupOrder;
use crate::backend::cinder::client::{self, Client};
use crate::backend::cinder::model::{self, Group, GroupType, Status};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{GroupSnapshot, NativeId, Parameters};

use super::notes::{self, Name};
use super::{Cloud, twins, wait};

/// What a group type says whose snapshots show all volumes at one moment.
const CONSISTENT: (&str, &str) = ("consistent_group_snapshot_enabled", "<is> True");
/// The turn of all who change groups.
const TURN: &str = "groups";

/// The group types whose snapshots show one moment: those that say so, and those of which the operator says so, because
/// clouds tell their users nothing of a group type but its name. A cloud without groups has none.
///
/// # Errors
/// Where the types cannot be listed; `FailedPrecondition` where the operator names one that is none.
pub(super) async fn consistent_types(client: &Client, named: &[String]) -> Result<Vec<GroupType>> {
    let types = match client.group_types().await {
        Ok(types) => types,
        Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::NotFound | Kind::PermissionDenied) => {
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let names: Vec<_> = types.iter().map(|one| one.name.as_str()).collect();
    if let Some(missing) = named.iter().find(|name| !names.contains(&name.as_str())) {
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Error::precondition(format!(
            "\"consistentGroupTypes\" names {missing:?}, and the group types of the cloud are {names}"
        )));
    }
    let promises =
        |one: &GroupType| one.group_specs.get(CONSISTENT.0).is_some_and(|value| value == CONSISTENT.1);
    Ok(types.into_iter().filter(|one| promises(one) || named.contains(&one.name)).collect())
}

fn is_gone(error: &Error) -> bool {
    error.is_not_found() && error.outcome() == Outcome::Refused
}

/// The verdict of who waits for a deletion: only what is still being deleted may yet go.
fn left(what: &'static str, id: &str, status: Option<&Status>) -> Option<Result<()>> {
    match status {
        None | Some(Status::Deleted) => Some(Ok(())),
        Some(Status::Deleting) => None,
        Some(status) => {
            let text = format!("the cloud began to delete it and left it {status}");
            Some(Err(Error::unknown(Kind::Unavailable, text).with(what, id)))
        }
    }
}

/// Why there is no snapshot of a group.
enum Uncut {
    /// Nothing comes of it any more.
    Failed(Error),
    /// The answer to its order was lost: it may still be cut.
    Perhaps(Error),
}

impl From<Error> for Uncut {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Cloud {
    /// Cuts the volumes at one moment.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create_group`].
    pub(super) async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        let group_type = self.group_type(&order.parameters)?.to_owned();
        let name = Name::new(&self.config, &order.name)?;
        let wanted: BTreeSet<String> = order.volumes.iter().map(ToString::to_string).collect();
        if wanted.is_empty() {
            return Err(Error::invalid("a group snapshot needs at least one volume"));
        }
        let _turn = self.turns.take(TURN).await;
        if let Some(found) = self.find_group(&name).await? {
            if let Some(cut) = self.cut_of(&found.id).await? {
                return self.finish(&name, &found, &cut, &wanted).await;
            }
            // What an earlier try left before the cut. While it is there, nothing is final.
            self.dissolve(&found).await.map_err(|error| error.with_outcome(Outcome::Unknown))?;
        }
        let types = self.check_members(&wanted).await?;
        let begun = client::GroupOrder {
            name: name.cloud.clone(),
            description: Some(self.mark(&name)),
            group_type,
            volume_types: types.into_iter().collect(),
            availability_zone: None,
        };
        let made = match self.client.create_group(&begun).await {
            Ok(id) => Ok(id),
            Err(error) if error.outcome() == Outcome::Refused => {
                return Err(self.exhausted(error, 0, None).await);
            }
            Err(error) => match self.find_group(&name).await? {
                Some(group) => Ok(group.id),
                None => Err(error),
            },
        }?;
        match self.cut_group(&made, &name, &wanted).await {
            Ok(cut) => self.finish(&name, &self.client.group(&made).await?, &cut, &wanted).await,
            Err(Uncut::Perhaps(error)) => {
                let error = error.and("the group is left as it is for the next try");
                Err(error.with_outcome(Outcome::Unknown))
            }
            Err(Uncut::Failed(error)) => Err(self.undo(&made, error).await),
        }
    }

    /// Removes a group that could not be cut. Where it stays, so that a retry finds it, the error is not final.
    async fn undo(&self, group: &str, error: Error) -> Error {
        let removed = match self.client.group(group).await {
            Ok(group) => self.dissolve(&group).await,
            Err(lost) if is_gone(&lost) => Ok(()),
            Err(lost) => Err(lost),
        };
        match removed {
            Ok(()) => error,
            Err(left) => {
                tracing::warn!(group, error = left.chain(), "a group that could not be cut stays for now");
                error.and(format_args!("its group stays for now: {left}")).with_outcome(Outcome::Unknown)
            }
        }
    }

    /// The group type to use.
    fn group_type(&self, parameters: &Parameters) -> Result<&str> {
        let mut reader = parameters.reader();
        let named = reader.text("groupType");
        reader.finish()?;
        let names: Vec<_> = self.group_types.iter().map(|one| one.name.as_str()).collect();
        match (named, self.group_types.as_slice()) {
            (Some(named), types) => {
                types.iter().find(|one| one.name == named || one.id == named).map(|one| one.id.as_str())
            }
            (None, [only]) => Some(only.id.as_str()),
            (None, _) => None,
        }
        .ok_or_else(|| {
            let told =
                named.map_or_else(|| "is missing".to_owned(), |named| format!("has the value {named:?}"));
            Error::invalid(format!(
                "parameter \"groupType\" {told}: the group types whose snapshots show one moment are {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
        })
    }

    /// What says of a group whose it is: groups have no notes.
    fn mark(&self, name: &Name) -> String {
        format!("{} {}: {}", notes::CLUSTER, self.config.cluster, name.csi)
    }

    async fn find_group(&self, name: &Name) -> Result<Option<Group>> {
        let mark = self.mark(name);
        let mut groups = self.client.groups().await?;
        groups.retain(|group| {
            group.name.as_deref() == Some(&name.cloud)
                && group.description.as_deref() == Some(&mark)
                && group.status != Status::Deleting
        });
        groups.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(groups.into_iter().next())
    }

    /// The snapshot of a group, once it is made. One that could not be made is removed.
    async fn cut_of(&self, group: &str) -> Result<Option<model::GroupSnapshot>> {
        let all = self.client.group_snapshots().await?;
        let Some(cut) = all.into_iter().find(|one| one.group_id == group) else { return Ok(None) };
        let ended = self
            .watcher
            .group_snapshot(&cut.id, wait::LIMIT, |found| match found {
                Some(found) if twins::is_being_made(&found.status) => None,
                found => Some(Ok(found.cloned())),
            })
            .await?;
        match ended {
            Some(cut) if cut.status == Status::Available => Ok(Some(cut)),
            Some(cut) => {
                self.remove_cut(&cut.id).await?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// All volumes are there and belong to no other group. Their types, which the group must allow.
    async fn check_members(&self, wanted: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut types = BTreeSet::new();
        for id in wanted {
            let volume = self.client.volume(id).await.map_err(|error| error.with("volume", id))?;
            if let Some(group) = &volume.group_id {
                return Err(Error::precondition(format!("it belongs to another group already, {group}"))
                    .with("volume", id));
            }
            if !matches!(volume.status, Status::Available | Status::InUse) {
                return Err(Error::precondition(format!(
                    "it is {}, and is cut only while it is available or in-use",
                    volume.status
                ))
                .with("volume", id));
            }
            types.extend(volume.volume_type);
        }
        Ok(types)
    }

    async fn cut_group(
        &self,
        group: &str,
        name: &Name,
        wanted: &BTreeSet<String>,
    ) -> Result<model::GroupSnapshot, Uncut> {
        self.group_at_rest(group).await?;
        let members: Vec<_> = wanted.iter().cloned().collect();
        self.client.change_group(group, &members, &[]).await.map_err(|error| match error.kind() {
            // The volumes do not fit together: another back end, a type that the group does not allow.
            Kind::InvalidArgument => error.with_kind(Kind::FailedPrecondition),
            _ => error,
        })?;
        let inside: BTreeSet<_> = self.group_at_rest(group).await?.volumes.into_iter().collect();
        if inside != *wanted {
            let text =
                format!("the cloud took {} of the {} volumes into the group", inside.len(), wanted.len());
            return Err(Error::unknown(Kind::Unavailable, text).with("group", group).into());
        }
        let id = match self.client.create_group_snapshot(group, &name.cloud).await {
            Ok(id) => id,
            Err(error) => {
                let error = self.exhausted(error, 0, None).await.with("group", group);
                return Err(match error.outcome() {
                    Outcome::Refused => Uncut::Failed(error),
                    Outcome::Unknown => Uncut::Perhaps(error),
                });
            }
        };
        let failed = || {
            let error = Error::unknown(Kind::Unavailable, "the cloud could not cut the group");
            Uncut::Failed(error.with("group_snapshot", &id))
        };
        // It is ordered, so whatever hinders the looking does not end it.
        self.cut_of(group).await.map_err(Uncut::Perhaps)?.ok_or_else(failed)
    }

    async fn group_at_rest(&self, id: &str) -> Result<Group> {
        self.watcher
            .group(id, wait::LIMIT, |group| match group {
                None => Some(Err(Error::unknown(Kind::Unavailable, "the group is gone").with("group", id))),
                Some(group) if matches!(group.status, Status::Creating | Status::Updating) => None,
                Some(group) if group.status == Status::Available => Some(Ok(group.clone())),
                Some(group) => {
                    Some(Err(Error::unknown(Kind::Unavailable, format!("the group is {}", group.status))
                        .with("group", id)))
                }
            })
            .await
    }

    /// Lets the volumes go, and tells of the snapshot.
    async fn finish(
        &self,
        name: &Name,
        group: &Group,
        cut: &model::GroupSnapshot,
        wanted: &BTreeSet<String>,
    ) -> Result<GroupSnapshot> {
        let members = self.members(&cut.id).await?;
        let of: BTreeSet<_> = members.iter().map(|member| member.volume_id.clone()).collect();
        if of != *wanted {
            return Err(Error::refused(
                Kind::AlreadyExists,
                format!("a group snapshot named {:?} exists of other volumes", name.csi),
            )
            .with("group_snapshot", &cut.id));
        }
        self.empty(group).await?;
        self.get_group(&cut.id).await
    }

    async fn members(&self, cut: &str) -> Result<Vec<model::Snapshot>> {
        let all = self.client.snapshots(&[]).await?;
        Ok(all.into_iter().filter(|one| one.group_snapshot_id.as_deref() == Some(cut)).collect())
    }

    async fn empty(&self, group: &Group) -> Result<()> {
        if !group.volumes.is_empty() {
            self.client.change_group(&group.id, &[], &group.volumes).await?;
            self.group_at_rest(&group.id).await?;
        }
        Ok(())
    }

    /// Removes a group that has no snapshot.
    async fn dissolve(&self, group: &Group) -> Result<()> {
        if let Some(cut) = self.client.group_snapshots().await?.iter().find(|one| one.group_id == group.id) {
            self.remove_cut(&cut.id).await?;
        }
        self.empty(group).await?;
        match self.client.delete_group(&group.id).await {
            Err(error) if !is_gone(&error) => return Err(error.with("group", &group.id)),
            _ => {}
        }
        self.watcher
            .group(&group.id, wait::LIMIT, |found| left("group", &group.id, found.map(|found| &found.status)))
            .await
    }

    async fn remove_cut(&self, id: &str) -> Result<()> {
        match self.client.delete_group_snapshot(id).await {
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error.with("group_snapshot", id)),
            Ok(()) => {}
        }
        self.watcher
            .group_snapshot(id, wait::LIMIT, |found| {
                left("group_snapshot", id, found.map(|found| &found.status))
            })
            .await
    }

    /// Deletes a group snapshot with its members, and the group that was made for it.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete_group`].
    pub(super) async fn delete_group(&self, id: &str, believed: &[NativeId]) -> Result<()> {
        let _turn = self.turns.take(TURN).await;
        let own = match self.client.group_snapshot(id).await {
            Ok(cut) => {
                let members = self.members(id).await?;
                let actual: BTreeSet<_> = members.iter().map(|member| member.id.as_str()).collect();
                let believed: BTreeSet<_> = believed.iter().map(NativeId::as_str).collect();
                if actual != believed {
                    return Err(Error::invalid(format!(
                        "the group snapshot has {} members, and they are not the {} that were named",
                        actual.len(),
                        believed.len()
                    ))
                    .with("group_snapshot", id));
                }
                self.remove_cut(&cut.id).await?;
                Some(cut.group_id)
            }
            Err(error) if is_gone(&error) => None,
            Err(error) => return Err(error),
        };
        // The group of this one, and of those whose deletion broke off here.
        let cuts = self.client.group_snapshots().await?;
        for group in self.our_groups().await? {
            let over = group.volumes.is_empty() && !cuts.iter().any(|cut| cut.group_id == group.id);
            if !over || group.status == Status::Deleting {
                continue;
            }
            match self.dissolve(&group).await {
                Err(error) if own.as_ref() == Some(&group.id) => return Err(error),
                // It belongs to none that is there, and is tried again with the next deletion.
                Err(error) => {
                    tracing::warn!(group = group.id, error = error.chain(), "an empty group stays for now");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn our_groups(&self) -> Result<Vec<Group>> {
        let mark = format!("{} {}: ", notes::CLUSTER, self.config.cluster);
        let mut groups = self.client.groups().await?;
        groups.retain(|group| group.description.as_deref().is_some_and(|text| text.starts_with(&mark)));
        Ok(groups)
    }

    /// The ids of the group snapshots that are ours: their members have no notes, because Cinder makes them.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub(super) async fn our_cuts(&self) -> Result<BTreeSet<String>> {
        let groups: BTreeSet<_> = self.our_groups().await?.into_iter().map(|group| group.id).collect();
        let cuts = self.client.group_snapshots().await?.into_iter();
        Ok(cuts.filter(|cut| groups.contains(&cut.group_id)).map(|cut| cut.id).collect())
    }

    /// Tells of a group snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn get_group(&self, id: &str) -> Result<GroupSnapshot> {
        let cut = self.client.group_snapshot(id).await?;
        let created = cut.created_at.unwrap_or(std::time::UNIX_EPOCH);
        let mut members = Vec::new();
        for member in self.members(id).await? {
            members.push(crate::volume::Snapshot { created, ..self.snapshot(&member)? });
        }
        members.sort_by(|one, other| one.volume.cmp(&other.volume));
        let name = cut.name.unwrap_or_default();
        let name = name.strip_prefix(&self.config.name_prefix).unwrap_or(&name).to_owned();
        Ok(GroupSnapshot { id: id.parse()?, name, created, members })
    }
}
