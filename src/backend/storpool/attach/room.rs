//! How many volumes a client may have: what the cluster lists, and what is on its way there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::Cloud;
use crate::backend::storpool::model::{Attachment, Volume};
use crate::backend::storpool::nodes::Seat;
use crate::error::{Error, Kind, Result};

/// A client and a volume: its global id, and its name, by which alone exports are listed.
type Key = (Seat, String, String);

/// Orders that are or were under way, and when they ended.
type Places = BTreeMap<Key, Option<Instant>>;

/// The orders that a list may not show yet.
#[derive(Debug, Default)]
pub(super) struct Room(Arc<Mutex<Places>>);

/// A place that is taken as long as this lasts, and in the eyes of lists that were asked for before its end.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Mutex<Places>>,
    key: Key,
}

impl Room {
    /// Takes a place for one more volume of a client, of which this list, asked for at that time, tells.
    ///
    /// # Errors
    /// `ResourceExhausted` where there is none.
    pub(super) fn take(
        &self,
        cloud: &Cloud,
        seat: &Seat,
        volume: &Volume,
        began: Instant,
        table: &[Attachment],
    ) -> Result<Place> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed: Vec<_> = table.iter().filter(|one| one.is_at(seat)).collect();
        let known = |id: &str, name: &str| {
            listed.iter().any(|one| one.global_id.as_ref().map_or(one.volume == name, |known| known == id))
        };
        let coming = places.iter().filter(|((of, id, name), ended)| {
            of == seat && !known(id, name) && ended.is_none_or(|ended| ended >= began)
        });
        let count = listed.len() + coming.count();
        let max = cloud.per_server();
        if count >= usize::try_from(max).unwrap_or(usize::MAX) {
            let text =
                format!("{} holds {count} of {max} volumes: detach one first", cloud.nodes.of(seat)?.name());
            return Err(Error::refused(Kind::ResourceExhausted, text));
        }
        let now = Instant::now();
        // No list was asked for so long ago.
        places.retain(|_, ended| ended.is_none_or(|ended| now.duration_since(ended).as_secs() < 120));
        let key = (seat.clone(), volume.global_id.clone(), volume.name.clone());
        places.insert(key.clone(), None);
        Ok(Place { places: Arc::clone(&self.0), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(self.key.clone(), Some(Instant::now()));
    }
}
