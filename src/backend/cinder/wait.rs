//! The end states that are waited for.

use std::time::{Duration, SystemTime};

use crate::backend::cinder::model::{self, Status};
use crate::error::{Kind, Result};

use super::watch::Judge;
use super::{Cloud, twins};

/// No single wait is longer: copies of large volumes and images take hours, and a retry waits on.
pub(super) const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// A volume that is this old and has no service is one of a cloud that names none.
const SERVICE: Duration = Duration::from_secs(30);
/// What is said where the cloud says nothing.
const SILENCE: &str = "the cloud does not say why";

impl Cloud {
    /// Waits until `judge` has a verdict about the newest state of a volume.
    ///
    /// # Errors
    /// The judge's own; `Timeout`.
    pub(super) async fn until<T>(&self, id: &str, judge: impl Judge<model::Volume, T>) -> Result<T> {
        self.watcher.volume(id, LIMIT, judge).await
    }

    /// Whether a volume is made, and a server can get it at once: Cinder saves which service holds it after it has made
    /// it `available`, and an attach between the two fails.
    pub(super) fn is_settled(&self, volume: &model::Volume) -> bool {
        if twins::is_being_made(&volume.status) || volume.status.is_error() {
            return false;
        }
        let old = |created: SystemTime| created.elapsed().is_ok_and(|age| age > SERVICE);
        volume.status != Status::Available
            || volume.service_uuid.is_some()
            || !self.features.services
            || volume.created_at.is_none_or(old)
    }

    /// What the cloud tells its users of a failure.
    pub(super) async fn told_about(&self, id: &str) -> String {
        let mut messages = match self.client.messages(id).await {
            Ok(messages) => messages,
            Err(error) if error.kind() == Kind::Unsupported => return SILENCE.to_owned(),
            Err(error) => return format!("{SILENCE}: {error}"),
        };
        messages.sort_by_key(|message| message.created_at);
        messages.pop().map_or_else(
            || SILENCE.to_owned(),
            |message| match message.request_id {
                Some(request) => format!("{} (request {request})", message.user_message),
                None => message.user_message,
            },
        )
    }
}
