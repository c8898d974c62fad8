//! Taking volumes off clients and initiators.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::Undone;
use super::crowd::Near;
use super::export;
use super::{Job, Look, Since, Way};
use crate::backend::DetachOrder;
use crate::backend::storpool::Cloud;
use crate::backend::storpool::client::{Name, Take};
use crate::backend::storpool::model::{self, iscsi::INITIATOR};
use crate::backend::storpool::names;
use crate::backend::storpool::nodes::{self, Seat};
use crate::backend::storpool::volumes::new_era;
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::volume::NodeId;

/// How often a volume that is open is asked for: whoever looks at devices holds one for a moment.
pub(super) const OPEN_TRIES: u32 = 10;
/// The pause between.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(200);

impl Cloud {
    /// Takes a volume off one node or off all.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::detach`].
    pub(in super::super) async fn detach(&self, order: &DetachOrder) -> Result<()> {
        let id = order.volume.as_str();
        if let Some(node) = &order.node {
            self.nodes.learn_initiator(node);
            if nodes::client(node).is_some() && !self.nodes.is_elsewhere(node) {
                self.nodes.learn(node)?;
            }
        }
        let _member = self.attacher.crowd.join();
        let _turn = self.turns.take(id).await;
        let mut near = Some(self.attacher.crowd.near());
        let Look { volume, table: (_, table) } = match self.look(id, Since::now()).await {
            Ok(look) => look,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let holders = table.iter().filter(|one| volume.is_in(one)).map(model::Attachment::seat);
        // Also what the node got when it told another number, or another initiator's name.
        let of = |node, holder: &Seat| {
            (self.nodes.is(holder, node) && export::may_be_for(node, &volume, holder.client))
                || export::is_for(node, &volume, holder.client)
                || self.nodes.was(holder, node)
        };
        let holders: Vec<_> =
            holders.filter(|holder| order.node.as_ref().is_none_or(|node| of(node, holder))).collect();
        if holders.is_empty() {
            return match &order.node {
                Some(node) if order.fence.is_none() => {
                    self.let_go(node).await.map_err(|error| error.with("volume", id))
                }
                _ => Ok(()),
            };
        }
        if volume.tags.contains_key(names::ERA) {
            // Before it is detached: what was told of this attachment is never told of a later one.
            self.update(id, new_era()?).await.map_err(|error| error.with("volume", id))?;
        }
        phase("detach");
        for seat in holders {
            let node = self.nodes.of(&seat)?;
            if seat.client >= INITIATOR {
                let withdrawn = self.withdraw(&volume, seat.client, order.fence.is_some()).await;
                withdrawn.map_err(|error| error.with("volume", id).with("node", node.name()))?;
                continue;
            }
            let job = Job { id, seat: &seat, node: &node };
            let near = near.take().unwrap_or_else(|| self.attacher.crowd.near());
            // A client that was the node's once may be another node's by now, of which nothing is proved.
            let proved = order.node.as_ref().is_none_or(|node| self.nodes.is(&seat, node));
            let force = order.fence.is_some() && proved;
            self.take_away(&job, force, near).await.map_err(|error| job.told(error))?;
        }
        Ok(())
    }

    async fn take_away(&self, job: &Job<'_>, force: bool, mut near: Near) -> Result<()> {
        let mut tries = 0;
        loop {
            let away = job.entry(Take::Away { force });
            let taken = self.attacher.batches.carry_out(job.cluster(), away, near).await;
            let undone = match taken {
                Ok(_) => return Ok(()),
                Err(undone) => undone,
            };
            let sure = matches!(undone, Undone::Refused(_));
            match undone.refusal() {
                Some(refusal) if sure && refusal.name == Name::Missing => return Ok(()),
                Some(refusal) if refusal.is_stranger() => return Ok(()),
                Some(refusal) if refusal.is_open() => {
                    tries += 1;
                    if tries >= OPEN_TRIES {
                        let text = format!(
                            "{} still has it open: unstage it there, or prove that the node is off (fencing)",
                            self.nodes.told(job.seat)
                        );
                        return Err(Error::busy(text));
                    }
                    tokio::time::sleep(OPEN_PAUSE).await;
                    near = self.attacher.crowd.near();
                }
                // A client that is proved to be off confirms nothing.
                _ if force && !self.may_have(job).await => return Ok(()),
                _ if force => return Err(self.why(job, undone).await),
                _ => {
                    let error = self.why(job, undone).await;
                    let behind = match error.outcome() {
                        Outcome::Refused => None,
                        Outcome::Unknown => self.behind(job.seat).await.unwrap_or_default(),
                    };
                    return Err(match behind {
                        // For who asks for a proof.
                        Some(why) => error.and(why).with_kind(Kind::Busy),
                        None => error,
                    });
                }
            }
        }
    }

    /// Whether a node that is not listed with a volume has let go of it: the cluster lists it no more as soon as that is
    /// ordered, and the client may not have heard of it.
    ///
    /// # Errors
    /// `Busy` where its client is behind; why that cannot be found out.
    async fn let_go(&self, node: &NodeId) -> Result<()> {
        // What is exported is withdrawn at once, and a node that gets its volumes so need not run a client.
        let is_client = nodes::client(node).is_some() && !self.nodes.is_elsewhere(node);
        if !is_client || !matches!(self.way(node)?, Way::Block) {
            return Ok(());
        }
        let told = |error: Error| error.with("node", node.name());
        match self.behind(&self.nodes.learn(node)?).await.map_err(told)? {
            Some(why) => Err(told(Error::busy(why))),
            None => Ok(()),
        }
    }

    /// Why it is not known that a client has let go of all that was taken from it; `None` where it has, or where the cluster
    /// has no such client. One that is about to hear of it is waited for.
    async fn behind(&self, seat: &Seat) -> Result<Option<String>> {
        let (mut tries, mut since) = (0, None);
        loop {
            let clients = self.client.clients(seat.cluster.as_deref()).await?;
            let Some(client) = clients.into_iter().find(|client| client.id == seat.client) else {
                return Ok(None);
            };
            if client.has(0) || client.has(*since.get_or_insert(client.generation)) {
                return Ok(None);
            }
            tries += 1;
            if client.config_status == "down" || tries >= OPEN_TRIES {
                return Ok(Some(format!(
                    "{} has not confirmed that it let go of what was taken from it (its configuration is {:?}), so it may \
                     still write: start storpool_block there, or prove that the node is off (fencing)",
                    self.nodes.told(seat),
                    client.config_status
                )));
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        }
    }

    /// Whether a client is listed with a volume, as far as is known.
    async fn may_have(&self, job: &Job<'_>) -> bool {
        let reference = names::reference(job.id);
        let is_it =
            |one: &model::Attachment| one.volume == reference || one.global_id.as_deref() == Some(job.id);
        match self.attacher.table(Instant::now()).await {
            Ok((_, table)) => table.iter().any(|one| one.is_at(job.seat) && is_it(one)),
            Err(_) => true,
        }
    }
}
