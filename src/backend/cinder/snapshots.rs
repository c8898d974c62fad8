//! Snapshots, and backups, which are snapshots to the house.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::cinder::client::{BackupOrder, SnapshotOrder as CloudOrder};
use crate::backend::cinder::model::{self, Status};
use crate::backend::{SnapshotFilter, SnapshotOrder};
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::volume::{NativeId, Snapshot};

use super::notes::{self, Cut, Name, Noted};
use super::parameters::Copy;
use super::twins::{self, Twins};
use super::watch::pace;
use super::{Cloud, wait};

/// How often the looking begins anew.
const TURNS: usize = 8;
/// How long a create whose answer was lost is looked for.
const LATE: Duration = Duration::from_secs(10);
/// How long to wait between two such looks.
const LOOK: Duration = Duration::from_millis(500);

impl Cloud {
    /// Cuts a snapshot, or makes a backup.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create_snapshot`].
    pub(super) async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        let copy = Copy::read(&order.parameters)?;
        let name = Name::new(&self.config, &order.name)?;
        let key = format!("snapshot {}", name.cloud);
        let _turn = self.turns.take(&key).await;
        let made = self.make_copy(copy, order, name).await;
        // An earlier order of this name may still be carried out, so that nothing is final.
        made.map_err(
            |error| if self.suspects.has(&key) { error.with_outcome(Outcome::Unknown) } else { error },
        )
    }

    async fn make_copy(&self, copy: Copy, order: &SnapshotOrder, name: Name) -> Result<Snapshot> {
        match copy {
            Copy::Snapshot => {
                let made = make(&Snapshots { cloud: self, order, name }).await?;
                self.snapshot(&made)
            }
            Copy::Backup { container, incremental } => {
                let made = make(&Backups { cloud: self, order, name, container, incremental }).await?;
                self.backup(&made)
            }
        }
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

/// A kind of copy of a volume.
trait Kindred: Sync {
    type Object: Noted + Send;

    fn name(&self) -> &Name;
    /// What was noted as the volume that it is of.
    fn volume(object: &Self::Object) -> &str;
    fn ordered(&self) -> &SnapshotOrder;
    fn cloud(&self) -> &Cloud;
    /// Lists what may have the name.
    fn list(&self) -> impl Future<Output = Result<Vec<Self::Object>>> + Send;
    /// Orders one, and tells its id.
    fn order(&self) -> impl Future<Output = Result<String>> + Send;
    /// Waits until it is made or has failed.
    fn made(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
    /// Removes one for good.
    fn remove(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
}

async fn look<K: Kindred>(kind: &K) -> Result<Twins<K::Object>> {
    Ok(twins::sort(kind.name(), kind.list().await?))
}

/// Makes one, or finds the one that an earlier try made, as volumes are made.
async fn make<K: Kindred>(kind: &K) -> Result<K::Object> {
    let (name, order) = (kind.name(), kind.ordered());
    let (mut made, mut failure) = (None::<String>, None::<Error>);
    let (mut turns, began) = (0, Instant::now());
    while turns < TURNS {
        turns += 1;
        let twins = look(kind).await?;
        for failed in &twins.failed {
            let why = kind.cloud().told_about(failed.id()).await;
            tracing::warn!(
                id = failed.id(),
                name = name.cloud,
                why,
                "a snapshot that could not be cut is removed"
            );
            kind.remove(failed.id()).await?;
            if made.as_deref() == Some(failed.id()) {
                made = None;
                failure = Some(Error::unknown(
                    Kind::Unavailable,
                    format!("the cloud could not make the snapshot: {why}; what was begun is removed"),
                ));
            }
        }
        let Some(first) = twins.first else {
            if let Some(error) = failure {
                return Err(error);
            }
            match kind.order().await {
                Ok(id) => {
                    kind.made(&id).await?;
                    made = Some(id);
                }
                Err(error) if kind.cloud().dialect().is_conflict(&error) && began.elapsed() < wait::LIMIT => {
                    phase("wait for another copy of the volume");
                    sleep(pace::next(began.elapsed())).await;
                    turns -= 1;
                }
                Err(error)
                    if error.outcome() == Outcome::Refused || kind.cloud().dialect().is_conflict(&error) =>
                {
                    return Err(error);
                }
                Err(error) => lost(kind, error).await?,
            }
            continue;
        };
        if let Some(own) = made.as_ref().filter(|own| **own != first.id()) {
            // Nobody was given it.
            kind.remove(own).await?;
        }
        if K::volume(&first) != order.volume.as_str() {
            return Err(Error::refused(
                Kind::AlreadyExists,
                format!("a snapshot named {:?} exists of another volume, {}", order.name, K::volume(&first)),
            )
            .with("snapshot", first.id()));
        }
        if *first.status() != Status::Available {
            kind.made(first.id()).await?;
            continue;
        }
        for twin in twins.younger.iter().filter(|twin| twins::is_free(*twin)) {
            tracing::warn!(id = twin.id(), keep = first.id(), "a second snapshot of this name is removed");
            kind.remove(twin.id()).await?;
        }
        return Ok(first);
    }
    Err(Error::unknown(
        Kind::Unavailable,
        format!("the snapshots named {:?} change faster than they can be looked at", name.cloud),
    ))
}

/// After a lost answer: waits for what was ordered to appear. It is never ordered twice from here.
async fn lost<K: Kindred>(kind: &K, error: Error) -> Result<()> {
    let until = Instant::now() + LATE;
    kind.cloud().suspects.add(&format!("snapshot {}", kind.name().cloud));
    loop {
        let twins = look(kind).await?;
        if twins.first.is_some() || !twins.failed.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(error.and("no snapshot of that name has appeared since; it may still appear"));
        }
        sleep(LOOK).await;
    }
}

/// The verdict of who waits for something to be made: whatever ended it shows at the next look.
fn ended(status: Option<&Status>) -> Option<Result<()>> {
    status.is_none_or(|status| !twins::is_being_made(status)).then_some(Ok(()))
}

struct Snapshots<'a> {
    cloud: &'a Cloud,
    order: &'a SnapshotOrder,
    name: Name,
}

impl Kindred for Snapshots<'_> {
    type Object = model::Snapshot;

    fn name(&self) -> &Name {
        &self.name
    }

    fn volume(object: &model::Snapshot) -> &str {
        &object.volume_id
    }

    fn ordered(&self) -> &SnapshotOrder {
        self.order
    }

    fn cloud(&self) -> &Cloud {
        self.cloud
    }

    async fn list(&self) -> Result<Vec<model::Snapshot>> {
        let mut listed = self.cloud.client.snapshots(&[("name", self.name.cloud.clone())]).await?;
        // A group snapshot's members belong to it.
        listed.retain(|snapshot| snapshot.group_snapshot_id.is_none());
        Ok(listed)
    }

    async fn order(&self) -> Result<String> {
        let order = CloudOrder {
            name: self.name.cloud.clone(),
            description: None,
            volume: self.order.volume.to_string(),
            metadata: self.name.notes(),
        };
        match self.cloud.client.create_snapshot(&order).await {
            Ok(snapshot) => Ok(snapshot.id),
            Err(error) => {
                Err(self.cloud.exhausted(no_volume(error), 0, None).await.with("volume", &self.order.volume))
            }
        }
    }

    async fn made(&self, id: &str) -> Result<()> {
        self.cloud.watcher.snapshot(id, wait::LIMIT, |found| ended(found.map(|found| &found.status))).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.cloud.remove_snapshot(id).await
    }
}

struct Backups<'a> {
    cloud: &'a Cloud,
    order: &'a SnapshotOrder,
    name: Name,
    container: Option<String>,
    incremental: bool,
}

impl Kindred for Backups<'_> {
    type Object = model::Backup;

    fn name(&self) -> &Name {
        &self.name
    }

    fn volume(object: &model::Backup) -> &str {
        &object.volume_id
    }

    fn ordered(&self) -> &SnapshotOrder {
        self.order
    }

    fn cloud(&self) -> &Cloud {
        self.cloud
    }

    async fn list(&self) -> Result<Vec<model::Backup>> {
        self.cloud.client.backups(&[("name", self.name.cloud.clone())]).await
    }

    async fn order(&self) -> Result<String> {
        let order = BackupOrder {
            name: self.name.cloud.clone(),
            description: None,
            volume: self.order.volume.to_string(),
            snapshot: None,
            container: self.container.clone(),
            incremental: self.incremental,
            metadata: self.name.notes(),
        };
        match self.cloud.client.create_backup(&order).await {
            Ok(id) => Ok(id),
            Err(error) => {
                Err(self.cloud.exhausted(no_volume(error), 0, None).await.with("volume", &self.order.volume))
            }
        }
    }

    async fn made(&self, id: &str) -> Result<()> {
        self.cloud.watcher.backup(id, wait::LIMIT, |found| ended(found.map(|found| &found.status))).await
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.cloud.remove_backup(id).await
    }
}
