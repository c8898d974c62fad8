//! Waiting for the cluster: asking often, patiently, and telling what was seen last when patience ends.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::harness::Result;

/// The machine may be busy with much else: this is only for giving up, no test waits longer than it has to.
pub const PATIENCE: Duration = Duration::from_secs(180);

const PAUSE: Duration = Duration::from_millis(150);

pub enum Seen<T> {
    Done(T),
    /// What there is instead, so far.
    NotYet(String),
    /// It cannot come about any more, and why.
    Never(String),
}

/// Asks until it is done. An error is taken for "not yet": the API server may be away for a while.
pub async fn until<T>(
    what: impl Display,
    patience: Duration,
    ask: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    every(PAUSE, what, patience, ask).await
}

/// The same without a pause, for what lasts some milliseconds only.
pub async fn at_once<T>(what: impl Display, ask: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
    every(Duration::ZERO, what, PATIENCE, ask).await
}

async fn every<T>(
    pause: Duration,
    what: impl Display,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        let last = match ask().await {
            Ok(Seen::Done(value)) => return Ok(value),
            Ok(Seen::Never(reason)) => return Err(format!("{what}: {reason}").into()),
            Ok(Seen::NotYet(last)) => last,
            Err(failed) => failed.message().unwrap_or_default().to_owned(),
        };
        if began.elapsed() > patience {
            return Err(format!("{what}: not within {} s; last seen: {last}", patience.as_secs()).into());
        }
        tokio::time::sleep(pause).await;
    }
}
