//! Attaching volumes to nodes, and taking them off again.
//!
//! The cluster's list of attachments is the truth. The cluster itself lets several clients write to a volume, so the list
//! is read before an attach, and again after it: whoever then sees another there that came at the same time steps back.
//! Two that step back try again after different pauses; the one that is there alone has it. A client that has a volume
//! open is never robbed of it without a proof that it cannot write any more.
//!
//! In a crowd, what others were told a moment before serves for the look before: where it lets an attach begin, the list
//! after it decides. Where it speaks against one, or there is more to do than to attach, it is looked anew.

mod batch;
mod crowd;
mod detach;
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
use room::{Place, Room};
use shared::{Asker, Shared};

use super::Cloud;
use super::client::{Client, Entry, LATELY, Refusal, Take};
use super::config::StorpoolConfig;
use super::model::{self, Volume};
use super::names;
use super::nodes::{Nodes, Seat};
use super::volumes::{content, quoted};
use crate::backend::AttachOrder;
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::host::files::random_hex;
use crate::volume::{Attachment, Bytes, Connection, NodeId};

/// How old the list may be, in a crowd, by which an attach begins. What somebody else attached since is seen only after it.
const JUST_NOW: Duration = Duration::from_millis(20);
/// How often an attach is tried beside others that want the same volume.
const TRIES: u32 = 12;
/// The longest first pause of one that stepped back; it grows.
const PAUSE: Duration = Duration::from_millis(20);

/// Attaches and detaches the volumes of one cluster.
#[derive(Debug)]
pub(super) struct Attacher {
    client: Arc<Client>,
    holders: Holders,
    batches: Batches,
    table: Asker<Vec<model::Attachment>>,
    volumes: Asker<Vec<Volume>>,
    room: Room,
    crowd: Crowd,
}

impl Attacher {
    pub(super) fn new(client: &Arc<Client>, config: &StorpoolConfig, nodes: &Nodes) -> Self {
        let crowd = Crowd::default();
        Self {
            client: Arc::clone(client),
            holders: Holders::new(client, nodes, config.iscsi.is_some()),
            batches: Batches::new(Arc::clone(client), config.attach_timeout, &crowd),
            table: Asker::default(),
            volumes: Asker::default(),
            room: Room::default(),
            crowd,
        }
    }

    /// Since when what is known suffices for a first look at a volume; `None`: it has to be asked for now.
    fn lately(&self, id: &str) -> Option<Since> {
        let (now, changed) = (Instant::now(), self.client.changed(id));
        let before = |time| now.checked_sub(time).map(|moment| changed.map_or(moment, |at| moment.max(at)));
        match self.crowd.is_one() {
            true => Some(Since { volume: before(LATELY)?, table: before(JUST_NOW)? }),
            false => None,
        }
    }

    /// All that is attached or exported, as it was at this time or later.
    async fn table(&self, since: Instant) -> Result<Shared<Vec<model::Attachment>>> {
        if self.crowd.is_one() {
            return self.table.ask(since, self.holders.read()).await;
        }
        let began = Instant::now();
        Ok((began, Arc::new(self.holders.read().await?)))
    }

    /// A volume, as it was at this time or later. For a crowd, one list is asked for instead of each volume.
    async fn volume(&self, id: &str, since: Instant) -> Result<Volume> {
        if self.crowd.is_one() {
            let (_, all) = self.volumes.ask(since, self.client.volumes()).await?;
            let reference = names::reference(id);
            let found = all.iter().find(|volume| volume.name == reference || volume.global_id == id);
            if let Some(found) = found {
                return Ok(found.clone());
            }
        }
        self.client.volume(id).await
    }
}

/// How new it must be what is known of a volume, and of who has which.
#[derive(Clone, Copy)]
struct Since {
    volume: Instant,
    table: Instant,
}

impl Since {
    fn now() -> Self {
        let now = Instant::now();
        Self { volume: now, table: now }
    }
}

/// What is known before a volume is attached.
struct Look {
    volume: Volume,
    /// All that is attached, and since when it is so.
    table: Shared<Vec<model::Attachment>>,
}

/// What is to be done to attach a volume that may be attached.
struct Plan {
    volume: Volume,
    /// Whether the client has it already.
    has: bool,
    /// Whether others have it too.
    shared: bool,
    /// What has to be noted before.
    notes: serde_json::Value,
    _place: Option<Place>,
}

/// A volume and a client.
struct Job<'a> {
    id: &'a str,
    seat: &'a Seat,
    node: &'a NodeId,
}

impl Job<'_> {
    fn told(&self, error: Error) -> Error {
        error.with("volume", self.id).with("node", self.node.name()).with("client", self.seat)
    }

    fn entry(&self, take: Take) -> Entry {
        Entry { volume: self.id.to_owned(), client: self.seat.client, take }
    }

    fn cluster(&self) -> Option<&str> {
        self.seat.cluster.as_deref()
    }
}

impl Cloud {
    /// Attaches a volume.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::attach`].
    pub(super) async fn attach(&self, order: &AttachOrder) -> Result<Attachment> {
        let id = order.volume.as_str();
        let seat = self.nodes.learn(&order.node).map_err(|error| error.with("volume", id))?;
        let job = Job { id, seat: &seat, node: &order.node };
        let _member = self.attacher.crowd.join();
        let _turn = self.turns.take(id).await;
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

    async fn look(&self, id: &str, since: Since) -> Result<Look> {
        let (volume, table) =
            tokio::join!(self.attacher.volume(id, since.volume), self.attacher.table(since.table));
        Ok(Look { volume: volume?, table: table? })
    }

    /// Whether a volume may be attached, and what is to be done for it.
    async fn plan_attach(&self, order: &AttachOrder, job: &Job<'_>) -> Result<Plan> {
        if let Some(since) = self.attacher.lately(job.id)
            && let Ok(look) = self.look(job.id, since).await
            && let Ok(plan) = self.judge(order, job, look)
            && plan.notes.is_null()
            && !plan.has
            && !plan.shared
        {
            return Ok(plan);
        }
        self.judge(order, job, self.look(job.id, Since::now()).await?)
    }

    fn judge(&self, order: &AttachOrder, job: &Job<'_>, look: Look) -> Result<Plan> {
        let Look { volume, table: (began, table) } = look;
        let of_volume: Vec<_> = table.iter().filter(|one| volume.is_in(one)).collect();
        let (mine, others): (Vec<_>, Vec<_>) = of_volume.into_iter().partition(|one| one.is_at(job.seat));
        if let Some(mine) = mine.first()
            && uses::differs(order, &volume, mine)
        {
            let text =
                "the node has it already, and not as it is wanted now (mode, read-only): detach it first";
            return Err(Error::refused(Kind::AlreadyExists, text));
        }
        uses::may_share(order, &volume, job.seat, &others, &self.nodes)?;
        let place = match mine.is_empty() {
            true => Some(self.attacher.room.take(self, job.seat, &volume, began, &table)?),
            false => None,
        };
        let notes = uses::to_note(order, &volume, job.seat, &table, model::Tags::new());
        let (has, shared) = (!mine.is_empty(), !others.is_empty());
        Ok(Plan { volume, has, shared, notes, _place: place })
    }

    /// One try; `None` where another came at the same time, and this one stepped back.
    async fn bring(&self, order: &AttachOrder, job: &Job<'_>) -> Result<Option<Attachment>> {
        phase("look who has it");
        let near = self.attacher.crowd.near();
        let plan = self.plan_attach(order, job).await?;
        if !plan.notes.is_null() {
            self.update(job.id, plan.notes.clone()).await?;
        }
        phase("attach");
        let rights = uses::rights(uses::ordered(order));
        let given = job.entry(Take::Give(rights));
        let answered = match self.attacher.batches.carry_out(job.cluster(), given, near).await {
            Ok(answered) => answered,
            Err(undone) => return Err(self.why(job, undone).await),
        };
        // Who is about to end lets another one begin.
        let near = self.attacher.crowd.near();
        let volume = &plan.volume;
        let (_, table) = self.attacher.table(answered).await?;
        let (mine, rivals): (Vec<_>, Vec<_>) =
            table.iter().filter(|one| volume.is_in(one)).partition(|one| one.is_at(job.seat));
        let fresh = match rivals.is_empty() {
            true => None,
            // What they are allowed was noted meanwhile.
            false => Some(self.client.volume(job.id).await?),
        };
        if let Some(fresh) = &fresh
            && uses::may_share(order, fresh, job.seat, &rivals, &self.nodes).is_err()
        {
            if plan.has {
                let text = "another node got it too, meanwhile: detach it from one of them";
                return Err(Error::unknown(Kind::FailedPrecondition, text));
            }
            let away = job.entry(Take::Away { force: false });
            let back = self.attacher.batches.carry_out(job.cluster(), away, near).await;
            return match back {
                Ok(_) => Ok(None),
                Err(undone) => Err(self.why(job, undone).await),
            };
        }
        match mine.first() {
            // It was made anew meanwhile, or reverted.
            Some(mine) if !volume.is_known_as(mine) => Ok(None),
            Some(mine) if mine.rights == rights => {
                let connection = Connection::Storpool {
                    global_id: volume.link_id().to_owned(),
                    name: Some(volume.name.clone()).filter(|name| !name.starts_with('~')),
                };
                Ok(Some(told(job.seat, volume, order, connection)))
            }
            _ => {
                let text = "the cluster answered that it is attached, and does not list it so: is the client down, or did \
                            somebody detach it?";
                Err(Error::unknown(Kind::Unavailable, text))
            }
        }
    }

    /// Why an order failed, as far as the cluster knows.
    async fn why(&self, job: &Job<'_>, undone: Undone) -> Error {
        let refused = |refusal: Refusal| match refusal.is_stranger() {
            true => Error::not_found(format!(
                "the cluster has no client {}: does storpool_block run on the node, with this number?",
                job.seat
            )),
            false => refusal.into_error(),
        };
        let error = match undone {
            Undone::Failed(error) => error,
            Undone::Refused(refusal) => refused(refusal),
            Undone::Doubtful(refusal) => refused(refusal)
                .and("it is not known whether it was carried out all the same, now or by an earlier try")
                .with_kind(Kind::Unavailable)
                .with_outcome(Outcome::Unknown),
        };
        if error.outcome() == Outcome::Refused {
            return error;
        }
        let services = match self.client.services(job.cluster()).await {
            Ok(services) => services,
            Err(_) => return error,
        };
        match services.clients.get(&job.seat.client.to_string()) {
            None => error.and("the cluster does not list this client"),
            Some(client) if client.status != "running" => error
                .and(format!("the client is {}: start storpool_block on the node", client.status))
                .with_kind(Kind::Unavailable),
            Some(_) => error,
        }
    }
}

/// What the node is told.
fn told(holder: &Seat, volume: &Volume, order: &AttachOrder, connection: Connection) -> Attachment {
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
