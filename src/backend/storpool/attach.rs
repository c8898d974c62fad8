//! Attaching volumes to nodes, and taking them off again.
//!
//! The cluster's list of attachments is the truth. The cluster itself lets several clients write to a volume, so the list
//! is read before an attach, and again after it: whoever then sees another there that came at the same time steps back.
//! Two that step back try again after different pauses; the one that is there alone has it. A client that has a volume
//! open is never robbed of it without a proof that it cannot write any more.

mod batch;
mod crowd;
mod export;
mod holders;
mod room;
mod shared;
mod uses;
mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use batch::{Batches, Undone};
use crowd::Crowd;
pub(super) use export::Way;
use holders::Holders;
use room::Room;
use shared::{Asker, Shared, Told};

use super::Cloud;
use super::client::{Client, Entry, Take};
use super::config::StorpoolConfig;
use super::model::iscsi::INITIATOR;
use super::model::{self, Volume};
use super::names;
use super::nodes::{self, Nodes};
use super::volumes::{content, new_era, quoted};
use crate::backend::turns::Turns;
use crate::backend::{AttachOrder, DetachOrder};
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::host::files::random_hex;
use crate::volume::{Attachment, Bytes, Connection, NodeId};

/// From so many on, one list is asked for instead of each volume.
const MANY: usize = 4;
/// How often an attach is tried beside others that want the same volume.
const TRIES: u32 = 12;
/// The longest first pause of one that stepped back; it grows.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a volume that is open is asked for: whoever looks at devices holds one for a moment.
const OPEN_TRIES: u32 = 10;
/// The pause between.
const OPEN_PAUSE: Duration = Duration::from_millis(200);

/// Attaches and detaches the volumes of one cluster.
#[derive(Debug)]
pub(super) struct Attacher {
    client: Arc<Client>,
    holders: Holders,
    batches: Arc<Batches>,
    table: Asker<Vec<model::Attachment>>,
    volumes: Asker<Vec<Volume>>,
    room: Room,
    turns: Turns,
    crowd: Crowd,
}

impl Attacher {
    pub(super) fn new(client: &Arc<Client>, config: &StorpoolConfig, nodes: &Nodes) -> Self {
        let crowd = Crowd::default();
        Self {
            client: Arc::clone(client),
            holders: Holders::new(client, nodes, config.iscsi.is_some()),
            batches: Batches::new(Arc::clone(client), config.attach_timeout, &crowd),
            table: Asker::new(1, &crowd),
            volumes: Asker::new(MANY, &crowd),
            room: Room::default(),
            turns: Turns::default(),
            crowd,
        }
    }

    /// All that is attached or exported, as it was after this call began.
    async fn table(&self) -> Result<Shared<Vec<model::Attachment>>> {
        let (began, all) = (Instant::now(), async || self.holders.read().await);
        // One who is alone needs all of it as well.
        match self.table.ask(all, async || self.holders.read().await).await? {
            Told::All(table) => Ok(table),
            Told::One(table) => Ok((began, Arc::new(table))),
        }
    }

    /// A volume, as it was after this call began.
    async fn volume(&self, id: &str) -> Result<Volume> {
        let one = async || self.client.volume(id).await;
        match self.volumes.ask(async || self.client.volumes().await, one).await? {
            Told::One(volume) => Ok(volume),
            Told::All((_, all)) => {
                let reference = names::reference(id);
                let found = all.iter().find(|volume| volume.name == reference || volume.global_id == id);
                match found {
                    Some(found) => Ok(found.clone()),
                    None => self.client.volume(id).await,
                }
            }
        }
    }
}

/// A volume and a client.
struct Job<'a> {
    id: &'a str,
    client: u16,
    node: &'a NodeId,
}

impl Job<'_> {
    fn told(&self, error: Error) -> Error {
        error.with("volume", self.id).with("node", self.node.name()).with("client", self.client)
    }

    fn entry(&self, take: Take) -> Entry {
        Entry { volume: self.id.to_owned(), client: self.client, take }
    }
}

impl Cloud {
    /// Attaches a volume.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::attach`].
    pub(super) async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        let id = order.volume.as_str();
        let client = self.nodes.learn(&order.node).map_err(|error| error.with("volume", id))?;
        let job = Job { id, client, node: &order.node };
        let _member = self.attacher.crowd.join();
        let _turn = self.attacher.turns.take(id).await;
        for tries in 1..=TRIES {
            if let Some(attached) = self.bring(order, &job).await.map_err(|error| job.told(error))? {
                return Ok(attached);
            }
            // Random, so that two do not meet again.
            let random = u64::from_str_radix(&random_hex(2)?, 16).unwrap_or_default();
            tokio::time::sleep(
                PAUSE.mul_f64(f64::from(tries) * f64::from(u16::try_from(random).unwrap_or(0)) / 65_536.0),
            )
            .await;
        }
        Err(job.told(Error::busy("others try to attach it at the same time")))
    }

    /// One try; `None` where another came at the same time, and this one stepped back.
    async fn bring(&self, order: &AttachOrder, job: &Job<'_>) -> Result<Option<Attachment>> {
        phase("look who has it");
        let (volume, table) = tokio::join!(self.attacher.volume(job.id), self.attacher.table());
        let (volume, (began, table)) = (volume?, table?);
        let of_volume: Vec<_> = table.iter().filter(|one| volume.is_in(one)).collect();
        let (mine, others): (Vec<_>, Vec<_>) =
            of_volume.into_iter().partition(|one| one.client == job.client);
        if let Some(mine) = mine.first()
            && uses::differs(order, &volume, mine)
        {
            let text =
                "the node has it already, and not as it is wanted now (mode, read-only): detach it first";
            return Err(Error::refused(Kind::AlreadyExists, text));
        }
        uses::may_share(order, &volume, &others, &self.nodes)?;
        let _place = match mine.is_empty() {
            true => Some(self.attacher.room.take(self, job.client, &volume, began, &table)?),
            false => None,
        };
        let notes = uses::to_note(order, &volume, job.client, &table);
        if !notes.is_null() {
            self.update(job.id, notes).await?;
        }
        phase("attach");
        let rights = uses::rights(uses::ordered(order));
        let given = self.attacher.batches.carry_out(job.entry(Take::Give(rights))).await;
        if let Err(undone) = given {
            return Err(self.why(job, undone).await);
        }
        let (_, table) = self.attacher.table().await?;
        let rivals: Vec<_> =
            table.iter().filter(|one| volume.is_in(one) && one.client != job.client).collect();
        let fresh = match rivals.is_empty() {
            true => None,
            // What they are allowed was noted meanwhile.
            false => Some(self.client.volume(job.id).await?),
        };
        if let Some(fresh) = &fresh
            && uses::may_share(order, fresh, &rivals, &self.nodes).is_err()
        {
            if !mine.is_empty() {
                let text = "another node got it too, meanwhile: detach it from one of them";
                return Err(Error::unknown(Kind::FailedPrecondition, text));
            }
            let back = self.attacher.batches.carry_out(job.entry(Take::Away { force: false })).await;
            return match back {
                Ok(()) => Ok(None),
                Err(undone) => Err(self.why(job, undone).await),
            };
        }
        let connection = Connection::Storpool {
            global_id: volume.link_id().to_owned(),
            name: Some(volume.name.clone()).filter(|name| !name.starts_with('~')),
        };
        Ok(Some(told(job.client, &volume, order, connection)))
    }

    /// Why an order failed, as far as the cluster knows.
    async fn why(&self, job: &Job<'_>, undone: Undone) -> Error {
        let error = match undone {
            Undone::Failed(error) => error,
            Undone::Refused(refusal) if refusal.is_stranger() => {
                let text = format!(
                    "the cluster has no client {}: does storpool_block run on the node, with this number?",
                    job.client
                );
                return Error::not_found(text);
            }
            Undone::Refused(refusal) => refusal.into_error(),
        };
        if error.outcome() == Outcome::Refused {
            return error;
        }
        let services = match self.client.services().await {
            Ok(services) => services,
            Err(_) => return error,
        };
        match services.clients.get(&job.client.to_string()) {
            None => error.and("the cluster does not list this client"),
            Some(client) if client.status != "running" => error
                .and(format!("the client is {}: start storpool_block on the node", client.status))
                .with_kind(Kind::Unavailable),
            Some(_) => error,
        }
    }

    /// Takes a volume off one node or off all.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::detach`].
    pub(super) async fn detach(&self, order: &DetachOrder) -> Result<()> {
        let id = order.volume.as_str();
        if let Some(node) = &order.node {
            // Who is neither a client nor an initiator has nothing.
            if nodes::client(node).is_none() && nodes::initiator(node).is_none() {
                return Ok(());
            }
            self.nodes.learn_initiator(node);
            if nodes::client(node).is_some() {
                self.nodes.learn(node)?;
            }
        }
        let _member = self.attacher.crowd.join();
        let _turn = self.attacher.turns.take(id).await;
        let (volume, table) = tokio::join!(self.attacher.volume(id), self.attacher.table());
        let volume = match volume {
            Ok(volume) => volume,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let (_, table) = table?;
        let holders = table.iter().filter(|one| volume.is_in(one)).map(|one| one.client);
        let of = |node, holder| self.nodes.is(holder, node) && export::may_be_for(node, &volume, holder);
        let wanted = |holder: u16| order.node.as_ref().is_none_or(|node| of(node, holder));
        let holders: Vec<_> = holders.filter(|holder| wanted(*holder)).collect();
        if holders.is_empty() {
            return Ok(());
        }
        if volume.tags.contains_key(names::ERA) {
            // Before it is detached: what was told of this attachment is never told of a later one.
            self.update(id, new_era()?).await.map_err(|error| error.with("volume", id))?;
        }
        phase("detach");
        for client in holders {
            let node = self.nodes.of(client)?;
            let job = Job { id, client, node: &node };
            if client >= INITIATOR {
                let withdrawn = self.withdraw(&volume, client, order.fence.is_some()).await;
                withdrawn.map_err(|error| error.with("volume", id).with("node", node.name()))?;
                continue;
            }
            self.take_away(&job, order.fence.is_some()).await.map_err(|error| job.told(error))?;
        }
        Ok(())
    }

    async fn take_away(&self, job: &Job<'_>, force: bool) -> Result<()> {
        let mut tries = 0;
        loop {
            let taken = self.attacher.batches.carry_out(job.entry(Take::Away { force })).await;
            let undone = match taken {
                Ok(()) => return Ok(()),
                Err(undone) => undone,
            };
            match &undone {
                Undone::Refused(refusal) if refusal.name == super::client::Name::Missing => return Ok(()),
                Undone::Refused(refusal) if refusal.is_stranger() => return Ok(()),
                Undone::Refused(refusal) if refusal.is_open() => {
                    tries += 1;
                    if tries >= OPEN_TRIES {
                        let text = format!(
                            "{} still has it open: unstage it there, or prove that the node is off (fencing)",
                            self.nodes.told(job.client)
                        );
                        return Err(Error::busy(text));
                    }
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                _ => return Err(self.why(job, undone).await),
            }
        }
    }
}

/// What the node is told.
fn told(holder: u16, volume: &Volume, order: &AttachOrder, connection: Connection) -> Attachment {
    let era = volume.tags.get(names::ERA).map_or("", String::as_str);
    let raw = order.access.is_block() && uses::ordered(order).writes();
    Attachment {
        nonce: format!("{holder}-{era}"),
        size: Bytes::new(volume.size),
        content: if raw { crate::volume::Content::Data } else { content(volume) },
        readonly: uses::rights(uses::ordered(order)) == model::Rights::Ro,
        connection,
    }
}
