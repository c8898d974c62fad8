//! Cutting, deleting, finding and listing snapshots.

use std::sync::Arc;

use crate::backend::{Page, SnapshotFilter, SnapshotOrder};
use crate::controller::{Controller, Found, Listed, list, parameters};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;
use crate::volume::{BackendName, Parameters, Snapshot, SnapshotId, VolumeId};

/// CreateSnapshot, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The volume to cut it from.
    pub volume: VolumeId,
    /// As the VolumeSnapshotClass has them.
    pub parameters: Parameters,
}

/// Which snapshots to list; all where both are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotQuery {
    /// Only this one.
    pub snapshot: Option<SnapshotId>,
    /// Only those of this volume.
    pub volume: Option<VolumeId>,
}

impl Controller {
    /// Cuts a snapshot, or finds the one that an earlier try cut.
    ///
    /// # Errors
    /// `Unsupported` where the back end has none; else as [`crate::backend::Backend::create_snapshot`].
    pub async fn create_snapshot(&self, cut: Cut) -> Result<Found<Snapshot>> {
        let Cut { name, volume, parameters } = cut;
        let backend = self.backends.get(&volume.backend)?.clone();
        if !backend.capabilities().snapshots {
            return Err(lacking(&volume.backend, "snapshots"));
        }
        let (parameters, _) = parameters::split(parameters);
        let order = SnapshotOrder { name, volume: volume.native, parameters };
        // Keyed by the name alone: it is the name by which the call is idempotent, whatever the volume.
        let key = format!("snapshot-name/{}", order.name);
        let fingerprint = (volume.backend.clone(), order.clone());
        let item = self
            .fly(key, "create snapshot", &fingerprint, async move {
                phase("snapshot");
                backend.create_snapshot(&order).await
            })
            .await?;
        Ok(Found { backend: volume.backend, item })
    }

    /// Deletes a snapshot. Missing is `Ok`.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete_snapshot`]; `FailedPrecondition` where its back end is not configured.
    pub async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let (backend, native) = (self.holder(&id.backend)?, id.native.clone());
        if !backend.capabilities().snapshots {
            return Ok(());
        }
        self.fly(format!("snapshot/{id}"), "delete snapshot", &id, async move {
            phase("delete");
            backend.delete_snapshot(&native).await
        })
        .await
    }

    /// Tells of one snapshot, also of one that is not ready yet.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_snapshot(&self, id: &SnapshotId) -> Result<Found<Snapshot>> {
        let backend = self.backends.get(&id.backend)?;
        if !backend.capabilities().snapshots {
            return Err(Error::not_found(format!("back end {} has no snapshots", id.backend)));
        }
        let item = backend.get_snapshot(&id.native).await?;
        Ok(Found { backend: id.backend.clone(), item })
    }

    /// Tells of the snapshots that pass the filter. A filter that nothing can pass gives an empty listing.
    ///
    /// # Errors
    /// `BadToken`; else as [`crate::backend::Backend::list_snapshots`].
    pub async fn list_snapshots(&self, query: &SnapshotQuery, page: &Page) -> Result<Listed<Snapshot>> {
        let wanted: Vec<&BackendName> = query
            .snapshot
            .iter()
            .map(|id| &id.backend)
            .chain(query.volume.iter().map(|id| &id.backend))
            .collect();
        let filter = SnapshotFilter {
            snapshot: query.snapshot.as_ref().map(|id| id.native.clone()),
            volume: query.volume.as_ref().map(|id| id.native.clone()),
        };
        let holders = self
            .backends
            .iter()
            .filter(|(name, backend)| {
                backend.capabilities().snapshots && wanted.iter().all(|wanted| wanted == name)
            })
            .map(|(name, backend)| (name.clone(), Arc::clone(backend)))
            .collect();
        list::walk(holders, page, |backend, page| {
            let filter = filter.clone();
            async move { backend.list_snapshots(&filter, &page).await }
        })
        .await
    }
}

/// The refusal of what a back end lacks.
pub(super) fn lacking(backend: &BackendName, what: &str) -> Error {
    Error::refused(Kind::Unsupported, format!("back end {backend} has no {what}"))
}
