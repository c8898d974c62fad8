//! Sending the calls that begin an attach or a detach, and reading their answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::cinder::model::ServerAttachment;
use crate::error::{Error, Kind, Result};
use crate::flight::phase;

use super::{Attacher, Job};

/// How long it is waited for a server that is busy with something else.
const BUSY: Duration = Duration::from_secs(120);
/// The pause before the first repetition; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// What came of the order to attach.
pub(super) enum Begun {
    /// It was accepted. Whether the answer says that Nova has it on its list.
    Answered(bool),
    /// The state of volume or server forbids it.
    Refused(Error),
    /// Whether it was accepted is not known.
    Lost(Error),
}

/// What came of the order to detach.
pub(super) enum Ended {
    /// It was accepted.
    Answered,
    /// Nova does not have the volume on the server, or has no such server.
    Missing,
    /// The state of volume or server forbids it.
    Refused(Error),
    /// Whether it was accepted is not known.
    Lost(Error),
}

/// What a server that is busy says of itself.
enum Busy {
    /// It will be free by itself.
    Passing,
    /// Somebody has to do something.
    Lasting,
    /// Nova cannot reach the server's host.
    Down,
}

fn busy(refusal: &Error) -> Busy {
    let text = refusal.message();
    let has = |part: &str| text.contains(part);
    match () {
        () if has("task_state") || has("vm_state building") => Busy::Passing,
        () if has("vm_state") || has("locked") => Busy::Lasting,
        () if has("Service is unavailable") || has("is down") => Busy::Down,
        () => Busy::Passing,
    }
}

fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout | Kind::Internal)
}

fn lists(entry: Option<&ServerAttachment>, volume: &str) -> bool {
    entry.is_some_and(|entry| entry.volume_id == volume)
}

impl Attacher {
    /// Orders an attach when it is the volume's turn, and again for as long as the server is busy.
    pub(super) async fn begin(&self, job: &Job<'_>, shared: bool) -> Result<Begun> {
        let began = Instant::now();
        let mut pause = PAUSE;
        loop {
            phase("wait for the server");
            let turn = self.queues.turn(&job.server).await?;
            phase("order attach");
            self.limits.take(&job.server, &job.node, job.volume).await?;
            let answer = self.client.attach_volume(&job.server, job.volume, shared).await;
            drop(turn);
            let error = match answer {
                Ok(entry) => return Ok(Begun::Answered(lists(entry.as_ref(), job.volume))),
                Err(error) => error,
            };
            match error.kind() {
                Kind::Busy => bide(error, Kind::FailedPrecondition, began, &mut pause).await?,
                Kind::FailedPrecondition | Kind::InvalidArgument => return Ok(Begun::Refused(error)),
                Kind::NotFound => return Err(self.missing(job, error).await),
                Kind::ResourceExhausted => {
                    return Err(self.limits.refused(&job.server, &job.node, error).await);
                }
                _ if is_lost(&error) => return Ok(Begun::Lost(error)),
                _ => return Err(error),
            }
        }
    }

    /// Orders a detach likewise.
    pub(super) async fn end(&self, job: &Job<'_>) -> Result<Ended> {
        let began = Instant::now();
        let mut pause = PAUSE;
        loop {
            phase("wait for the server");
            let turn = self.queues.turn(&job.server).await?;
            phase("order detach");
            let answer = self.client.detach_volume(&job.server, job.volume).await;
            drop(turn);
            let Err(error) = answer else { return Ok(Ended::Answered) };
            match error.kind() {
                // The node has it until somebody sees to the server.
                Kind::Busy => bide(error, Kind::Busy, began, &mut pause).await?,
                Kind::FailedPrecondition | Kind::InvalidArgument => return Ok(Ended::Refused(error)),
                Kind::NotFound => return Ok(Ended::Missing),
                _ if is_lost(&error) => return Ok(Ended::Lost(error)),
                _ => return Err(error),
            }
        }
    }

    /// Nova does not know the volume, or the server.
    async fn missing(&self, job: &Job<'_>, error: Error) -> Error {
        match self.client.volume(job.volume).await {
            Ok(_) => super::no_server().caused_by(error),
            Err(other) if other.is_not_found() => super::gone().caused_by(error),
            Err(other) => other,
        }
    }
}

/// Waits a while for a server that is busy; `lasting` is what it is where it stays so.
async fn bide(refusal: Error, lasting: Kind, began: Instant, pause: &mut Duration) -> Result<()> {
    match busy(&refusal) {
        Busy::Passing if began.elapsed() < BUSY => {
            sleep(*pause).await;
            *pause = (*pause * 2).min(LONGEST);
            Ok(())
        }
        Busy::Passing => Err(refusal.and(format_args!("this for {:.0} s", began.elapsed().as_secs_f64()))),
        Busy::Lasting => Err(refusal.with_kind(lasting)),
        Busy::Down => Err(refusal.and("the compute service of the server's host is down")),
    }
}
