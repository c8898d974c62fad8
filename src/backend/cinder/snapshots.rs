//! Snapshots, and backups, which are snapshots to the house.

mod make;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backend::cinder::model::{self, Status};
use crate::backend::{SnapshotFilter, SnapshotOrder};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{NativeId, Snapshot};

use super::notes::{self, Cut, Name};
use super::parameters::Copy;
use super::{Cloud, twins, wait};
use make::{Backups, Snapshots, make};

impl Cloud {
    /// Cuts a snapshot, or makes a backup.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create_snapshot`].
    pub(super) async fn create_snapshot(self: &Arc<Self>, order: &SnapshotOrder) -> Result<Snapshot> {
        let copy = Copy::read(&order.parameters)?;
        let name = Name::new(&self.config, &order.name)?;
        let key = make::key(&name);
        let _turn = self.turns.take(&key).await;
        let made = self.make_copy(copy, order, name).await;
        // An earlier order of this name may still be carried out, so that nothing is final.
        made.map_err(
            |error| if self.suspects.has(&key) { error.with_outcome(Outcome::Unknown) } else { error },
        )
    }

    async fn make_copy(self: &Arc<Self>, copy: Copy, order: &SnapshotOrder, name: Name) -> Result<Snapshot> {
        let (told, keep, others) = match &copy {
            Copy::Snapshot => {
                let (made, others) = make(&Snapshots { cloud: self, order, name: &name }).await?;
                (self.snapshot(&made)?, made.id, others)
            }
            Copy::Backup { container, incremental } => {
                let (container, incremental) = (container.as_deref(), *incremental);
                let (made, others) =
                    make(&Backups { cloud: self, order, name: &name, container, incremental }).await?;
                (self.backup(&made)?, made.id, others)
            }
        };
        if others || self.suspects.has(&make::key(&name)) || self.suspects.is_early() {
            self.sweep_copies_later(copy, order.clone(), name, keep);
        }
        Ok(told)
    }

    /// Deletes a snapshot or backup. Missing is `Ok`.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete_snapshot`].
    pub(super) async fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        match notes::cut(id) {
            Cut::Snapshot(id) => self.remove_snapshot(id).await,
            Cut::Backup(id) => self.remove_backup(id).await,
        }
    }

    async fn remove_snapshot(&self, id: &str) -> Result<()> {
        if let Err(refusal) = self.client.delete_snapshot(id).await {
            if is_gone(&refusal) {
                return Ok(());
            }
            // The refusal may be that of a repetition, after the first try was carried out.
            match self.client.snapshot(id).await {
                Err(error) if is_gone(&error) => return Ok(()),
                Ok(snapshot) if snapshot.status == Status::Deleting => {}
                Ok(snapshot) if snapshot.group_snapshot_id.is_some() => {
                    let group = snapshot.group_snapshot_id.unwrap_or_default();
                    return Err(Error::invalid(format!(
                        "it is a member of the group snapshot {group}: delete that one as a whole"
                    ))
                    .with("snapshot", id));
                }
                Ok(snapshot) => {
                    return Err(refusal.and(format!("it is {}", snapshot.status)).with("snapshot", id));
                }
                Err(_) => return Err(refusal.with("snapshot", id)),
            }
        }
        let left =
            self.watcher.snapshot(id, wait::LIMIT, |found| left(found.map(|found| &found.status))).await?;
        self.is_left("snapshot", id, left).await
    }

    async fn remove_backup(&self, id: &str) -> Result<()> {
        if let Err(refusal) = self.client.delete_backup(id).await {
            if is_gone(&refusal) {
                return Ok(());
            }
            match self.client.backup(id).await {
                Err(error) if is_gone(&error) => return Ok(()),
                Ok(backup) if backup.status == Status::Deleting => {}
                Ok(backup) if backup.has_dependent_backups => {
                    return Err(Error::precondition("other backups build on it: delete them first")
                        .with("backup", id));
                }
                _ => return Err(refusal.with("backup", id)),
            }
        }
        let left =
            self.watcher.backup(id, wait::LIMIT, |found| left(found.map(|found| &found.status))).await?;
        self.is_left("backup", id, left).await
    }

    async fn is_left(&self, what: &'static str, id: &str, left: Option<Status>) -> Result<()> {
        let Some(status) = left else { return Ok(()) };
        let why = self.told_about(id).await;
        let text = format!("the cloud began to delete the {what} and left it {status} ({why})");
        Err(Error::unknown(Kind::Unavailable, text).with(what, id))
    }

    /// Tells of a snapshot or backup.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        match notes::cut(id) {
            Cut::Snapshot(id) => self.snapshot(&self.client.snapshot(id).await?),
            Cut::Backup(id) => self.backup(&self.client.backup(id).await?),
        }
    }

    /// All snapshots and backups of ours that pass the filter, oldest first.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub(super) async fn all_snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        if let Some(id) = &filter.snapshot {
            return match self.get_snapshot(id).await {
                Ok(found) if filter.volume.as_ref().is_none_or(|volume| found.volume == *volume) => {
                    Ok(vec![found])
                }
                Ok(_) => Ok(Vec::new()),
                Err(error) if is_gone(&error) => Ok(Vec::new()),
                Err(error) => Err(error),
            };
        }
        let of: Vec<_> = filter.volume.iter().map(|id| ("volume_id", id.to_string())).collect();
        let passes = |volume: &str| filter.volume.as_ref().is_none_or(|id| id.as_str() == volume);
        let mut all = Vec::new();
        let listed = self.client.snapshots(&of).await?;
        let cuts = match listed.iter().any(|snapshot| snapshot.group_snapshot_id.is_some()) {
            true => self.our_cuts().await?,
            false => BTreeSet::new(),
        };
        for snapshot in listed {
            let member = snapshot.group_snapshot_id.as_ref().is_some_and(|cut| cuts.contains(cut));
            let ours = member || notes::is_ours(&self.config, &snapshot);
            if ours && passes(&snapshot.volume_id) && is_there(&snapshot.status) {
                all.push(self.snapshot(&snapshot)?);
            }
        }
        for backup in self.backups(&of).await? {
            if notes::is_ours(&self.config, &backup) && passes(&backup.volume_id) && is_there(&backup.status)
            {
                all.push(self.backup(&backup)?);
            }
        }
        all.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(all)
    }

    /// The backups, where the cloud has any.
    async fn backups(&self, filters: &[(&'static str, String)]) -> Result<Vec<model::Backup>> {
        match self.client.backups(filters).await {
            Ok(backups) => Ok(backups),
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// What Cinder says of an id that is none ("Invalid input for field/attribute volume_id") means that there is no such
/// volume.
fn no_volume(error: Error) -> Error {
    let none = error.kind() == Kind::InvalidArgument && error.message().contains("attribute volume_id");
    if none { error.with_kind(Kind::NotFound) } else { error }
}

fn is_gone(error: &Error) -> bool {
    error.is_not_found() && error.outcome() == Outcome::Refused
}

/// A snapshot that is being cut, or could not be, is none that was given out.
fn is_there(status: &Status) -> bool {
    !twins::is_being_made(status) && !matches!(status, Status::Error | Status::Deleting | Status::Deleted)
}

/// The verdict of who waits for a deletion: in which state it was left, or `None` once it is gone.
#[allow(clippy::option_option, reason = "no verdict, a verdict, and that of a success")]
fn left(status: Option<&Status>) -> Option<Result<Option<Status>>> {
    match status {
        None | Some(Status::Deleted) => Some(Ok(None)),
        Some(Status::Deleting) => None,
        Some(status) => Some(Ok(Some(status.clone()))),
    }
}
