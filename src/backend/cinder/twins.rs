//! Names are not unique and a create that was sent once may be carried out late, so one name may come to have several
//! objects. The oldest is the one; the others go, unless somebody could have been given them.

use super::model::Status;
use super::notes::{Name, Noted};

/// The objects of one name.
#[derive(Debug)]
pub(super) struct Twins<T> {
    /// The one: the oldest of those that can be used or are being made. One that somebody has comes before all others,
    /// because the clocks of a cloud's machines differ.
    pub(super) first: Option<T>,
    /// The others of those.
    pub(super) younger: Vec<T>,
    /// Those that could not be made. One that somebody has was made, whatever became of it.
    pub(super) failed: Vec<T>,
}

/// Sorts what a listing gave: only what has the name, and is not going.
pub(super) fn sort<T: Noted>(name: &Name, listed: Vec<T>) -> Twins<T> {
    let going =
        |status: &Status| matches!(status, Status::Deleting | Status::Deleted | Status::ErrorDeleting);
    let named = listed.into_iter().filter(|object| name.is_of(object) && !going(object.status()));
    let (failed, mut good): (Vec<T>, Vec<T>) =
        named.partition(|object| could_not_be_made(object.status()) && !object.is_used());
    good.sort_by(|one, other| rank(one).cmp(&rank(other)));
    let mut good = good.into_iter();
    Twins { first: good.next(), younger: good.collect(), failed }
}

fn rank<T: Noted>(object: &T) -> (bool, Option<std::time::SystemTime>, &str) {
    (!object.is_used(), object.created_at(), object.id())
}

/// Whether the state says that there was never anything usable. `error_extending` is another matter: the data is there.
pub(super) const fn could_not_be_made(status: &Status) -> bool {
    matches!(status, Status::Error | Status::ErrorRestoring)
}

/// Whether it is still being made.
pub(super) const fn is_being_made(status: &Status) -> bool {
    matches!(status, Status::Creating | Status::Downloading | Status::Restoring)
}

/// Whether a younger twin may be deleted: nobody can have been given it, and nothing is under way with it.
pub(super) fn is_free<T: Noted>(object: &T) -> bool {
    *object.status() == Status::Available && !object.is_used()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::cinder::config::CinderConfig;
    use crate::backend::cinder::model::Volume;

    fn config() -> CinderConfig {
        CinderConfig::new(CinderConfig::clouds(std::path::Path::new("/c"), None))
    }

    fn volume(id: &str, status: &str, second: u32) -> Volume {
        let attachments = if status == "in-use" { json!([{"server_id": "s"}]) } else { json!([]) };
        serde_json::from_value(json!({"id": id, "status": status, "size": 1, "attachments": attachments,
            "created_at": format!("2026-01-01T00:00:{second:02}.000000"), "name": "v",
            "metadata": {"csi.fairlead.dev/cluster": "kubernetes", "csi.fairlead.dev/name": "v"}}))
        .unwrap()
    }

    #[test]
    fn the_oldest_wins_unless_somebody_has_another() {
        let name = Name::new(&config(), "v").unwrap();
        let ids = |listed: Vec<Volume>| {
            let twins = sort(&name, listed);
            let younger: Vec<_> = twins.younger.into_iter().map(|volume| volume.id).collect();
            (twins.first.map(|volume| volume.id), younger)
        };
        let (first, younger) =
            ids(vec![volume("c", "available", 2), volume("b", "creating", 1), volume("a", "available", 2)]);
        assert_eq!((first.as_deref(), younger.join("")), (Some("b"), "ac".to_owned()));
        let (first, _) = ids(vec![volume("a", "available", 1), volume("b", "in-use", 2)]);
        assert_eq!(first.as_deref(), Some("b"));
        let (first, younger) = ids(vec![volume("a", "error", 1), volume("b", "deleting", 2)]);
        assert_eq!((first, younger.len()), (None, 0));
        let mut broken = volume("a", "error", 1);
        broken.attachments = volume("b", "in-use", 1).attachments;
        let twins = sort(&name, vec![broken]);
        assert!(
            twins.failed.is_empty() && twins.first.is_some(),
            "a cloud's failure is no reason to delete data"
        );
    }

    #[test]
    fn what_only_looks_alike_is_none() {
        let name = Name::new(&config(), "v").unwrap();
        let mut foreign = volume("a", "available", 1);
        foreign.metadata.clear();
        let mut other = volume("b", "available", 1);
        other.metadata.insert("csi.fairlead.dev/cluster".to_owned(), "other".to_owned());
        let mut case = volume("c", "available", 1);
        case.metadata.insert("csi.fairlead.dev/name".to_owned(), "V".to_owned());
        assert!(sort(&name, vec![foreign, other, case]).first.is_none());
    }
}
