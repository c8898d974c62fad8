//! Who may have a volume (attachments, written by the controller) and who has it (holds, written by the node).

use std::collections::HashMap;
use std::path::PathBuf;

use super::volumes::missing;
use super::{Class, Client, now};
use crate::backend::file::model::{AttachmentRecord, HoldRecord, ServerRecord, VolumeRecord};
use crate::backend::{AttachOrder, DetachOrder};
use crate::error::{Error, Kind, Result};
use crate::failpoint;
use crate::host::files;
use crate::host::lock::Mode;
use crate::volume::{Attachment, Connection, NativeId};

impl Client {
    fn attachment_path(&self, node: &str, volume: &NativeId) -> PathBuf {
        self.directory().join("attachments").join(node).join(format!("{volume}.json"))
    }

    fn hold_path(&self, node: &str, volume: &NativeId) -> PathBuf {
        self.directory().join("holds").join(node).join(format!("{volume}.json"))
    }

    fn server_path(&self, node: &str) -> PathBuf {
        self.directory().join("servers").join(format!("{node}.json"))
    }

    /// The names below `attachments` or `holds`: every server that ever was one.
    fn servers(&self, kind: &str) -> Result<Vec<String>> {
        let mut names = files::names(&self.directory().join(kind))?;
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a server known.
    pub(in super::super) fn join_server(&self, node: &str) -> Result<()> {
        let _guard = self.lock(&[(format!("servers/{node}"), Mode::Exclusive)])?;
        for kind in ["attachments", "holds"] {
            files::make_directory(&self.directory().join(kind).join(node))?;
        }
        let record =
            ServerRecord { node: node.to_owned(), joined: now(), max_volumes: self.config.per_server };
        self.write(&self.server_path(node), &record)
    }

    pub(in super::super) fn attachment(
        &self,
        node: &str,
        volume: &NativeId,
    ) -> Result<Option<AttachmentRecord>> {
        self.read(&self.attachment_path(node, volume))
    }

    /// Every attachment of a volume, by node.
    pub(super) fn attached(&self, volume: &NativeId) -> Result<Vec<AttachmentRecord>> {
        self.attached_to(volume, &self.servers("attachments")?)
    }

    /// The attachments of a volume to these nodes.
    pub(super) fn attached_to(&self, volume: &NativeId, nodes: &[String]) -> Result<Vec<AttachmentRecord>> {
        let mut list = Vec::new();
        for node in nodes {
            list.extend(self.attachment(node, volume)?);
        }
        Ok(list)
    }

    /// Which nodes each volume is attached to, by the names in the directory.
    pub(super) fn attached_by_volume(&self) -> Result<HashMap<NativeId, Vec<String>>> {
        let mut map: HashMap<NativeId, Vec<String>> = HashMap::new();
        for node in self.servers("attachments")? {
            for name in files::names(&self.directory().join("attachments").join(&node))? {
                if let Some(Ok(volume)) = name.strip_suffix(".json").map(str::parse) {
                    map.entry(volume).or_default().push(node.clone());
                }
            }
        }
        Ok(map)
    }

    /// Removes what an interrupted write of an attachment or a hold left.
    pub(super) fn sweep_attachments(&self) -> Result<()> {
        for kind in ["attachments", "holds"] {
            for node in self.servers(kind)? {
                let directory = self.directory().join(kind).join(node);
                for name in files::names(&directory)? {
                    let Some(Ok(volume)) = name.strip_suffix(".json.tmp").map(str::parse) else { continue };
                    if let Some(_guard) = self.try_lock(&Class::Volume.key(&volume))? {
                        files::remove(&directory.join(name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every hold on a volume, with the node's name.
    pub(super) fn holders(&self, volume: &NativeId) -> Result<Vec<(String, HoldRecord)>> {
        let mut list = Vec::new();
        for node in self.servers("holds")? {
            if let Some(hold) = self.read(&self.hold_path(&node, volume))? {
                list.push((node, hold));
            }
        }
        Ok(list)
    }

    /// The nodes that may be writing to a volume now.
    pub(super) fn writers(&self, volume: &NativeId) -> Result<Vec<String>> {
        Ok(self.holders(volume)?.into_iter().filter(|(_, hold)| hold.writes).map(|(node, _)| node).collect())
    }

    /// The volumes that a node holds.
    pub(in super::super) fn held_by(&self, node: &str) -> Result<Vec<NativeId>> {
        let names = files::names(&self.directory().join("holds").join(node))?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// Writes the hold, before there is a device. The caller holds the volume's lock.
    pub(in super::super) fn hold(
        &self,
        node: &str,
        volume: &NativeId,
        attachment: &AttachmentRecord,
    ) -> Result<()> {
        let record =
            HoldRecord { nonce: attachment.nonce.clone(), writes: attachment.writes(), since: now() };
        let path = self.hold_path(node, volume);
        let known: Option<HoldRecord> = self.read(&path)?;
        if known.is_some_and(|known| known.nonce == record.nonce && known.writes == record.writes) {
            return Ok(());
        }
        self.write(&path, &record)?;
        failpoint::step("file.hold-written");
        Ok(())
    }

    /// Removes the hold, after the device is gone. The caller holds the volume's lock.
    pub(in super::super) fn release(&self, node: &str, volume: &NativeId) -> Result<()> {
        files::remove_synced(&self.hold_path(node, volume))?;
        failpoint::step("file.hold-removed");
        Ok(())
    }

    pub(in super::super) fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        let node = order.node.name();
        let _guard = self.lock(&[
            (Class::Volume.key(&order.volume), Mode::Exclusive),
            (format!("servers/{node}"), Mode::Exclusive),
        ])?;
        let volume = self.get(&order.volume)?;
        let server: ServerRecord = self.read(&self.server_path(node))?.ok_or_else(|| {
            Error::not_found("no such server has joined: is the node's driver running?")
                .with("node", &order.node)
        })?;
        let wanted = AttachmentRecord {
            node: order.node.clone(),
            mode: order.access.mode,
            block: order.access.is_block(),
            readonly: order.readonly,
            nonce: files::random_hex(16)?,
            since: now(),
        };
        let mut known = None;
        for other in self.attached(&order.volume)? {
            if other.node.name() == node {
                known = Some(other);
            } else if !other.usage().goes_with(wanted.usage()) {
                return Err(Error::precondition(format!(
                    "it is attached to {} as {:?}{}, which does not go with {:?}{} here: detach it there first",
                    other.node.name(),
                    other.mode,
                    if other.readonly { " read-only" } else { "" },
                    wanted.mode,
                    if wanted.readonly { " read-only" } else { "" },
                ))
                .with("volume", &order.volume)
                .with("node", &order.node));
            }
        }
        let record = match known {
            Some(known) if same(&known, &wanted) => known,
            Some(known) => {
                return Err(Error::refused(
                    Kind::AlreadyExists,
                    format!(
                        "it is attached to this node as {:?} (block {}, read-only {}): detach it first",
                        known.mode, known.block, known.readonly
                    ),
                )
                .with("volume", &order.volume)
                .with("node", &order.node));
            }
            None => {
                self.check_cap(node, &server)?;
                self.write(&self.attachment_path(node, &order.volume), &wanted)?;
                failpoint::step("file.attached");
                wanted
            }
        };
        Ok(Attachment {
            readonly: !record.writes(),
            nonce: record.nonce,
            size: volume.size,
            content: volume.content,
            connection: Connection::Loop { image: relative_image(&order.volume) },
        })
    }

    fn check_cap(&self, node: &str, server: &ServerRecord) -> Result<()> {
        let cap = self.config.per_server.into_iter().chain(server.max_volumes).min();
        let names = files::names(&self.directory().join("attachments").join(node))?;
        let count = names.iter().filter(|name| name.ends_with(".json")).count();
        match cap {
            Some(cap) if u32::try_from(count).is_ok_and(|count| count < cap) => Ok(()),
            Some(cap) => Err(Error::refused(
                Kind::ResourceExhausted,
                format!("server {node} holds {count} of {cap} volumes: detach one first"),
            )
            .with("node", node)),
            None => Ok(()),
        }
    }

    pub(in super::super) fn detach(&self, order: &DetachOrder) -> Result<()> {
        let _guard = self.lock_volume(&order.volume)?;
        let nodes = match &order.node {
            Some(node) => vec![node.name().to_owned()],
            None => {
                let mut nodes = self.servers("attachments")?;
                nodes.extend(self.servers("holds")?);
                nodes.sort_unstable();
                nodes.dedup();
                nodes
            }
        };
        if order.fence.is_none() {
            let mut holding = self.holders(&order.volume)?;
            holding.retain(|(node, _)| nodes.contains(node));
            if let Some((node, _)) = holding.first() {
                return Err(Error::busy(format!(
                    "{node} still holds it open: unstage it there, or prove that {node} is off (fencing)"
                ))
                .with("volume", &order.volume)
                .with("node", node));
            }
        }
        for node in nodes {
            // In this order: what is no longer attached can not be connected anew.
            files::remove_synced(&self.attachment_path(&node, &order.volume))?;
            failpoint::step("file.detached");
            self.release(&node, &order.volume)?;
        }
        Ok(())
    }

    /// The node's own attachment, if it is the one that the node was told of. The caller holds the volume's lock.
    pub(in super::super) fn verify(
        &self,
        node: &str,
        volume: &NativeId,
        told: &Attachment,
    ) -> Result<AttachmentRecord> {
        self.record::<VolumeRecord>(Class::Volume, volume)?.ok_or_else(|| missing(volume))?;
        let Connection::Loop { image } = &told.connection else {
            return Err(
                Error::invalid("the attachment is of another kind of back end").with("volume", volume)
            );
        };
        if *image != relative_image(volume) {
            return Err(Error::invalid(format!(
                "the attachment names the image {}, which is not this volume's",
                image.display()
            ))
            .with("volume", volume));
        }
        self.attachment(node, volume)?
            .filter(|record| record.nonce == told.nonce && record.writes() != told.readonly)
            .ok_or_else(|| {
                Error::precondition(format!(
                    "it is not attached to {node} any more as this call says: it was detached or fenced meanwhile"
                ))
                .with("volume", volume)
                .with("node", node)
            })
    }
}

/// Where a volume's image is, from the directory on.
fn relative_image(volume: &NativeId) -> PathBuf {
    PathBuf::from(Class::Volume.directory()).join(format!("{volume}.img"))
}

/// Whether a repeated order is the same.
fn same(known: &AttachmentRecord, wanted: &AttachmentRecord) -> bool {
    (known.mode, known.block, known.readonly) == (wanted.mode, wanted.block, wanted.readonly)
}
