//! Changing volumes that exist: their type, which is also their quality of service, and what is noted about them.

use crate::backend::cinder::model::{self, Status};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::Parameters;

use super::Cloud;
use super::dialect::Feature;
use super::parameters::Change;

impl Cloud {
    /// Changes a volume. The notes come last, because they cannot fail for want of anything.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::modify`].
    pub(super) async fn modify(&self, id: &str, parameters: &Parameters) -> Result<()> {
        let change = Change::read(parameters)?;
        let volume = self.client.volume(id).await?;
        let differs = |(key, value): (&String, &String)| volume.metadata.get(key) != Some(value);
        let noted = change.notes.iter().any(differs);
        if noted {
            self.dialect().need(Feature::Notes)?;
        }
        if let Some(wanted) = &change.volume_type {
            self.retype(&volume, wanted, change.migrate).await?;
        }
        if noted { self.client.note_on_volume(id, &change.notes).await } else { Ok(()) }
    }

    async fn retype(&self, volume: &model::Volume, wanted: &str, migrate: bool) -> Result<()> {
        let id = &volume.id;
        let is_so = |volume: &model::Volume| {
            volume.volume_type.as_deref().is_some_and(|found| self.types.is_same(found, wanted))
        };
        if volume.status != Status::Retyping {
            if is_so(volume) {
                return Ok(());
            }
            self.dialect().need(Feature::Retyping)?;
            if let Err(error) = self.client.retype_volume(id, wanted, migrate).await {
                let error = self.no_such_type(error, wanted).await.with("volume", id);
                // The answer was lost: it may have begun.
                if error.outcome() == Outcome::Refused
                    || self.client.volume(id).await?.status != Status::Retyping
                {
                    return Err(error);
                }
            }
        }
        let ended = self
            .until(id, |volume| match volume {
                None => Some(Err(Error::not_found("it was deleted meanwhile").with("volume", id))),
                Some(volume) if volume.status == Status::Retyping => None,
                Some(volume) => Some(Ok(volume.clone())),
            })
            .await?;
        if is_so(&ended) {
            return Ok(());
        }
        let why = self.told_about(id).await;
        let more = if migrate {
            ""
        } else {
            "; \"migrationPolicy: on-demand\" lets its data move, where the new type is elsewhere"
        };
        let found = ended.volume_type.as_deref().unwrap_or("none");
        let text = format!("its type is still {found}, and it is {}: {why}{more}", ended.status);
        Err(Error::unknown(Kind::FailedPrecondition, text).with("volume", id))
    }

    async fn no_such_type(&self, error: Error, wanted: &str) -> Error {
        let unknown = matches!(error.kind(), Kind::NotFound | Kind::InvalidArgument);
        if !unknown || error.outcome() != Outcome::Refused {
            return error;
        }
        if let Ok(types) = self.client.volume_types().await {
            self.types.set(types);
        }
        let text =
            format!("parameter \"type\" has the value {wanted:?}: the types are {}", self.types.all_names());
        if self.types.has(wanted) { error } else { error.with_kind(Kind::InvalidArgument).and(text) }
    }
}
