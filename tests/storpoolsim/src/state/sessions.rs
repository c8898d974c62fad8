//! Who is logged in to what is exported over iSCSI.

use super::{Cluster, Kind, Refusal, Result};

/// That an initiator is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub initiator: String,
    /// The target's name.
    pub target: String,
    /// The controller that serves it.
    pub controller: u64,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

impl Cluster {
    /// An initiator logs in to the target of a volume, once for each call.
    ///
    /// # Errors
    /// Where the volume is not exported to it.
    pub fn log_in(&mut self, initiator: &str, volume: &str) -> Result<()> {
        let target = self.iscsi.target(self.find(volume, Kind::Volume)?)?.name.clone();
        if !self.iscsi.allowed(&target).contains(&initiator) {
            return Err(Refusal::missing(format!("'{target}' is not exported to '{initiator}'")));
        }
        let session =
            Session { initiator: initiator.to_owned(), target, controller: 1, since: self.seconds() };
        self.iscsi.sessions.push(session);
        Ok(())
    }

    /// An initiator logs out of the target of a volume.
    ///
    /// # Errors
    /// Where the volume has none.
    pub fn log_out(&mut self, initiator: &str, volume: &str) -> Result<()> {
        let target = self.iscsi.target(self.find(volume, Kind::Volume)?)?.name.clone();
        self.iscsi.sessions.retain(|one| one.initiator != initiator || one.target != target);
        Ok(())
    }

    /// From now on a controller answers when it is asked for its sessions, or does not.
    pub fn silence_controller(&mut self, number: u64, silent: bool) {
        match silent {
            true => drop(self.iscsi.silent.insert(number)),
            false => drop(self.iscsi.silent.remove(&number)),
        }
    }

    /// Ends the sessions of those that may not be logged in any more.
    pub(super) fn end_sessions(&mut self) {
        let sessions = std::mem::take(&mut self.iscsi.sessions);
        let (stay, end): (Vec<_>, Vec<_>) = sessions
            .into_iter()
            .partition(|one| self.iscsi.allowed(&one.target).contains(&one.initiator.as_str()));
        self.iscsi.sessions = stay;
        self.ledger.logged_off.extend(end.into_iter().map(|one| (one.target, one.initiator)));
    }
}
