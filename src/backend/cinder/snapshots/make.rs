//! Making snapshots and backups, so that a name has one whatever becomes of the calls.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::SnapshotOrder;
use crate::backend::cinder::client::{BackupOrder, SnapshotOrder as CloudOrder};
use crate::backend::cinder::model::{self, Status};
use crate::backend::cinder::notes::{Name, Noted};
use crate::backend::cinder::parameters::Copy;
use crate::backend::cinder::suspects::LOOKS;
use crate::backend::cinder::twins::{self, Twins};
use crate::backend::cinder::watch::pace;
use crate::backend::cinder::{Cloud, wait};
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;

use super::{is_gone, no_volume};

/// How often the looking begins anew.
const TURNS: usize = 8;
/// How long a create whose answer was lost is looked for.
const LATE: Duration = Duration::from_secs(10);
/// How long to wait between two such looks.
const LOOK: Duration = Duration::from_millis(500);

/// What a name is known by among all that take turns or are suspect.
pub(super) fn key(name: &Name) -> String {
    format!("snapshot {}", name.cloud)
}

/// A kind of copy of a volume.
pub(super) trait Kindred: Sync {
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
    /// Begins to remove one.
    fn discard(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
}

async fn look<K: Kindred>(kind: &K) -> Result<Twins<K::Object>> {
    Ok(twins::sort(kind.name(), kind.list().await?))
}

/// Makes one, or finds the one that an earlier try made, as volumes are made. Tells also whether there are others of the
/// name, which have to be looked at again.
pub(super) async fn make<K: Kindred>(kind: &K) -> Result<(K::Object, bool)> {
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
            match kind.remove(failed.id()).await {
                Err(error) if twins.first.is_some() => {
                    tracing::warn!(id = failed.id(), error = error.chain(), "it stays for now");
                }
                removed => removed?,
            }
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
        if K::volume(&first) != order.volume.as_str() {
            if let Some(own) = made.as_ref().filter(|own| **own != first.id()) {
                // Nobody was given it, and nothing of a call that is refused may be left.
                kind.remove(own).await?;
            }
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
        for twin in &twins.younger {
            discard(kind, twin, first.id()).await;
        }
        let others = !twins.younger.is_empty() || !twins.failed.is_empty();
        return Ok((first, others));
    }
    Err(Error::unknown(
        Kind::Unavailable,
        format!("the snapshots named {:?} change faster than they can be looked at", name.cloud),
    ))
}

/// Begins to remove a second one of a name, unless something is under way with it. Where that fails, it is left to the
/// sweep.
async fn discard<K: Kindred>(kind: &K, twin: &K::Object, keep: &str) {
    let (id, name, status) = (twin.id(), &kind.name().cloud, twin.status());
    if !twins::is_free(twin) && !twins::could_not_be_made(status) {
        tracing::warn!(id, keep, name, %status, "there is a second snapshot of this name");
        return;
    }
    tracing::warn!(id, keep, name, %status, "a second snapshot of this name is removed");
    match kind.discard(id).await {
        Err(error) if !is_gone(&error) => tracing::warn!(id, error = error.chain(), "it stays for now"),
        _ => {}
    }
}

/// Removes all others of the name of one that was given out. It is never that one that goes. Tells whether there was any,
/// which may have stayed.
async fn sweep<K: Kindred>(kind: &K, keep: &str) -> bool {
    let found = match look(kind).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(name = kind.name().cloud, error = error.chain(), "twins cannot be looked for now");
            return true;
        }
    };
    let good: Vec<_> = found.first.into_iter().chain(found.younger).collect();
    // Where the one that was given out is gone again, what is there now belongs to a later order.
    if !good.iter().any(|copy| copy.id() == keep) {
        return false;
    }
    let others: Vec<_> = good.into_iter().chain(found.failed).filter(|copy| copy.id() != keep).collect();
    for twin in &others {
        discard(kind, twin, keep).await;
    }
    !others.is_empty()
}

impl Cloud {
    /// Looks later for others of the name of a copy that was given out, and removes them; again for as long as there are any.
    pub(super) fn sweep_copies_later(
        self: &Arc<Self>,
        copy: Copy,
        order: SnapshotOrder,
        name: Name,
        keep: String,
    ) {
        let cloud = Arc::downgrade(self);
        let least = if self.suspects.has(&key(&name)) { LOOKS.len() } else { 1 };
        let pauses = LOOKS.into_iter().chain(std::iter::repeat(LOOKS[LOOKS.len() - 1]));
        tokio::spawn(async move {
            let began = Instant::now();
            for (pause, look) in pauses.zip(1..) {
                sleep(pause).await;
                let Some(cloud) = cloud.upgrade() else { return };
                let others = cloud.sweep_copies(&copy, &order, &name, &keep).await;
                if look >= least && !others {
                    return;
                }
                // A copy of a large volume takes hours.
                if began.elapsed() > wait::LIMIT {
                    tracing::warn!(keep, name = name.cloud, "other snapshots of this name stay");
                    return;
                }
            }
        });
    }

    /// Removes all others of the name of a copy that was given out. Tells whether there was any.
    pub(in crate::backend::cinder) async fn sweep_copies(
        &self,
        copy: &Copy,
        order: &SnapshotOrder,
        name: &Name,
        keep: &str,
    ) -> bool {
        // Nobody is given one of them meanwhile.
        let _turn = self.turns.take(&key(name)).await;
        match copy {
            Copy::Snapshot => sweep(&Snapshots { cloud: self, order, name }, keep).await,
            Copy::Backup { container, incremental } => {
                let (container, incremental) = (container.as_deref(), *incremental);
                sweep(&Backups { cloud: self, order, name, container, incremental }, keep).await
            }
        }
    }
}

/// After a lost answer: waits for what was ordered to appear. It is never ordered twice from here.
async fn lost<K: Kindred>(kind: &K, error: Error) -> Result<()> {
    let until = Instant::now() + LATE;
    kind.cloud().suspects.add(&key(kind.name()));
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

pub(super) struct Snapshots<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) order: &'a SnapshotOrder,
    pub(super) name: &'a Name,
}

impl Kindred for Snapshots<'_> {
    type Object = model::Snapshot;

    fn name(&self) -> &Name {
        self.name
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

    async fn discard(&self, id: &str) -> Result<()> {
        self.cloud.client.delete_snapshot(id).await
    }
}

pub(super) struct Backups<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) order: &'a SnapshotOrder,
    pub(super) name: &'a Name,
    pub(super) container: Option<&'a str>,
    pub(super) incremental: bool,
}

impl Kindred for Backups<'_> {
    type Object = model::Backup;

    fn name(&self) -> &Name {
        self.name
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
            container: self.container.map(str::to_owned),
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

    async fn discard(&self, id: &str) -> Result<()> {
        self.cloud.client.delete_backup(id).await
    }
}
