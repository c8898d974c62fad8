//! Exporting volumes to nodes that have no `storpool_block`: over iSCSI, one target for each volume.
//!
//! As with clients, the cluster lets several initiators write to a volume, so all is read before an export and again after
//! it, clients' attachments too. Others may change the same: what is refused because somebody was faster is read again, and
//! nothing is sent twice blindly.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{PAUSE, TRIES, told, uses};
use crate::backend::AttachOrder;
use crate::backend::storpool::Cloud;
use crate::backend::storpool::client::{Command, Export, Failure, Name, Retry};
use crate::backend::storpool::config::{IscsiSettings, Served};
use crate::backend::storpool::model::iscsi::{INITIATOR, Iscsi, Target};
use crate::backend::storpool::model::{Attachment as Held, Tags, Volume};
use crate::backend::storpool::names::{EXPORTED, ROOM_NOTE};
use crate::backend::storpool::nodes::{self, Seat};
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::host::files::random_hex;
use crate::volume::{Attachment, Connection, NodeId};

/// The unit of a target: each has one.
const UNIT: u32 = 0;

/// How a node gets its volumes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Way<'a> {
    /// Its client has them.
    Block,
    /// They are exported to its initiator.
    Iscsi(&'a IscsiSettings, &'a str),
}

/// One moment's truth about a volume.
struct Seen {
    volume: Volume,
    table: Vec<Held>,
    iscsi: Iscsi,
    began: Instant,
}

impl Seen {
    fn target(&self) -> Option<&Target> {
        self.iscsi.target(&self.volume.name)
    }

    /// Whether it is exported so.
    fn is_exported(&self, initiator: &str, group: &str) -> bool {
        self.target().is_some_and(|target| self.iscsi.groups_of(initiator, &target.name).contains(&group))
    }
}

/// A volume that a node is to get.
struct Wish<'a> {
    order: &'a AttachOrder,
    settings: &'a IscsiSettings,
    initiator: &'a str,
}

/// What was tried for a wish.
#[derive(Default)]
struct Tried {
    retry: Retry,
    /// Whether the export may be this call's own.
    sent: bool,
    /// Whether the initiator was let in.
    let_in: bool,
    /// What was refused last, as it is where somebody was faster.
    refused: Option<Error>,
}

impl Cloud {
    /// How a node gets its volumes.
    ///
    /// # Errors
    /// `NotFound` where it has told nothing by which it could.
    pub(in super::super) fn way<'a>(&'a self, node: &'a NodeId) -> Result<Way<'a>> {
        let Some(settings) = &self.config.iscsi else { return Ok(Way::Block) };
        if settings.nodes == Served::WithoutBlock && nodes::client(node).is_some() {
            return Ok(Way::Block);
        }
        let initiator = nodes::initiator(node).ok_or_else(|| {
            Error::not_found(
                "the node has told neither a StorPool client nor the name of an initiator of iSCSI by which it could get \
                 volumes: is the node's driver running, with the same settings?",
            )
            .with("node", node)
        })?;
        Ok(Way::Iscsi(settings, initiator))
    }

    /// All that is attached or exported.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub(in super::super) async fn holders(&self) -> Result<Vec<Held>> {
        self.attacher.holders.read().await
    }

    /// Exports a volume to a node's initiator.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::attach`].
    pub(in super::super) async fn export(
        &self,
        order: &AttachOrder,
        settings: &IscsiSettings,
        initiator: &str,
    ) -> Result<Attachment> {
        let id = order.volume.as_str();
        let named = |error: Error| {
            error.with("volume", id).with("node", order.node.name()).with("initiator", initiator)
        };
        self.nodes.learn_initiator(&order.node);
        let _turn = self.turns.take(id).await;
        let (wish, mut tried) = (Wish { order, settings, initiator }, Tried::default());
        for tries in 1..=TRIES {
            let done = self.export_once(&wish, &mut tried).await;
            if let Some(attached) = done.map_err(|error| named(tried.retry.doubt(error)))? {
                return Ok(attached);
            }
            // Random, so that two do not meet again.
            let random = u64::from_str_radix(&random_hex(2)?, 16).unwrap_or_default();
            let part = f64::from(u16::try_from(random).unwrap_or(0)) / 65_536.0;
            tokio::time::sleep(PAUSE.mul_f64(f64::from(tries) * part)).await;
        }
        let busy = || Error::busy("others try to attach or export it at the same time");
        Err(named(tried.retry.doubt(tried.refused.unwrap_or_else(busy))))
    }

    /// One try; `None` where it has to be looked again.
    async fn export_once(&self, wish: &Wish<'_>, tried: &mut Tried) -> Result<Option<Attachment>> {
        phase("look who has it");
        let id = wish.order.volume.as_str();
        let seen = self.look_exported(id).await?;
        if seen.volume.name.starts_with('~') {
            let text = "it has no name in StorPool, and only what has one can be exported over iSCSI: rename it there";
            return Err(Error::precondition(text));
        }
        seen.iscsi.group(&wish.settings.portal_group)?.portals()?;
        let numbers = seen.iscsi.numbers()?;
        let Some((number, _)) = numbers.into_iter().find(|(_, name)| name == wish.initiator) else {
            self.change(&[Command::Initiator(wish.initiator)], tried).await?;
            return Ok(None);
        };
        // One of which only the first half was made.
        if seen.iscsi.is_shut_out(wish.initiator) && !std::mem::replace(&mut tried.let_in, true) {
            self.change(&[Command::Network(wish.initiator)], tried).await?;
            return Ok(None);
        }
        let seat = Seat::of_initiator(number);
        let of_volume: Vec<_> = seen.table.iter().filter(|one| seen.volume.is_in(one)).collect();
        let (mine, others): (Vec<_>, Vec<_>) = of_volume.into_iter().partition(|one| one.client == number);
        if let Err(error) = uses::may_share(wish.order, &seen.volume, &seat, &others, &self.nodes) {
            if tried.sent && !mine.is_empty() {
                self.withdraw(&seen.volume, number, true).await?;
            }
            return Err(error);
        }
        if let Some(mine) = mine.first()
            && !tried.sent
        {
            self.check_mine(wish, &seen.volume, mine)?;
        }
        let _place = match mine.is_empty() {
            true => Some(self.attacher.room.take(self, &seat, &seen.volume, seen.began, &seen.table)?),
            false => None,
        };
        let notes = notes(wish, &seen, number);
        if !notes.is_null() {
            self.update(id, notes).await?;
        }
        if !seen.is_exported(wish.initiator, &wish.settings.portal_group) {
            phase("export");
            let volume = seen.volume.name.as_str();
            let export = Export { initiator: wish.initiator, group: &wish.settings.portal_group, volume };
            let target = seen.target().is_none().then_some(Command::Target(volume));
            let commands: Vec<_> = target.into_iter().chain([Command::Export(export)]).collect();
            let before = std::mem::replace(&mut tried.sent, true);
            if !self.change(&commands, tried).await? {
                // What was refused is not there because of this call.
                tried.sent = before || tried.refused.is_none();
                return Ok(None);
            }
        }
        self.confirm_export(wish, tried, number).await
    }

    /// Looks again, after the export: whether it stands, and alone.
    async fn confirm_export(
        &self,
        wish: &Wish<'_>,
        tried: &Tried,
        number: u16,
    ) -> Result<Option<Attachment>> {
        let seen = self.look_exported(wish.order.volume.as_str()).await?;
        let Some(target) = seen.target() else { return Ok(None) };
        if !seen.is_exported(wish.initiator, &wish.settings.portal_group) {
            return Ok(None);
        }
        let rivals: Vec<_> =
            seen.table.iter().filter(|one| seen.volume.is_in(one) && one.client != number).collect();
        if uses::may_share(wish.order, &seen.volume, &Seat::of_initiator(number), &rivals, &self.nodes)
            .is_err()
        {
            if !tried.sent {
                let text = "another node got it too, meanwhile: detach it from one of them";
                return Err(Error::unknown(Kind::FailedPrecondition, text));
            }
            // Nobody was told of it.
            self.withdraw(&seen.volume, number, true).await?;
            return Ok(None);
        }
        if seen.volume.tags.get(&key(number)) != Some(&digest(&wish.order.node)) {
            return Err(other_node().with_outcome(Outcome::Unknown));
        }
        let portals = seen.iscsi.group(&wish.settings.portal_group)?.portals()?;
        let connection = Connection::Iscsi {
            volume: wish.order.volume.to_string(),
            target: target.name.clone(),
            lun: UNIT,
            portals,
        };
        Ok(Some(told(&Seat::of_initiator(number), &seen.volume, wish.order, connection)))
    }

    async fn look_exported(&self, id: &str) -> Result<Seen> {
        let began = Instant::now();
        let (volume, table, iscsi) =
            tokio::join!(self.client.volume(id), self.client.attachments(), self.client.iscsi());
        let (volume, mut table, iscsi) = (volume?, table?, iscsi?);
        self.nodes.note(iscsi.numbers()?);
        table.extend(iscsi.attachments()?);
        Ok(Seen { volume, table, iscsi, began })
    }

    /// The initiator has it already: as it is wanted now, and for the same node?
    fn check_mine(&self, wish: &Wish<'_>, volume: &Volume, mine: &Held) -> Result<()> {
        // An export has no rights of its own: the node sees to it that nothing is written.
        let mine = Held { rights: uses::rights(uses::ordered(wish.order)), ..mine.clone() };
        if uses::differs(wish.order, volume, &mine) {
            let text =
                "the node has it already, and not as it is wanted now (mode, read-only): detach it first";
            return Err(Error::refused(Kind::AlreadyExists, text));
        }
        match volume.tags.get(&key(mine.client)) {
            Some(noted) if *noted != digest(&wish.order.node) => Err(other_node()),
            Some(_) => Ok(()),
            None => Err(Error::precondition(
                "it is exported to the node's initiator, and not by this driver: withdraw that in StorPool first",
            )),
        }
    }

    /// Sends commands: whether they were carried out. Where they were not, it has to be looked what is there.
    ///
    /// # Errors
    /// Why another look would not help.
    async fn change(&self, commands: &[Command<'_>], tried: &mut Tried) -> Result<bool> {
        tried.refused = None;
        match self.client.change_iscsi(commands).await {
            Ok(()) => return Ok(true),
            Err(failure) if was_faster(&failure) => tried.refused = Some(failure.into_error()),
            Err(failure) => tried.retry.again(failure).await?,
        }
        Ok(false)
    }
}

/// Whether commands may have been refused because somebody else did the same, or undid what they build on.
pub(super) fn was_faster(failure: &Failure) -> bool {
    match failure {
        Failure::Refused(refusal) if refusal.transient => false,
        _ => [Name::Exists, Name::Missing, Name::Invalid].iter().any(|name| failure.is(name)),
    }
}

fn other_node() -> Error {
    Error::precondition(
        "it is exported to an initiator of this name for another node: give each node a name of its own in \
         /etc/iscsi/initiatorname.iscsi (iscsi-iname makes one)",
    )
}

fn key(number: u16) -> String {
    format!("{EXPORTED}{}", number & !INITIATOR)
}

/// Tells a node from others of the same initiator's name, as it comes of copied machines.
fn digest(node: &NodeId) -> String {
    Sha256::digest(node.name()).iter().take(ROOM_NOTE).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what a holder has may be for this node: of an export it is known for which node of several that have the same
/// initiator's name.
pub(super) fn may_be_for(node: &NodeId, volume: &Volume, holder: u16) -> bool {
    holder < INITIATOR || volume.tags.get(&key(holder)).is_none_or(|noted| *noted == digest(node))
}

/// Whether what a holder has was exported for this node, whatever initiator's name it tells by now.
pub(super) fn is_for(node: &NodeId, volume: &Volume, holder: u16) -> bool {
    holder >= INITIATOR && volume.tags.get(&key(holder)) == Some(&digest(node))
}

/// The tags to change before the volume is exported.
fn notes(wish: &Wish<'_>, seen: &Seen, number: u16) -> Value {
    let mut tags = Tags::new();
    let has = |of: &str| {
        let exported = |one: &&Held| one.client >= INITIATOR && seen.volume.is_in(one);
        seen.table.iter().filter(exported).any(|one| key(one.client) == of)
    };
    for old in seen.volume.tags.keys().filter(|name| name.starts_with(EXPORTED) && !has(name)) {
        tags.insert(old.clone(), String::new());
    }
    let digest = digest(&wish.order.node);
    match seen.volume.tags.get(&key(number)) == Some(&digest) {
        true => drop(tags.remove(&key(number))),
        false => drop(tags.insert(key(number), digest)),
    }
    // Together, because there is room for all of them or not.
    uses::to_note(wish.order, &seen.volume, &Seat::of_initiator(number), &seen.table, tags)
}
