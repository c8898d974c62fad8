//! The one space of names that volumes and snapshots share, and what names may be.

use super::{Cluster, Kind, Object, Refusal, Result, Tags};

/// Names, and the keys and values of tags, are shorter than this.
const SIZE: usize = 200;
/// What no volume or snapshot may be called.
const FORBIDDEN: [&str; 2] = ["list", "status"];

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')
}

/// Whether a text is a global id.
fn is_global_id(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let sound =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(sound)
}

/// Refuses what cannot be the name of something new.
pub(super) fn check(name: &str) -> Result<()> {
    if name.len() >= SIZE {
        return Err(Refusal::invalid(format!("Name '{name}' is too long. Max allowed is {}", SIZE - 1)));
    }
    if name.is_empty() || !name.bytes().all(plain) || FORBIDDEN.contains(&name) {
        return Err(Refusal::invalid(format!("Invalid name '{name}'")));
    }
    Ok(())
}

/// Refuses tags that cannot be kept.
pub(super) fn check_tags(tags: &Tags) -> Result<()> {
    for (key, value) in tags {
        if key.is_empty() || key.len() >= SIZE || !key.bytes().all(plain) {
            return Err(Refusal::invalid(format!("Invalid tag name '{key}'")));
        }
        if value.len() >= SIZE || !value.bytes().all(plain) {
            return Err(Refusal::invalid(format!("Invalid value '{value}' of the tag '{key}'")));
        }
    }
    Ok(())
}

/// Refuses a name that has no room beside its tags.
pub(super) fn check_room(name: &str, tags: &Tags, room: Option<usize>) -> Result<()> {
    let room = room.unwrap_or(usize::MAX);
    let length = name.len() + tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    match length <= room {
        true => Ok(()),
        false => Err(Refusal::invalid(format!(
            "Name '{name}' and its tags are too long: {length} of {room} bytes"
        ))),
    }
}

/// Takes over new tags key by key; an empty value removes one.
pub(super) fn merge(tags: &mut Tags, new: Tags) {
    for (key, value) in new {
        if value.is_empty() {
            tags.remove(&key);
        } else {
            tags.insert(key, value);
        }
    }
}

const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "Volume",
        Kind::Snapshot => "Snapshot",
    }
}

impl Cluster {
    /// The global id of the object of this number.
    pub(super) fn make_global_id(&self, number: u64) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let (mut text, mut rest) = (Vec::new(), number);
        loop {
            text.push(char::from(DIGITS[usize::try_from(rest % 36).unwrap_or_default()]));
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        format!("{}.{}", self.config.cluster_id, text.into_iter().rev().collect::<String>())
    }

    /// Refuses a name that something has.
    pub(super) fn check_free(&self, name: &str) -> Result<()> {
        let taken = self.objects.values().find(|object| object.name.as_deref() == Some(name));
        match taken {
            Some(object) => Err(Refusal::exists(format!("{} '{name}' already exists", word(object.kind)))),
            None => Ok(()),
        }
    }

    /// The number of the volume or snapshot of this name, or of this global id after a `~`.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub fn find(&self, name: &str, kind: Kind) -> Result<u64> {
        let fits = |object: &&Object| match name.strip_prefix('~') {
            Some(id) => is_global_id(id) && object.has_id(id),
            None => object.name.as_deref() == Some(name),
        };
        let found = self.objects.values().filter(|object| object.kind == kind).find(fits);
        found
            .map(|object| object.id)
            .ok_or_else(|| Refusal::missing(format!("{} '{name}' does not exist", word(kind))))
    }

    /// The volume or snapshot of this name.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub fn get(&self, name: &str, kind: Kind) -> Result<&Object> {
        self.find(name, kind).map(|id| &self.objects[&id])
    }

    pub(super) fn object_mut(&mut self, id: u64) -> Result<&mut Object> {
        self.objects.get_mut(&id).ok_or_else(|| Refusal::missing("The object does not exist"))
    }

    /// Changes a volume as no call can.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub fn alter(&mut self, volume: &str, change: impl FnOnce(&mut Object)) -> Result<()> {
        let id = self.find(volume, Kind::Volume)?;
        self.object_mut(id).map(change)
    }
}
