//! The order to end: the first SIGTERM or SIGINT asks for an orderly end, the second for an immediate one.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Ordered,
    Now,
}

/// Tells every part of the process when to end. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Receiver<Stage>,
}

/// Gives the order.
#[derive(Debug)]
pub struct Trigger {
    stage: watch::Sender<Stage>,
}

impl Trigger {
    /// Gives the order; the second time, without waiting for anything.
    pub fn order(&self) {
        self.stage.send_modify(|stage| {
            *stage = if *stage == Stage::Running { Stage::Ordered } else { Stage::Now };
        });
    }
}

/// A trigger and what it triggers.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Trigger { stage: sender }, Shutdown { stage: receiver })
}

/// Listens for SIGTERM and SIGINT from now on. The trigger is for ends that come from inside.
///
/// # Errors
/// Where a signal handler cannot be set.
pub fn on_signals() -> Result<Shutdown> {
    let listen = |kind| signal(kind).map_err(|error| Error::io("listen for signals", error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (trigger, shutdown) = channel();
    tokio::spawn(async move {
        loop {
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "asked to end");
            trigger.order();
        }
    });
    Ok(shutdown)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// What became of the work that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it is done.
    Finished,
    /// The grace period was over first.
    Expired,
    /// A second signal came first.
    Forced,
}

impl Shutdown {
    /// Completes when the order to end is given (or nobody is left to give it).
    pub fn ordered(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Stage::Ordered)
    }

    /// Completes when the order is to end without waiting.
    pub fn forced(&self) -> impl Future<Output = ()> + Send + 'static {
        self.reached(Stage::Now)
    }

    fn reached(&self, wanted: Stage) -> impl Future<Output = ()> + Send + 'static {
        let mut stage = self.stage.clone();
        async move {
            // An error means that the sender is gone, with the process.
            stage.wait_for(|stage| *stage >= wanted).await.map(drop).unwrap_or_default();
        }
    }

    /// Runs `work` (the servers) until it ends by itself after the order, and then waits until nothing is `busy`:
    /// for both together at most `grace` from the order on. A flight goes on when its call is gone, so the servers'
    /// end alone proves nothing.
    ///
    /// # Errors
    /// What `work` says, also before any order.
    pub async fn drain(
        &self,
        grace: Duration,
        work: impl Future<Output = Result<()>>,
        busy: impl Fn() -> usize,
    ) -> Result<End> {
        let all = async {
            work.await?;
            while busy() > 0 {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Ok(End::Finished)
        };
        let late = async {
            self.ordered().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            end = all => end,
            () = late => Ok(End::Expired),
            () = self.forced() => Ok(End::Forced),
        }
    }
}
