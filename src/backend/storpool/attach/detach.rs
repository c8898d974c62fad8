//! Taking volumes off clients and initiators.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::Undone;
use super::crowd::Near;
use super::export;
use super::{Job, Look, Since};
use crate::backend::DetachOrder;
use crate::backend::storpool::Cloud;
use crate::backend::storpool::client::{Name, Take};
use crate::backend::storpool::model::{self, iscsi::INITIATOR};
use crate::backend::storpool::names;
use crate::backend::storpool::nodes::{self, Seat};
use crate::backend::storpool::volumes::new_era;
use crate::error::{Error, Result};
use crate::flight::phase;

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
        let _turn = self.turns.take(id).await;
        let mut near = Some(self.attacher.crowd.near());
        let Look { volume, table: (_, table) } = match self.look(id, Since::now()).await {
            Ok(look) => look,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let holders = table.iter().filter(|one| volume.is_in(one)).map(model::Attachment::seat);
        let of = |node, holder: &Seat| {
            self.nodes.is(holder, node) && export::may_be_for(node, &volume, holder.client)
        };
        let holders: Vec<_> =
            holders.filter(|holder| order.node.as_ref().is_none_or(|node| of(node, holder))).collect();
        if holders.is_empty() {
            return Ok(());
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
            self.take_away(&job, order.fence.is_some(), near).await.map_err(|error| job.told(error))?;
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
            match &undone {
                Undone::Refused(refusal) if refusal.name == Name::Missing => return Ok(()),
                Undone::Refused(refusal) if refusal.is_stranger() => return Ok(()),
                Undone::Refused(refusal) if refusal.is_open() => {
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
                _ => return Err(self.why(job, undone).await),
            }
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
