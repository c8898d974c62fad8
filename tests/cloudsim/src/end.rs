//! When a simulator that runs as a program is to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears of interrupts and terminations from when it was made, so that none is lost that comes before it is waited for.
#[derive(Debug)]
pub struct End {
    interrupt: Signal,
    terminate: Signal,
}

impl End {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where signals cannot be heard.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits until one comes.
    pub async fn comes(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
