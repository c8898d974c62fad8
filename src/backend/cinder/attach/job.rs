//! What is being done, on what, and how long it may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::stand::{Stand, stand};
use crate::backend::cinder::model::Volume;
use crate::error::{Error, Kind, Outcome};

/// How long an attach or detach is waited for. Guests that do not let go of a disk are given up by Nova before this.
const LIMIT: Duration = Duration::from_secs(600);

/// A volume and a server.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub volume: &'a str,
    pub server: String,
    /// The node's name, for people.
    pub node: String,
    pub deadline: Instant,
    /// Whether the cloud tells which service holds a volume.
    pub tells_service: bool,
    /// Whether the answer to an order was lost, so that it may still be carried out.
    pub lost: AtomicBool,
}

impl<'a> Job<'a> {
    pub fn new(volume: &'a str, server: &str, node: &str, tells_service: bool) -> Self {
        let (server, node) = (server.to_owned(), node.to_owned());
        let deadline = Instant::now() + LIMIT;
        Self { volume, server, node, deadline, tells_service, lost: AtomicBool::new(false) }
    }

    pub fn stand<'v>(&self, volume: &'v Volume) -> Stand<'v> {
        stand(volume, &self.server, self.tells_service)
    }

    /// Adds what an error is about.
    pub fn told(&self, error: Error) -> Error {
        let error =
            if self.lost.load(Ordering::Relaxed) { error.with_outcome(Outcome::Unknown) } else { error };
        error.with("volume", self.volume).with("node", &self.node).with("server", &self.server)
    }

    /// What is left of its time, at most `slice`.
    pub fn slice(&self, slice: Duration) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(slice)
    }

    pub fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub fn too_late(&self, what: &str, volume: &Volume) -> Error {
        let text = format!(
            "the volume is still {} after {:.0} s of {what}: is the server's compute service running?",
            volume.status,
            LIMIT.as_secs_f64()
        );
        Error::unknown(Kind::Timeout, text)
    }
}
