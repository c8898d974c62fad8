//! Sending the calls that begin an attach or a detach, and reading their answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backend::cinder::dialect::Telling;
use crate::backend::cinder::model::ServerAttachment;
use crate::error::{Error, Kind, Result};
use crate::flight::phase;

use super::queue::Turn;
use super::{Attacher, Job, uses};

/// How long it is waited for a server that is busy with something else.
const BUSY: Duration = Duration::from_secs(120);
/// The pause before the first repetition; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// What came of the order to attach.
pub(super) enum Begun {
    /// It was accepted. Whether the answer says that Nova has it on its list, and what is left of the turn.
    Answered(bool, Option<Turn>),
    /// The state of volume or server forbids it.
    Refused(Error),
    /// Whether it was accepted is not known.
    Lost(Error),
}

/// What came of the order to detach.
pub(super) enum Ended {
    /// It was accepted; what is left of the turn.
    Answered(Option<Turn>),
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
        let (mut pause, mut kept) = (PAUSE, None);
        loop {
            let turn = self.turn(&job.server, kept.take()).await?;
            phase("order attach");
            self.limits.take(&job.server, &job.node, job.volume).await?;
            if let Err(error) = self.name_act(job).await {
                return Err(if error.is_not_found() { self.missing(job, error).await } else { error });
            }
            let answer = self.client.attach_volume(&job.server, job.volume, shared).await;
            kept = self.queues.keep(turn);
            let error = match answer {
                Ok(entry) => return Ok(Begun::Answered(lists(entry.as_ref(), job.volume), kept)),
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
        let (mut pause, mut kept) = (PAUSE, None);
        loop {
            let turn = self.turn(&job.server, kept.take()).await?;
            phase("order detach");
            let answer = self.client.detach_volume(&job.server, job.volume).await;
            kept = self.queues.keep(turn);
            let Err(error) = answer else { return Ok(Ended::Answered(kept)) };
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

    /// Does something else to a server's disks in its turn, and again for as long as the server is busy. The turn is over when
    /// what is left of it is dropped.
    ///
    /// # Errors
    /// The call's own; `Busy` where the server stays so.
    pub async fn at_server<T, F: Future<Output = Result<T>> + Send>(
        &self,
        server: &str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<(T, Option<Turn>)> {
        let began = Instant::now();
        let (mut pause, mut kept) = (PAUSE, None);
        loop {
            let turn = self.turn(server, kept.take()).await?;
            phase("order");
            let answer = call().await;
            kept = self.queues.keep(turn);
            match answer {
                Err(error) if error.kind() == Kind::Busy => {
                    bide(error, Kind::Busy, began, &mut pause).await?;
                }
                answer => return answer.map(|answer| (answer, kept)),
            }
        }
    }

    /// The turn at a server, where it is not had already.
    async fn turn(&self, server: &str, kept: Option<Turn>) -> Result<Turn> {
        phase("wait for the server");
        match kept {
            Some(turn) => Ok(turn),
            None => self.queues.turn(server).await,
        }
    }

    /// Where disks say nothing, the node must know how many there are before it takes one for the volume's: those that the
    /// server has in this turn, and this one. It is noted with the act, so that the same act always tells the same.
    async fn name_act(&self, job: &Job<'_>) -> Result<()> {
        if self.client.dialect().disks != Telling::Nothing {
            return Ok(());
        }
        let listed = self.client.server_volumes(&job.server).await?;
        let others = listed.iter().filter(|one| one.volume_id != job.volume).count();
        let act = uses::act(Some(others + 1))?;
        self.client.note_on_volume(job.volume, &[act].into()).await
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
