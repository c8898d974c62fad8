//! What is known of volumes without asking. It only ever saves a question: where it is wrong, the cloud refuses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::backend::cinder::model::{Status, Volume};

use super::uses;

/// How long it is relied upon that a volume which nobody had is still free.
const FRESH: Duration = Duration::from_secs(600);
/// More volumes than this are not remembered.
const MOST: usize = 20_000;

#[derive(Debug)]
enum Known {
    /// Nobody had it then, and nothing about it asks for care.
    Free(Instant),
    /// This server has it by this attachment, as Cinder and Nova have both said.
    On { server: String, attachment: String },
}

/// What this process saw last of each volume.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, Known>>);

impl Memory {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, volume: &str, known: Known) {
        let mut all = self.known();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(volume.to_owned(), known);
    }

    /// Notes a volume as it was seen just now, where it can be attached without another look.
    pub(super) fn saw(&self, volume: &Volume) {
        let ready = volume.status == Status::Available && volume.service_uuid.is_some();
        match ready && volume.attachments.is_empty() && !uses::needs_care(volume) {
            true => self.note(&volume.id, Known::Free(Instant::now())),
            false => self.forget(&volume.id),
        }
    }

    /// Notes that both sides say that a server has it.
    pub(super) fn attached(&self, volume: &str, server: &str, attachment: &str) {
        let (server, attachment) = (server.to_owned(), attachment.to_owned());
        self.note(volume, Known::On { server, attachment });
    }

    /// Forgets a volume that is about to change.
    pub(super) fn forget(&self, volume: &str) {
        self.known().remove(volume);
    }

    /// Whether it was free not long ago.
    pub(super) fn is_free(&self, volume: &str) -> bool {
        matches!(self.known().get(volume), Some(Known::Free(since)) if since.elapsed() < FRESH)
    }

    /// Whether Nova is known to list this very attachment.
    pub(super) fn is_listed(&self, volume: &str, server: &str, attachment: &str) -> bool {
        matches!(self.known().get(volume),
            Some(Known::On { server: s, attachment: a }) if s == server && a == attachment)
    }
}
