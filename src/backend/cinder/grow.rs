//! Growing volumes, also while servers have them.

use std::time::Duration;

use crate::backend::Expanded;
use crate::backend::cinder::model::{self, Status};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{Bytes, SizeRange};

use super::Cloud;
use super::dialect::Feature;

/// How long Nova's part is waited for after Cinder's is done. The node waits for the size of its device in any case.
const NOVA: Duration = Duration::from_secs(15);
/// How often Nova is asked.
const LOOK: Duration = Duration::from_millis(300);
/// What Nova calls it.
const ACTION: &str = "extend_volume";

impl Cloud {
    /// Grows a volume to a size in the range.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::expand`].
    pub(super) async fn expand(&self, id: &str, size: SizeRange) -> Result<Expanded> {
        let volume = self.at_rest(id).await?;
        let now = Bytes::gib(volume.size);
        if now >= size.required() {
            return match size.limit() {
                Some(limit) if now > limit => Err(Error::refused(
                    Kind::OutOfRange,
                    format!("it has {now} already and cannot shrink to the limit, {limit}"),
                )
                .with("volume", id)),
                _ => Ok(Expanded { size: now, node_expansion: true }),
            };
        }
        let volume_type = volume.volume_type.as_deref();
        self.dialect().need(Feature::Growing).map_err(|error| error.with("volume", id))?;
        let wanted = size.choose(self.sizes(volume_type), None)?;
        let gib = wanted.get() / Bytes::gib(1).get();
        let in_use = match &volume.status {
            Status::Available => false,
            Status::InUse => true,
            Status::ErrorExtending => return Err(self.stuck(id).await),
            other => {
                return Err(Error::precondition(format!(
                    "it is {other}, and grows only while it is available or in-use"
                ))
                .with("volume", id));
            }
        };
        self.admit(0, gib - volume.size, volume_type).await?;
        let servers: Vec<_> = volume.attachments.iter().map(|one| one.server_id.as_str()).collect();
        let before = self.extensions(&servers).await;
        if let Err(error) = self.client.extend_volume(id, gib, in_use).await {
            if error.outcome() == Outcome::Refused {
                let error = self.exhausted(error, gib - volume.size, volume_type).await;
                return Err(error.with("volume", id));
            }
            // The answer was lost: what became of it shows below, or the retry finds it.
            if self.client.volume(id).await?.status != Status::Extending {
                return Err(error.with("volume", id));
            }
        }
        self.grown(id, gib, &volume.status).await?;
        self.noticed(&servers, before).await;
        Ok(Expanded { size: wanted, node_expansion: true })
    }

    /// The volume once nothing is under way with it that ends by itself soon.
    async fn at_rest(&self, id: &str) -> Result<model::Volume> {
        let volume = self.client.volume(id).await?;
        match volume.status {
            Status::Extending
            | Status::Retyping
            | Status::Creating
            | Status::Attaching
            | Status::Detaching => {
                let busy = volume.status;
                self.until(id, |volume| match volume {
                    Some(volume) if volume.status == busy => None,
                    Some(volume) => Some(Ok(volume.clone())),
                    None => Some(Err(Error::not_found("it was deleted meanwhile").with("volume", id))),
                })
                .await
            }
            _ => Ok(volume),
        }
    }

    async fn grown(&self, id: &str, gib: u64, before: &Status) -> Result<()> {
        let ended = self
            .until(id, |volume| match volume {
                None => Some(Err(Error::not_found("it was deleted while it grew").with("volume", id))),
                Some(volume) if volume.status == Status::Extending => None,
                Some(volume) if volume.size >= gib && !volume.status.is_error() => Some(Ok(Ok(()))),
                // Between the order's acceptance and its beginning nothing shows yet; Cinder sets `extending` before it
                // answers, so what shows now is an end.
                Some(volume) => Some(Ok(Err(volume.status.clone()))),
            })
            .await?;
        match ended {
            Ok(()) => Ok(()),
            Err(Status::ErrorExtending) => Err(self.stuck(id).await),
            Err(status) => {
                let why = self.told_about(id).await;
                let text = format!(
                    "the cloud did not grow it to {gib} GiB and left it {status} (it was {before}): {why}"
                );
                Err(Error::unknown(Kind::Unavailable, text).with("volume", id))
            }
        }
    }

    async fn stuck(&self, id: &str) -> Error {
        let why = self.told_about(id).await;
        let text = format!(
            "the cloud failed to grow it ({why}) and keeps it in error_extending: its data is there, and an administrator \
             must reset its state before it can be used or grown (cinder reset-state)"
        );
        Error::unknown(Kind::FailedPrecondition, text).with("volume", id)
    }

    /// How many extensions Nova has on its list for each server.
    async fn extensions(&self, servers: &[&str]) -> Vec<Option<usize>> {
        let mut counts = Vec::with_capacity(servers.len());
        for server in servers {
            let actions = self.client.server_actions(server).await;
            counts.push(actions.ok().map(|all| all.iter().filter(|one| one.action == ACTION).count()));
        }
        counts
    }

    /// Waits until Nova was told: Cinder is done before the guest sees anything. That it was not told is no failure of
    /// the growing, and the node says so when the size does not come.
    async fn noticed(&self, servers: &[&str], before: Vec<Option<usize>>) {
        let until = tokio::time::Instant::now() + NOVA;
        for (server, before) in servers.iter().zip(before) {
            let Some(before) = before else { continue };
            loop {
                let now = self.extensions(&[server]).await;
                match now.first() {
                    Some(Some(now)) if *now > before => break,
                    _ if tokio::time::Instant::now() >= until => {
                        tracing::warn!(
                            server,
                            "the server was not told of the larger volume; it may see it after it is attached anew"
                        );
                        break;
                    }
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        }
    }
}
