//! Deleting volumes, until they are gone.

use std::time::{Duration, SystemTime};

use crate::backend::cinder::model::{self, Status};
use crate::error::{Error, Kind, Outcome, Result};

use super::Cloud;
use super::wait::LIMIT;

/// How often a delete is asked for anew, where the volume's state changed between the asking and the looking.
const TURNS: usize = 3;
/// How long to wait for something else that is under way with the volume.
const SETTLING: Duration = Duration::from_secs(120);

impl Cloud {
    /// Deletes a volume for good. Missing is `Ok`.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete`].
    pub(super) async fn remove(&self, id: &str) -> Result<()> {
        if self.dialect().servers.lose_deleted {
            return self.remove_unused(id).await;
        }
        let mut last = None;
        for _ in 0..TURNS {
            let sent = SystemTime::now();
            let refusal = match self.client.delete_volume(id).await {
                Ok(()) => return self.gone(id, Some(sent)).await,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => error,
            };
            // The refusal may be that of a repetition, after the first try was carried out.
            let volume = match self.client.volume(id).await {
                Ok(volume) => volume,
                Err(error) if is_gone(&error) => return Ok(()),
                Err(_) => return Err(refusal.with("volume", id)),
            };
            if volume.status == Status::Deleting {
                return self.gone(id, None).await;
            }
            if refusal.kind() != Kind::FailedPrecondition {
                return Err(refusal.with("volume", id));
            }
            self.may_be_deleted(&volume, &refusal).await?;
            last = Some(refusal);
        }
        Err(last.unwrap_or_else(|| Error::internal("it was not tried")).with("volume", id))
    }

    /// The same in a cloud that would delete a volume also while a server uses it: so it is looked at first. What is under way
    /// at once with a volume is one call, so nothing attaches it in between but by other hands.
    async fn remove_unused(&self, id: &str) -> Result<()> {
        for _ in 0..TURNS {
            let volume = match self.client.volume(id).await {
                Err(error) if is_gone(&error) => return Ok(()),
                volume => volume?,
            };
            let sent = SystemTime::now();
            let delete = || self.client.delete_volume(id);
            let deleted = match (self.attacher.bound(&volume), &volume.status) {
                (_, Status::Deleting) => return self.gone(id, None).await,
                (Some(server), Status::InUse | Status::Error) => {
                    if self.attacher.is_given(&volume, server)? {
                        let node = self.nodes.of(server)?;
                        return Err(
                            Error::precondition(format!("{node} has it: detach it first")).with("volume", id)
                        );
                    }
                    self.attacher.at_server(server, delete).await.map(|((), turn)| turn)
                }
                (None, Status::Available | Status::Error) if volume.attachments.is_empty() => {
                    delete().await.map(|()| None)
                }
                _ => {
                    let refusal = Error::precondition("nothing else may be under way with it");
                    self.may_be_deleted(&volume, &refusal).await?;
                    continue;
                }
            };
            return match deleted {
                Ok(turn) => {
                    let gone = self.gone(id, Some(sent)).await;
                    drop(turn);
                    gone
                }
                // It was there a moment ago: to delete what a server once had, another server has to help, and none is free.
                Err(error) if is_gone(&error) => match self.client.volume(id).await {
                    Ok(_) => {
                        let text =
                            "the cloud has no server free that could help to delete it: try again later";
                        Err(Error::unknown(Kind::Unavailable, text)
                            .and(error.message().to_owned())
                            .with("volume", id))
                    }
                    Err(error) if is_gone(&error) => Ok(()),
                    Err(error) => Err(error.with("volume", id)),
                },
                Err(error) => Err(error.with("volume", id)),
            };
        }
        let text = "its state changes faster than it can be looked at";
        Err(Error::unknown(Kind::Unavailable, text).with("volume", id))
    }

    /// Says why a volume cannot be deleted, or waits until what was under way is over.
    async fn may_be_deleted(&self, volume: &model::Volume, refusal: &Error) -> Result<()> {
        let id = &volume.id;
        let refuse = |text: String| Err(Error::precondition(text).with("volume", id));
        if !volume.attachments.is_empty() {
            let nodes: Result<Vec<_>> =
                volume.attachments.iter().map(|one| self.nodes.of(&one.server_id)).collect();
            let nodes: Vec<_> = nodes?.iter().map(ToString::to_string).collect();
            return refuse(format!("{} has it: detach it first", nodes.join(", ")));
        }
        match &volume.status {
            Status::ErrorDeleting => {
                let why = self.told_about(id).await;
                Err(Error::unknown(
                    Kind::FailedPrecondition,
                    format!(
                        "the cloud failed to delete it ({why}), and its owner cannot try again: an administrator must \
                         (cinder reset-state, or force-delete)"
                    ),
                )
                .with("volume", id))
            }
            Status::Available | Status::Error | Status::ErrorExtending | Status::ErrorRestoring => {
                let snapshots = self.client.snapshots(&[("volume_id", id.clone())]).await?;
                let ids: Vec<_> =
                    snapshots.iter().filter(|one| one.volume_id == *id).map(|one| one.id.as_str()).collect();
                if !ids.is_empty() {
                    return refuse(format!("snapshots depend on it ({}): delete them first", ids.join(", ")));
                }
                if let Some(group) = &volume.group_id {
                    return refuse(format!(
                        "it belongs to the group {group}: take it out of the group first"
                    ));
                }
                // Its state was another one when the cloud looked.
                Ok(())
            }
            Status::Reserved | Status::Attaching | Status::InUse | Status::Maintenance => {
                refuse(format!("it is {}: {}", volume.status, refusal.message()))
            }
            Status::Other(_) => refuse(format!("it is {}: {}", volume.status, refusal.message())),
            _ => self.over(volume).await,
        }
    }

    /// Waits until what is under way with a volume is over.
    async fn over(&self, volume: &model::Volume) -> Result<()> {
        let before = volume.status.clone();
        let judge = |volume: Option<&model::Volume>| match volume {
            Some(volume) if volume.status == before => None,
            _ => Some(Ok(())),
        };
        match tokio::time::timeout(SETTLING, self.until(&volume.id, judge)).await {
            Ok(result) => result,
            Err(_) => Err(Error::busy(format!("it has been {before} for {} s", SETTLING.as_secs()))
                .with("volume", &volume.id)),
        }
    }

    /// Waits until a volume whose deletion has begun is gone. `sent`: since when this call has begun it; `None`: another did.
    async fn gone(&self, id: &str, sent: Option<SystemTime>) -> Result<()> {
        let judge = |volume: Option<&model::Volume>| match volume.map(|volume| &volume.status) {
            None | Some(Status::Deleted) => Some(Ok(())),
            Some(Status::Deleting) => None,
            Some(status) => Some(Err(status.clone())),
        };
        let judge = |volume: Option<&model::Volume>| judge(volume).map(Ok);
        let ended = match sent {
            Some(sent) => self.watcher.deleted_volume(id, sent, LIMIT, judge).await?,
            None => self.until(id, judge).await?,
        };
        let Err(status) = ended else { return Ok(()) };
        let why = self.told_about(id).await;
        let text = match status {
            Status::ErrorDeleting => format!(
                "the cloud failed to delete it ({why}), and its owner cannot try again: an administrator must (cinder \
                 reset-state, or force-delete)"
            ),
            status => format!("the cloud began to delete it and left it {status} ({why}): try again"),
        };
        Err(Error::unknown(Kind::Unavailable, text).with("volume", id))
    }
}

fn is_gone(error: &Error) -> bool {
    error.is_not_found() && error.outcome() == Outcome::Refused
}
