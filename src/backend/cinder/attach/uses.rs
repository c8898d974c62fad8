//! What is noted about how a volume is used. The cloud keeps no access modes and attaches everything for writing, so what
//! differs from the plain case, one node that writes to a file system, is noted about the volume before it is attached.

use std::collections::BTreeMap;

use crate::backend::AttachOrder;
use crate::backend::cinder::model::Volume;
use crate::error::{Error, Result};
use crate::host::files::random_hex;
use crate::volume::Use;

/// How the server of this id, which follows, uses it.
const USE: &str = "csi.fairlead.dev/use.";
/// That it was handed out as a raw device for writing, so that it may hold anything anywhere.
pub const CONTENT: &str = "csi.fairlead.dev/content";
/// What [`CONTENT`] then says.
pub const DATA: &str = "data";
/// Which act of attaching it is, where the cloud gives attachments no ids of their own.
pub(super) const ACT: &str = "csi.fairlead.dev/attach";
/// What stands in an act before the number of disks.
const DISKS: char = '/';
/// Shown by Cinder among a volume's notes where an operator made it read-only (os-update_readonly_flag).
const READONLY: &str = "readonly";

/// The note of a new act of attaching, where `disks` is how many volumes the server then has, if the node has to know.
pub(super) fn act(disks: Option<usize>) -> Result<(String, String)> {
    let act = random_hex(8)?;
    let disks = disks.map(|count| format!("{DISKS}{count}")).unwrap_or_default();
    Ok((ACT.to_owned(), format!("{act}{disks}")))
}

/// How many volumes the server had once this act was done; none where it was not noted.
pub(super) fn disks_of(act: &str) -> u32 {
    act.split_once(DISKS).and_then(|(_, count)| count.parse().ok()).unwrap_or_default()
}

/// How the volume is to be used.
pub(super) fn ordered(order: &AttachOrder) -> Use {
    Use { mode: order.access.mode, readonly: order.readonly }
}

/// Whether it can be attached only after a look at it.
pub(super) fn needs_care(volume: &Volume) -> bool {
    volume.multiattach || is_sealed(volume) || volume.metadata.keys().any(|key| key.starts_with(USE))
}

/// Whether an order is the plain case, of which nothing is noted.
pub(super) fn is_plain(order: &AttachOrder) -> bool {
    let wanted = ordered(order);
    !wanted.readonly && !wanted.mode.multi_node() && !order.access.is_block()
}

/// Whether the cloud itself lets nobody write to it.
pub(super) fn is_sealed(volume: &Volume) -> bool {
    volume.metadata.get(READONLY).is_some_and(|flag| flag.eq_ignore_ascii_case("true"))
}

/// How a server uses it, as far as that was noted. One server that writes is not noted.
pub(super) fn noted(volume: &Volume, server: &str) -> Result<Option<Use>> {
    let note = volume.metadata.get(&format!("{USE}{server}")).filter(|note| !note.is_empty());
    note.map(|note| note.parse().map_err(|error: Error| error.with("volume", &volume.id))).transpose()
}

/// What has to be noted before the volume is attached by this order.
pub(super) fn to_note(
    order: &AttachOrder,
    volume: &Volume,
    server: &str,
) -> Result<BTreeMap<String, String>> {
    let (wanted, mut notes) = (ordered(order), BTreeMap::new());
    let matters = volume.multiattach || wanted.readonly || wanted.mode.multi_node();
    let known = noted(volume, server)?;
    if matters && known != Some(wanted) {
        notes.insert(format!("{USE}{server}"), wanted.to_string());
    } else if !matters && known.is_some() {
        // Of an earlier time. An empty note costs less than a call that removes it.
        notes.insert(format!("{USE}{server}"), String::new());
    }
    if order.access.is_block() && wanted.writes() && !volume.metadata.contains_key(CONTENT) {
        notes.insert(CONTENT.to_owned(), DATA.to_owned());
    }
    Ok(notes)
}

/// The note that a server has been given a volume which it has for good.
pub(super) fn given(order: &AttachOrder, server: &str) -> (String, String) {
    (format!("{USE}{server}"), ordered(order).to_string())
}

/// The notes that take such a volume back.
pub(super) fn taken_back(server: &str) -> BTreeMap<String, String> {
    [format!("{USE}{server}"), ACT.to_owned()].map(|key| (key, String::new())).into()
}

/// What is noted about a volume without what says nothing any more: how other servers than this one used it.
pub(super) fn still_true(volume: &Volume, server: &str) -> BTreeMap<String, String> {
    let own = format!("{USE}{server}");
    let mut notes = volume.metadata.clone();
    notes.retain(|key, value| !value.is_empty() && (!key.starts_with(USE) || *key == own));
    notes
}

/// Whether the order differs from how the server has the volume already.
pub(super) fn differs(order: &AttachOrder, volume: &Volume, server: &str) -> Result<bool> {
    let wanted = ordered(order);
    let known = noted(volume, server)?;
    Ok(match known {
        Some(known) => known != wanted,
        // What is not noted is one node that writes, unless another driver attached it.
        None => wanted.readonly || wanted.mode.multi_node() && !volume.multiattach,
    })
}

/// Whether the server may have it beside those that have it.
///
/// # Errors
/// `FailedPrecondition` naming the server with which it does not go.
pub(super) fn may_share(order: &AttachOrder, volume: &Volume, others: &[&str]) -> Result<()> {
    let wanted = ordered(order);
    let refuse = |server: &str, why: &str| {
        let text = format!("it is attached to server {server}, {why}: detach it there first");
        Err(Error::precondition(text).with("volume", &volume.id))
    };
    for server in others {
        if !volume.multiattach {
            return refuse(server, "and its type lets only one server have it");
        }
        match noted(volume, server)? {
            _ if !wanted.mode.multi_node() => return refuse(server, "and is wanted for one node alone"),
            Some(other) if wanted.goes_with(other) => {}
            Some(other) => return refuse(server, &format!("as {other}, which does not go with {wanted}")),
            None => return refuse(server, "and it is not known how it is used there"),
        }
    }
    // A file system that is mounted twice is destroyed at the first write.
    match others {
        [first, ..] if !order.access.is_block() && wanted.writes() => {
            refuse(first, "and a file system is written by one node")
        }
        _ => Ok(()),
    }
}
