//! Snapshots: whole images of their own, which outlive their volume.

use super::images::Original;
use super::{Class, Client, now, time};
use crate::backend::file::model::SnapshotRecord;
use crate::backend::{Listing, Page, SnapshotFilter, SnapshotOrder, paging};
use crate::error::{Error, Kind, Result};
use crate::host::files;
use crate::host::lock::Mode;
use crate::volume::{NativeId, Snapshot, native_name};

impl Client {
    pub(in super::super) fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        let id = native_name(&order.name)?;
        let _guard = self.lock(&[
            (Class::Snapshot.key(&id), Mode::Exclusive),
            (Class::Volume.key(&order.volume), Mode::Shared),
        ])?;
        if let Some(snapshot) = self.snapshot(&id)? {
            if snapshot.volume != order.volume {
                return Err(Error::refused(
                    Kind::AlreadyExists,
                    format!(
                        "a snapshot named {:?} exists of another volume, {}",
                        order.name, snapshot.volume
                    ),
                )
                .with("snapshot", &id));
            }
            return Ok(snapshot);
        }
        self.cut(&id, &order.name, &order.volume, None, now())?;
        self.get_snapshot(&id)
    }

    /// Cuts one snapshot. The caller holds its lock and shares the volume's.
    pub(super) fn cut(
        &self,
        id: &NativeId,
        name: &str,
        volume: &NativeId,
        group: Option<&NativeId>,
        created: u64,
    ) -> Result<()> {
        let size = self.whole(volume)?;
        let path = self.image(volume);
        let record = SnapshotRecord {
            name: name.to_owned(),
            volume: volume.clone(),
            size,
            created,
            group: group.cloned(),
        };
        let made = self.begin(Class::Snapshot, id, &record).and_then(|()| {
            let writers = self.writers(volume)?;
            let image = self.new_snapshot_image(id)?;
            self.fill(&Original { path: &path, writers }, &image, size)
        });
        match made.and_then(|()| self.commit(Class::Snapshot, id)) {
            Ok(()) => Ok(()),
            Err(error) => self.undo(Class::Snapshot, id, error),
        }
    }

    pub(in super::super) fn delete_snapshot(&self, id: &NativeId) -> Result<()> {
        let _guard = self.lock(&[(Class::Snapshot.key(id), Mode::Exclusive)])?;
        if let Some(Snapshot { group: Some(group), .. }) = self.snapshot(id)? {
            return Err(Error::invalid(format!(
                "the snapshot belongs to the group snapshot {group}: it can only be deleted with that"
            ))
            .with("snapshot", id));
        }
        // What is left of a group that was never finished is the sweep's.
        if self.record::<SnapshotRecord>(Class::Snapshot, id)?.is_some_and(|record| record.group.is_some()) {
            return Ok(());
        }
        self.discard(Class::Snapshot, id)
    }

    pub(in super::super) fn get_snapshot(&self, id: &NativeId) -> Result<Snapshot> {
        self.snapshot(id)?.ok_or_else(|| Error::not_found("the snapshot does not exist").with("snapshot", id))
    }

    /// The snapshot if it is cut: a member of a group only together with all others.
    pub(super) fn snapshot(&self, id: &NativeId) -> Result<Option<Snapshot>> {
        let Some(record) = self.record::<SnapshotRecord>(Class::Snapshot, id)? else { return Ok(None) };
        if let Some(group) = &record.group
            && files::extent(&self.path(Class::Group, group, "json"))?.is_none()
        {
            return Ok(None);
        }
        Ok(Some(Snapshot {
            id: id.clone(),
            name: record.name,
            volume: record.volume,
            size: record.size,
            created: time(record.created),
            ready: true,
            group: record.group,
        }))
    }

    pub(in super::super) fn list_snapshots(
        &self,
        filter: &SnapshotFilter,
        page: &Page,
    ) -> Result<Listing<Snapshot>> {
        let ids = match &filter.snapshot {
            Some(id) => vec![id.clone()],
            None => self.ids(Class::Snapshot)?,
        };
        paging::page(ids.into_iter().map(|id| (id, ())), page, |id, ()| {
            Ok(self
                .snapshot(id)?
                .filter(|snapshot| filter.volume.as_ref().is_none_or(|volume| snapshot.volume == *volume)))
        })
    }
}
