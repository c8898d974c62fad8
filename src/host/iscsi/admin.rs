//! What open-iscsi and multipath-tools are asked to do. Their exit codes are those of iscsiadm(8), "EXIT STATUS".

use std::net::SocketAddr;
use std::time::Duration;

use super::Iscsi;
use crate::error::{Error, Kind, Result};
use crate::host::exec::Finished;

/// How long a command may take. A portal that does not answer is given up after two tries of 15 seconds, see [`SETTINGS`].
const DEADLINE: Duration = Duration::from_secs(60);
/// The package of the initiator's tools.
const PACKAGE: &str = "open-iscsi";
/// The package of multipath's tools.
const MULTIPATH: &str = "multipath-tools";

/// The session is there already.
const EXISTS: i32 = 15;
/// There is no such record or session.
const NOTHING: i32 = 21;
/// It is in use.
const BUSY: i32 = 28;

/// What every record has: the host's start logs in nowhere by itself, for by then a volume may be another node's; and a
/// portal that does not answer holds up the others for less than a call may take.
const SETTINGS: [(&str, &str); 2] =
    [("node.startup", "manual"), ("node.session.initial_login_retry_max", "2")];

impl Iscsi {
    /// Logs in to a target at a portal. Where there is such a session, it is the one.
    ///
    /// # Errors
    /// `Unavailable` with iscsiadm's words, `FailedPrecondition` where it is not on this host.
    pub async fn log_in(&self, target: &str, portal: SocketAddr) -> Result<()> {
        let record = self.node(target, portal, &[]).await?;
        match record.code() {
            Some(0) => {}
            Some(NOTHING) => self.wanted(target, portal, &["--op", "new"], &[]).await?,
            _ => return Err(failure(&record)),
        }
        for (name, value) in SETTINGS {
            self.wanted(target, portal, &["--op", "update", "-n", name, "-v", value], &[]).await?;
        }
        self.wanted(target, portal, &["--login"], &[EXISTS]).await
    }

    /// Ends the session with a target that was made at a portal, and forgets how to log in there. None is `Ok`.
    ///
    /// # Errors
    /// `Busy` where open-iscsi finds it in use, `Unavailable` with iscsiadm's words.
    pub async fn log_out(&self, target: &str, portal: SocketAddr) -> Result<()> {
        self.wanted(target, portal, &["--logout"], &[NOTHING]).await?;
        self.wanted(target, portal, &["--op", "delete"], &[NOTHING]).await
    }

    async fn node(&self, target: &str, portal: SocketAddr, rest: &[&str]) -> Result<Finished> {
        let portal = portal.to_string();
        let words = [["-m", "node", "-T", target, "-p", &portal].as_slice(), rest].concat();
        self.tools.run("iscsiadm", PACKAGE, &words, DEADLINE).await
    }

    async fn wanted(&self, target: &str, portal: SocketAddr, rest: &[&str], fine: &[i32]) -> Result<()> {
        let finished = self.node(target, portal, rest).await?;
        match finished.code() {
            Some(0) => Ok(()),
            Some(code) if fine.contains(&code) => Ok(()),
            _ => Err(failure(&finished).with("target", target).with("portal", portal)),
        }
    }

    /// Takes a multipath map apart that nobody has open.
    ///
    /// # Errors
    /// `Busy` with multipath's words.
    pub async fn remove_map(&self, name: &str) -> Result<()> {
        let finished = self.tools.run("multipath", MULTIPATH, &["-f", name], DEADLINE).await?;
        match finished.code() {
            Some(0) => Ok(()),
            _ => Err(finished.failure(Kind::Busy)),
        }
    }

    /// Lets a multipath map have its paths' present size.
    ///
    /// # Errors
    /// `Unavailable` with multipathd's words.
    pub async fn resize_map(&self, name: &str) -> Result<()> {
        let finished = self.tools.run("multipathd", MULTIPATH, &["resize", "map", name], DEADLINE).await?;
        match finished.code() {
            Some(0) => Ok(()),
            _ => Err(finished.failure(Kind::Unavailable)),
        }
    }
}

/// What an exit code means, and what to do.
fn failure(finished: &Finished) -> Error {
    let (kind, hint) = match finished.code() {
        Some(12) => (Kind::Unavailable, "load the kernel's module iscsi_tcp on the node"),
        Some(13) => (Kind::FailedPrecondition, "the driver must run as root, and privileged"),
        Some(18 | 20) => (
            Kind::Unavailable,
            "start iscsid on the node; a driver in a container needs the host's network to reach it",
        ),
        Some(19 | 24) => (Kind::Unavailable, "is the volume still exported to this node's initiator?"),
        Some(BUSY) => (Kind::Busy, "something on the node has the disk open"),
        Some(4 | 8) => (Kind::Unavailable, "does the node reach the portal?"),
        _ => (Kind::Unavailable, "see iscsiadm(8), \"EXIT STATUS\""),
    };
    finished.failure(kind).and(hint)
}
