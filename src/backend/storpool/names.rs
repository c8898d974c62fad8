//! Names and tags: what says which volume is whose.
//!
//! A name in StorPool is the prefix and the CSI name. Volumes and snapshots share one space of names, so a snapshot's has
//! another word after the prefix. What is not ours has other tags.

use std::fmt;

use super::model::Tags;
use crate::error::{Error, Result};
use crate::volume::{NativeId, Owner, Source, native_name};

/// Whose cluster's object it is.
pub(super) const CLUSTER: &str = "fl-cluster";
/// The CSI name, encoded, where the name in StorPool does not end in it.
pub(super) const NAME: &str = "fl-name";
/// What a volume was made from: `v:<id>` or `s:<id>`. Of a snapshot, what it was cut from.
pub(super) const SOURCE: &str = "fl-from";
/// On a member of a group snapshot: its place. Its name has the group's.
pub(super) const GROUP: &str = "fl-group";
/// On a volume that was made from nothing: changes with each detach.
pub(super) const ERA: &str = "fl-era";
/// On a volume that was handed out as a raw device for writing.
pub(super) const DATA: &str = "fl-data";
/// How a client, whose number follows, uses a volume.
pub(super) const USE: &str = "fl-use";
/// For which node a volume is exported to an initiator, whose number follows: a digest of the node's name.
pub(super) const EXPORTED: &str = "fl-on";
/// Bytes of that digest: tags have little room.
pub(super) const ROOM_NOTE: usize = 4;
/// On a snapshot that outlives a deleted volume for a while: what that was called. It is none that CSI knows of.
pub(super) const GONE: &str = "fl-gone";
/// On a snapshot that is only there while a copy is made in another template: whose cluster's it is. It is none that CSI
/// knows of.
pub(super) const ASIDE: &str = "fl-aside";
const CLAIM: &str = "fl-pvc";
const NAMESPACE: &str = "fl-ns";

/// What the name of a snapshot has after the prefix.
const SNAPSHOT: &str = "snap--";
/// What the id of a group snapshot has after the prefix.
const GROUPED: &str = "group--";
/// Name and tags together have at most so many bytes (KB, "Volumes"): what is noted for people gives way.
const ROOM: usize = 190;
/// Where a change of tags would come to more than this, what is noted for people goes.
const FULL: usize = 200;
/// The longest prefix: 65 bytes of name and 7 of a word follow it, and an id has 95.
const LONGEST: usize = 16;

/// What names begin with. It holds a `-` or `_`, so that no name looks like a global id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("csi--".to_owned())
    }
}

impl Prefix {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match text.len() <= LONGEST && text.contains(['-', '_']) && text.chars().all(sound) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!(
                "{text:?} is no prefix: use at most {LONGEST} letters, digits, '-', '_' and '.', among them a '-' or \
                 '_', so that no name looks like a global id"
            )),
        }
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name begins with it.
    #[must_use]
    pub fn begins(&self, name: &str) -> bool {
        name.starts_with(&self.0)
    }

    /// The name in StorPool of the volume that CSI calls so.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that cannot be kept.
    pub(super) fn volume(&self, csi: &str) -> Result<String> {
        Ok(format!("{self}{}", local(csi)?))
    }

    /// The same of a snapshot.
    ///
    /// # Errors
    /// As for a volume.
    pub(super) fn snapshot(&self, csi: &str) -> Result<String> {
        Ok(format!("{self}{SNAPSHOT}{}", local(csi)?))
    }

    /// The id of the group snapshot that CSI calls so.
    ///
    /// # Errors
    /// As for a volume.
    pub(super) fn group(&self, csi: &str) -> Result<String> {
        Ok(format!("{self}{GROUPED}{}", local(csi)?))
    }

    /// The name of a member of a group, by its place. Two groups of one name thus never are there at once.
    pub(super) fn member(&self, group: &str, place: usize) -> String {
        let rest = group.strip_prefix(&format!("{self}{GROUPED}")).unwrap_or(group);
        format!("{self}{SNAPSHOT}{rest}.{place}")
    }

    /// The group that a snapshot of this name is a member of, as its tags say.
    pub(super) fn group_of(&self, name: &str, tags: &Tags) -> Option<String> {
        let (rest, place) = name.strip_prefix(&format!("{self}{SNAPSHOT}"))?.rsplit_once('.')?;
        (tags.get(GROUP).map(String::as_str) == Some(place)).then(|| format!("{self}{GROUPED}{rest}"))
    }

    /// The name of the snapshot that outlives the volume of this global id.
    pub(super) fn remains(&self, global_id: &str) -> String {
        format!("{self}gone--{global_id}")
    }

    /// The name of the snapshot by way of which the volume that CSI calls so is copied from another one.
    ///
    /// # Errors
    /// As for a volume.
    pub(super) fn aside(&self, csi: &str) -> Result<String> {
        Ok(format!("{self}aside--{}", local(csi)?))
    }

    /// The CSI name of an object of ours.
    pub(super) fn csi_name(&self, name: &str, tags: &Tags) -> String {
        if let Some(name) = tags.get(NAME).and_then(|text| decode(text)) {
            return name;
        }
        let rest = name.strip_prefix(&self.0).unwrap_or(name);
        [SNAPSHOT, GROUPED].iter().find_map(|word| rest.strip_prefix(word)).unwrap_or(rest).to_owned()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The CSI name with characters that StorPool's names can have. `:` takes the place of `~`.
fn local(csi: &str) -> Result<String> {
    Ok(native_name(csi)?.as_str().replace('~', ":"))
}

/// How an id is written in a URL: a global id comes after a `~`.
pub(super) fn reference(id: &str) -> String {
    if is_global_id(id) { format!("~{id}") } else { id.to_owned() }
}

/// The id that no other object can have: the global one, as far as it is known.
pub(super) fn exact<'a>(id: &'a str, global_id: &'a str) -> &'a str {
    if is_global_id(global_id) { global_id } else { id }
}

/// Whether an id is a global one, as another driver's volumes have it.
pub(super) fn is_global_id(id: &str) -> bool {
    let parts: Vec<_> = id.split('.').collect();
    let sound = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    parts.len() == 3 && parts.iter().all(sound)
}

/// Whether an id can be one in StorPool at all.
pub(super) fn is_name(id: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    (1..200).contains(&id.len()) && id.chars().all(sound) && !matches!(id, "list" | "status" | "." | "..")
}

/// The id of an object that has this name.
///
/// # Errors
/// `NotFound` for a name that is too long for an id of ours.
pub(super) fn id(name: &str) -> Result<NativeId> {
    name.strip_prefix('~').unwrap_or(name).parse()
}

/// What is noted about everything that is made under this CSI name.
pub(super) fn owned(cluster: &str, csi: &str) -> Result<Tags> {
    let mut tags = Tags::from([(CLUSTER.to_owned(), cluster.to_owned())]);
    if native_name(csi)?.as_str() != csi {
        tags.insert(NAME.to_owned(), encode(csi));
    }
    Ok(tags)
}

/// What a volume was made from, as a tag.
pub(super) fn source_tag(source: &Source) -> String {
    match source {
        Source::Volume(id) => format!("v:{id}"),
        Source::Snapshot(id) => format!("s:{id}"),
    }
}

/// What the tags say that it was made from.
///
/// # Errors
/// `Internal` where the tag says something else.
pub(super) fn source(tags: &Tags) -> Result<Option<Source>> {
    let Some(tag) = tags.get(SOURCE) else { return Ok(None) };
    match tag.split_once(':') {
        Some(("v", id)) => Ok(Some(Source::Volume(id.parse()?))),
        Some(("s", id)) => Ok(Some(Source::Snapshot(id.parse()?))),
        _ => Err(Error::internal(format!(
            "the tag {SOURCE} has the value {tag:?}, which is not this driver's"
        ))),
    }
}

/// Adds what is noted for people, as far as there is room.
pub(super) fn add_owner(tags: &mut Tags, name: &str, owner: &Owner) {
    let mut room = ROOM
        .saturating_sub(name.len() + tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
    for (key, value) in [(CLAIM, &owner.claim), (NAMESPACE, &owner.namespace)] {
        let Some(value) = value else { continue };
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let value: String = value.chars().map(|c| if sound(c) { c } else { '_' }).collect();
        if let Some(rest) = room.checked_sub(key.len() + value.len()) {
            room = rest;
            tags.insert(key.to_owned(), value);
        }
    }
}

/// Makes room for a change of tags, where they have none.
pub(super) fn make_room(name: &str, tags: &Tags, change: &mut Tags) {
    let mut after = tags.clone();
    after.extend(change.clone());
    after.retain(|_, value| !value.is_empty());
    if name.len() + after.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > FULL {
        for key in [CLAIM, NAMESPACE].into_iter().filter(|key| tags.contains_key(*key)) {
            change.insert(key.to_owned(), String::new());
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A text as a tag can hold it (RFC 4648, base64url without padding).
fn encode(text: &str) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let digit = word >> (18 - 6 * place) & 63;
            out.extend(DIGITS.get(digit as usize).map(|byte| char::from(*byte)));
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() < 2 {
            return None;
        }
        let mut word = 0_u32;
        for byte in chunk {
            let digit = DIGITS.iter().position(|known| known == byte)?;
            word = word << 6 | u32::try_from(digit).ok()?;
        }
        word <<= 6 * (4 - chunk.len());
        let [_, a, b, c] = word.to_be_bytes();
        bytes.extend([a, b, c].iter().take(chunk.len() - 1));
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_read_back() {
        let prefix = Prefix::default();
        let long = "A".repeat(128);
        for csi in ["pvc-0f6c", "a/b", "ä b", "..", &long] {
            let (name, tags) = (prefix.volume(csi).unwrap(), owned("k", csi).unwrap());
            assert!(is_name(&name) && !is_global_id(&name), "{name}");
            assert_eq!(prefix.csi_name(&name, &tags), csi);
            assert!(tags.values().all(|value| value.len() < 200));
            assert_ne!(prefix.snapshot(csi).unwrap(), name);
            let group = prefix.group(csi).unwrap();
            let member = prefix.member(&group, 9999);
            assert!(member.parse::<NativeId>().is_ok());
            let place = Tags::from([(GROUP.to_owned(), "9999".to_owned())]);
            assert_eq!(prefix.group_of(&member, &place), Some(group));
            assert_eq!(prefix.group_of(&member, &Tags::new()), None);
        }
        assert_eq!(prefix.volume("pvc-0f6c").unwrap(), "csi--pvc-0f6c");
        assert!(!owned("k", "pvc-0f6c").unwrap().contains_key(NAME));
    }

    #[test]
    fn texts_are_encoded_and_read_back() {
        for text in ["", "a", "ab", "abc", "ä b/\u{10ffff}", &"x".repeat(128)] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(encode("fo"), "Zm8");
        for bad in ["A", "a b", "A==="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_global_id_is_known_by_its_form() {
        assert_eq!(reference("d.n.a1z"), "~d.n.a1z");
        for name in ["csi--a", "d.n", "d.n.A", "d..n", "d.n.a.b"] {
            assert_eq!(reference(name), name);
        }
        assert!(Prefix::parse("a.b").is_err() && Prefix::parse("k8s-").is_ok());
    }

    #[test]
    fn notes_for_people_give_way() {
        let owner = Owner { claim: Some("c".repeat(100)), namespace: Some("n s".into()), volume: None };
        let mut tags = owned("kubernetes", "pvc-1").unwrap();
        add_owner(&mut tags, &"x".repeat(80), &owner);
        assert_eq!(tags.get(CLAIM), None);
        assert_eq!(tags.get(NAMESPACE).map(String::as_str), Some("n_s"));
        let mut change = Tags::from([(DATA.to_owned(), "1".to_owned())]);
        make_room("v", &tags, &mut change);
        assert_eq!(change.len(), 1, "there is room");
        make_room(&"x".repeat(180), &tags, &mut change);
        assert_eq!(change.get(NAMESPACE).map(String::as_str), Some(""));
    }
}
