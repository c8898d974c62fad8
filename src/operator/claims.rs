//! Which PersistentVolumes are a volume's.

use std::collections::BTreeMap;

use super::Operator;
use crate::error::Result;
use crate::operator::records::{Claim, native};
use crate::volume::VolumeId;

/// The PersistentVolumes of the cluster.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Of all drivers, by the native part of their handles.
    all: BTreeMap<String, Vec<Claim>>,
    /// Those of this driver, by the volume that they name here.
    ours: BTreeMap<VolumeId, Vec<Claim>>,
}

impl Claims {
    /// Those whose volume it may be, under whatever driver and back end.
    pub(super) fn of(&self, volume: &VolumeId) -> &[Claim] {
        self.all.get(volume.native.as_str()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those that name it by this very id.
    pub(super) fn naming(&self, volume: &VolumeId) -> &[Claim] {
        self.ours.get(volume).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those of this driver, by volume.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&VolumeId, &[Claim])> {
        self.ours.iter().map(|(id, claims)| (id, claims.as_slice()))
    }
}

impl Operator {
    /// The PersistentVolumes; none where no cluster is asked.
    pub(super) async fn claims(&self) -> Result<Claims> {
        let mut claims = Claims::default();
        if let Some(records) = &self.records {
            for claim in self.progress.during("list PersistentVolumes", records.claims()).await? {
                // A handle that is no id of ours is no volume of ours.
                if claim.driver.is_none()
                    && let Ok(id) = self.controller.volume_id(&claim.handle)
                {
                    claims.ours.entry(id).or_default().push(claim.clone());
                }
                claims.all.entry(native(&claim.handle).to_owned()).or_default().push(claim);
            }
        }
        Ok(claims)
    }
}
