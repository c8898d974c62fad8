//! How a volume is used. The cluster knows readers and writers; all else that differs from the plain case, one node that
//! writes to a file system, is noted in the volume's tags before it is attached.

use serde_json::{Value, json};

use crate::backend::AttachOrder;
use crate::backend::storpool::model::{Attachment, Rights, Tags, Volume};
use crate::backend::storpool::names::{DATA, USE, make_room};
use crate::backend::storpool::nodes::{Nodes, Seat};
use crate::error::{Error, Result};
use crate::volume::{AccessMode, Use};

/// The modes by the letters that stand for them: tags have little room.
const MODES: [(&str, AccessMode); 7] = [
    ("w", AccessMode::SingleNodeWriter),
    ("r", AccessMode::SingleNodeReaderOnly),
    ("mr", AccessMode::MultiNodeReaderOnly),
    ("mw", AccessMode::MultiNodeSingleWriter),
    ("mm", AccessMode::MultiNodeMultiWriter),
    ("sw", AccessMode::SingleNodeSingleWriter),
    ("sm", AccessMode::SingleNodeMultiWriter),
];
/// What follows the letters where the node must not write.
const READONLY: &str = ".ro";

/// How the volume is to be used.
pub(super) fn ordered(order: &AttachOrder) -> Use {
    Use { mode: order.access.mode, readonly: order.readonly }
}

/// The rights that a use needs.
pub(super) fn rights(wanted: Use) -> Rights {
    if wanted.writes() { Rights::Rw } else { Rights::Ro }
}

fn key(seat: &Seat) -> String {
    format!("{USE}{seat}")
}

fn encode(wanted: Use) -> String {
    let letters = MODES.iter().find(|(_, mode)| *mode == wanted.mode).map_or("", |(letters, _)| letters);
    format!("{letters}{}", if wanted.readonly { READONLY } else { "" })
}

/// How a client uses it, as far as that was noted. One node that writes is not noted.
fn noted(tags: &Tags, seat: &Seat) -> Option<Use> {
    let text = tags.get(&key(seat))?;
    let (letters, readonly) = text.strip_suffix(READONLY).map_or((text.as_str(), false), |rest| (rest, true));
    MODES.iter().find(|(known, _)| *known == letters).map(|(_, mode)| Use { mode: *mode, readonly })
}

/// Whether an order is the plain case, of which nothing is noted.
fn is_plain(wanted: Use) -> bool {
    !wanted.mode.multi_node() && wanted.writes()
}

/// The tags to change before the volume is attached by this order, beside these; empty: none. What is noted of clients that
/// have it no more goes.
pub(super) fn to_note(
    order: &AttachOrder,
    volume: &Volume,
    seat: &Seat,
    table: &[Attachment],
    mut tags: Tags,
) -> Value {
    let wanted = ordered(order);
    let has = |of: &str| table.iter().any(|one| volume.is_in(one) && key(&one.seat()) == of);
    for old in volume.tags.keys().filter(|name| name.starts_with(USE) && !has(name)) {
        tags.insert(old.clone(), String::new());
    }
    match is_plain(wanted) {
        true => {}
        false if volume.tags.get(&key(seat)) == Some(&encode(wanted)) => drop(tags.remove(&key(seat))),
        false => drop(tags.insert(key(seat), encode(wanted))),
    }
    if order.access.is_block() && wanted.writes() && !volume.tags.contains_key(DATA) {
        tags.insert(DATA.to_owned(), "1".to_owned());
    }
    if tags.is_empty() {
        return Value::Null;
    }
    make_room(&volume.name, &volume.tags, &mut tags);
    json!({ "tags": tags })
}

/// Whether the order differs from how the client has the volume already.
pub(super) fn differs(order: &AttachOrder, volume: &Volume, mine: &Attachment) -> bool {
    let wanted = ordered(order);
    let same = match noted(&volume.tags, &mine.seat()) {
        Some(known) => known == wanted,
        None => is_plain(wanted),
    };
    !same || mine.rights != rights(wanted)
}

/// Whether a client may have it beside those that have it.
///
/// # Errors
/// `FailedPrecondition` naming the node with which it does not go.
pub(super) fn may_share(
    order: &AttachOrder,
    volume: &Volume,
    seat: &Seat,
    others: &[&Attachment],
    nodes: &Nodes,
) -> Result<()> {
    let wanted = ordered(order);
    for other in others {
        let refuse = |why: String| {
            let text =
                format!("it is attached to {}, {why}: detach it there first", nodes.told(&other.seat()));
            Err(Error::precondition(text))
        };
        // What two clusters that have one volume do to each other is nowhere said.
        if other.cluster_id != seat.cluster {
            return refuse("in another cluster, and a volume is in one at a time".to_owned());
        }
        match noted(&volume.tags, &other.seat()) {
            _ if !wanted.mode.multi_node() => return refuse("and is wanted for one node alone".to_owned()),
            Some(known) if wanted.goes_with(known) => {}
            Some(known) => return refuse(format!("as {known}, which does not go with {wanted}")),
            None => return refuse("which writes to it alone".to_owned()),
        }
        // A file system that is mounted twice is destroyed at the first write.
        if !order.access.is_block() && wanted.writes() {
            return refuse("and a file system is written by one node".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_is_read_as_it_was_noted() {
        for (_, mode) in MODES {
            for readonly in [false, true] {
                let wanted = Use { mode, readonly };
                let seat =
                    |cluster: Option<&str>, client| Seat { cluster: cluster.map(str::to_owned), client };
                let tags = Tags::from([(key(&seat(None, 7)), encode(wanted))]);
                assert_eq!(noted(&tags, &seat(None, 7)), Some(wanted));
                assert_eq!(noted(&tags, &seat(None, 8)), None);
                assert_eq!(noted(&tags, &seat(Some("d.n"), 7)), None);
                assert!(encode(wanted).bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.'));
            }
        }
    }
}
