//! Waiting for what the cloud does in its own time: volumes that become available, snapshots that are cut, servers that
//! let go of a disk.
//!
//! One task for each kind of object looks for all who wait, once a tick, and only while somebody waits. So waiting costs
//! by the time that it takes, not by the number of those who wait, and an idle driver asks nothing.

mod ask;
mod desk;
pub(super) mod pace;
#[cfg(test)]
mod tests;
mod volumes;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Result;

use super::client::Client;
use super::model::{Backup, Group, GroupSnapshot, ServerAttachment, Snapshot, Volume};
use desk::{Desk, Known};

/// What a judge says of an object as it is now, `None` where it is gone: a verdict ends the wait, `None` goes on with it.
pub trait Judge<O: ?Sized, T>: FnMut(Option<&O>) -> Option<Result<T>> + Send {}
impl<O: ?Sized, T, F: FnMut(Option<&O>) -> Option<Result<T>> + Send> Judge<O, T> for F {}

/// Waits on one cloud, for everyone who uses it. Cloning gives another handle to the same watcher.
///
/// Each wait first looks a moment after it began, then ever more slowly. A look never shows what was before the wait began.
/// A look that fails is repeated and never ends a wait: what ends it is the judge, or `limit`, and then the error is
/// `Timeout` with an unknown outcome. Who drops the wait leaves nothing behind.
#[derive(Clone, Debug)]
pub struct Watcher {
    volumes: Arc<Desk<Volume>>,
    snapshots: Arc<Desk<Snapshot>>,
    backups: Arc<Desk<Backup>>,
    groups: Arc<Desk<Group>>,
    group_snapshots: Arc<Desk<GroupSnapshot>>,
    servers: Arc<Desk<Vec<ServerAttachment>>>,
}

impl Watcher {
    /// Watches the cloud that this client calls.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            volumes: Desk::new(client),
            snapshots: Desk::new(client),
            backups: Desk::new(client),
            groups: Desk::new(client),
            group_snapshots: Desk::new(client),
            servers: Desk::new(client),
        }
    }

    /// Waits for a volume.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn volume<T>(&self, id: &str, limit: Duration, judge: impl Judge<Volume, T>) -> Result<T> {
        self.volumes.wait(id, Known::default(), limit, judge).await
    }

    /// The same for what mostly takes the same time: how long that is, is learned under the name `habit`, and the first look
    /// comes then.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn volume_as_usual<T>(
        &self,
        id: &str,
        habit: &'static str,
        limit: Duration,
        judge: impl Judge<Volume, T>,
    ) -> Result<T> {
        let known = Known { habit: Some(habit), touched: None };
        self.volumes.wait(id, known, limit, judge).await
    }

    /// The same for a volume that the cloud has just taken an order to delete, which was sent at this time. Cinder marks it
    /// before it answers, so once a list of the volumes that were changed since does not have it, it is gone.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn deleted_volume<T>(
        &self,
        id: &str,
        sent: SystemTime,
        limit: Duration,
        judge: impl Judge<Volume, T>,
    ) -> Result<T> {
        self.volumes.wait(id, Known { habit: Some("delete"), touched: Some(sent) }, limit, judge).await
    }

    /// Waits for a snapshot.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn snapshot<T>(&self, id: &str, limit: Duration, judge: impl Judge<Snapshot, T>) -> Result<T> {
        self.snapshots.wait(id, Known::default(), limit, judge).await
    }

    /// Waits for a backup.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn backup<T>(&self, id: &str, limit: Duration, judge: impl Judge<Backup, T>) -> Result<T> {
        self.backups.wait(id, Known::default(), limit, judge).await
    }

    /// Waits for a group.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn group<T>(&self, id: &str, limit: Duration, judge: impl Judge<Group, T>) -> Result<T> {
        self.groups.wait(id, Known::default(), limit, judge).await
    }

    /// Waits for a snapshot of a group.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn group_snapshot<T>(
        &self,
        id: &str,
        limit: Duration,
        judge: impl Judge<GroupSnapshot, T>,
    ) -> Result<T> {
        self.group_snapshots.wait(id, Known::default(), limit, judge).await
    }

    /// Waits for the list of volumes that Nova keeps of a server; `None` to the judge where there is no such server.
    /// Looks at once.
    ///
    /// # Errors
    /// The judge's; `Timeout` after `limit`.
    pub async fn server_volumes<T>(
        &self,
        server: &str,
        limit: Duration,
        mut judge: impl Judge<[ServerAttachment], T>,
    ) -> Result<T> {
        let judge = |list: Option<&Vec<ServerAttachment>>| judge(list.map(Vec::as_slice));
        self.servers.wait(server, Known::default(), limit, judge).await
    }
}
