//! Group snapshots: they exist, and so do their members, exactly if the group's record does.

use sha2::{Digest, Sha256};

use super::{Class, Client, now, time};
use crate::backend::GroupOrder;
use crate::backend::file::model::GroupRecord;
use crate::error::{Error, Kind, Outcome, Result};
use crate::failpoint;
use crate::host::files;
use crate::host::lock::Mode;
use crate::volume::{GroupSnapshot, NativeId, native_name};

/// The id of a member: two `~`, which no id from a name has. All members of a group begin alike, so that what is left
/// of one is found by name.
fn member(group: &NativeId, volume: &NativeId) -> Result<NativeId> {
    format!("{}{}", prefix(group), hex(volume)).parse()
}

fn prefix(group: &NativeId) -> String {
    format!("group~{}~", hex(group))
}

fn hex(id: &NativeId) -> String {
    Sha256::digest(id.as_str().as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Client {
    pub(in super::super) fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        let id = native_name(&order.name)?;
        let mut volumes = order.volumes.clone();
        volumes.sort_unstable();
        volumes.dedup();
        if volumes.is_empty() {
            return Err(Error::invalid("a group snapshot needs at least one volume"));
        }
        let members = volumes.iter().map(|volume| member(&id, volume)).collect::<Result<Vec<_>>>()?;
        let _group = self.lock(&[(Class::Group.key(&id), Mode::Exclusive)])?;
        if let Some(group) = self.record::<GroupRecord>(Class::Group, &id)? {
            if group.volumes != volumes {
                return Err(Error::refused(
                    Kind::AlreadyExists,
                    format!("a group snapshot named {:?} exists of other volumes", order.name),
                )
                .with("group", &id));
            }
            return self.get_group(&id);
        }
        // What an earlier try left.
        self.discard_group(&id)?;
        let keys: Vec<_> = members
            .iter()
            .map(|member| (Class::Snapshot.key(member), Mode::Exclusive))
            .chain(volumes.iter().map(|volume| (Class::Volume.key(volume), Mode::Shared)))
            .collect();
        let guard = self.lock(&keys)?;
        self.check_group(&volumes)?;
        let record = GroupRecord { name: order.name.clone(), created: now(), volumes, members };
        let cut = self.begin(Class::Group, &id, &record).and_then(|()| {
            failpoint::step("file.group-begun");
            record.volumes.iter().zip(&record.members).try_for_each(|(volume, member)| {
                self.cut(member, member.as_str(), volume, Some(&id), record.created)?;
                failpoint::step("file.member-cut");
                Ok(())
            })
        });
        if let Err(error) = cut.and_then(|()| self.commit(Class::Group, &id)) {
            drop(guard);
            return Err(match self.discard_group(&id) {
                Ok(()) if error.kind() == Kind::ResourceExhausted => error.with_outcome(Outcome::Refused),
                Ok(()) => error,
                Err(failed) => {
                    tracing::warn!(error = failed.chain(), group = %id, "members stay until the next start");
                    error.with_outcome(Outcome::Unknown)
                }
            });
        }
        self.get_group(&id)
    }

    /// All volumes exist, and at most one may be written to: the cuts are made one after the other, and only with one
    /// writer is there a moment whose state they all show.
    fn check_group(&self, volumes: &[NativeId]) -> Result<()> {
        let mut used = Vec::new();
        for volume in volumes {
            self.get(volume)?;
            let writers = self.writers(volume)?;
            if !writers.is_empty() {
                used.push(format!("{volume} on {}", writers.join(", ")));
            }
        }
        if used.len() > 1 {
            return Err(Error::precondition(format!(
                "several of the volumes are in use ({}): snapshots of them cannot show one moment; detach all but one",
                used.join("; ")
            )));
        }
        Ok(())
    }

    /// Makes the group not exist and then removes its members. The caller holds its lock.
    pub(super) fn discard_group(&self, id: &NativeId) -> Result<()> {
        let (json, part) = (self.path(Class::Group, id, "json"), self.path(Class::Group, id, "part"));
        let directory = self.directory().join("groups");
        if files::extent(&json)?.is_some() {
            files::rename(&json, &part)?;
            files::sync_directory(&directory)?;
            failpoint::step("file.group-unlisted");
        } else if files::extent(&part)?.is_none() {
            return Ok(());
        }
        let prefix = prefix(id);
        for suffix in [".json", ".part"] {
            for member in self.with_suffix(Class::Snapshot, suffix)? {
                if member.as_str().starts_with(&prefix) {
                    let _guard = self.lock(&[(Class::Snapshot.key(&member), Mode::Exclusive)])?;
                    self.discard(Class::Snapshot, &member)?;
                    failpoint::step("file.member-removed");
                }
            }
        }
        files::remove(&part)?;
        files::sync_directory(&directory)
    }

    pub(in super::super) fn delete_group(&self, id: &NativeId, members: &[NativeId]) -> Result<()> {
        let _group = self.lock(&[(Class::Group.key(id), Mode::Exclusive)])?;
        if let Some(group) = self.record::<GroupRecord>(Class::Group, id)? {
            let mut believed = members.to_vec();
            believed.sort_unstable();
            believed.dedup();
            let mut actual = group.members;
            actual.sort_unstable();
            if believed != actual {
                return Err(Error::invalid(format!(
                    "the group snapshot has {} members, and they are not the {} that were named",
                    actual.len(),
                    members.len()
                ))
                .with("group", id));
            }
            // A member that is being copied from stays locked until that is done.
            let keys: Vec<_> =
                actual.iter().map(|member| (Class::Snapshot.key(member), Mode::Exclusive)).collect();
            drop(self.lock(&keys)?);
        }
        self.discard_group(id)
    }

    pub(in super::super) fn get_group(&self, id: &NativeId) -> Result<GroupSnapshot> {
        let missing = || Error::not_found("the group snapshot does not exist").with("group", id);
        let record: GroupRecord = self.record(Class::Group, id)?.ok_or_else(missing)?;
        let mut members = Vec::with_capacity(record.members.len());
        for member in &record.members {
            members.push(match self.snapshot(member)? {
                Some(snapshot) => snapshot,
                // Deleted between the two looks, or lost.
                None if self.record::<GroupRecord>(Class::Group, id)?.is_none() => return Err(missing()),
                None => {
                    return Err(Error::internal(format!("its member {member} is lost")).with("group", id));
                }
            });
        }
        Ok(GroupSnapshot { id: id.clone(), name: record.name, created: time(record.created), members })
    }
}
