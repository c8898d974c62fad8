//! Taking exports back, and the targets that nobody may log in to any more.

use super::TRIES;
use super::detach::{OPEN_PAUSE, OPEN_TRIES};
use super::export::was_faster;
use crate::backend::storpool::Cloud;
use crate::backend::storpool::client::{Command, Export, Name, Retry};
use crate::backend::storpool::model::Volume;
use crate::backend::storpool::model::iscsi::Iscsi;
use crate::backend::storpool::nodes::Seat;
use crate::error::{Error, Result};

impl Cloud {
    /// Withdraws all exports of a volume to an initiator, and deletes the target where these were the last.
    ///
    /// # Errors
    /// `Busy` where the initiator is logged in, or that cannot be found out, unless it is to be withdrawn all the same.
    pub(in super::super) async fn withdraw(&self, volume: &Volume, number: u16, force: bool) -> Result<()> {
        let (mut retry, mut tries) = (Retry::default(), 0);
        // Not where a cluster refuses to delete what was in use a moment ago.
        let mut with_target = true;
        loop {
            let iscsi = self.client.iscsi().await?;
            let Some(initiator) = iscsi.numbers()?.remove(&number) else { return Ok(()) };
            let Some(target) = iscsi.target(&volume.name) else { return Ok(()) };
            let groups = iscsi.groups_of(&initiator, &target.name);
            if groups.is_empty() {
                return Ok(());
            }
            if !force {
                self.logged_out(&initiator, &target.name, number).await?;
            }
            let (name, allowed) = (volume.name.as_str(), iscsi.initiators_of(&target.name));
            let export = |group| Export { initiator: &initiator, group, volume: name };
            let mut commands: Vec<_> =
                groups.into_iter().map(|group| Command::Withdraw(export(group))).collect();
            if with_target && allowed.iter().all(|other| *other == initiator) {
                commands.push(Command::DeleteTarget(name));
            }
            match self.client.change_iscsi(&commands).await {
                Ok(()) => return Ok(()),
                Err(failure) if was_faster(&failure) => {
                    tries += 1;
                    with_target = !with_target;
                    if tries >= TRIES {
                        return Err(retry.judge(failure));
                    }
                }
                Err(failure) => retry.again(failure).await?,
            }
        }
    }

    /// Waits a moment until an initiator is not logged in to a target.
    async fn logged_out(&self, initiator: &str, target: &str, number: u16) -> Result<()> {
        for tries in 1.. {
            let sessions = self.client.iscsi_sessions().await?;
            let is = |told: &Option<String>, name: &str| told.as_deref() == Some(name);
            let open = sessions.iter().any(|one| is(&one.initiator, initiator) && is(&one.target, target));
            // A controller that does not answer may have one.
            let silent = sessions.iter().find(|one| one.target.is_none());
            let why = match (open, silent) {
                (true, _) => format!(
                    "{} is still logged in to its target",
                    self.nodes.told(&Seat::of_initiator(number))
                ),
                (false, Some(silent)) => format!(
                    "a controller of iSCSI does not tell who is logged in ({}), so {} may be",
                    silent.status,
                    self.nodes.told(&Seat::of_initiator(number))
                ),
                (false, None) => return Ok(()),
            };
            if tries >= OPEN_TRIES {
                return Err(Error::busy(format!(
                    "{why}: unstage it there, or prove that the node is off (fencing)"
                )));
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        }
        Ok(())
    }

    /// Deletes the target of a volume that is to be deleted.
    ///
    /// # Errors
    /// `FailedPrecondition` where it is exported to somebody.
    pub(in super::super) async fn drop_target(&self, volume: &Volume) -> Result<()> {
        if self.config.iscsi.is_none() {
            return Ok(());
        }
        let (mut retry, mut tries) = (Retry::default(), 0);
        loop {
            let iscsi = self.client.iscsi().await?;
            let Some(target) = iscsi.target(&volume.name) else { return Ok(()) };
            self.nodes.note(iscsi.numbers()?);
            if let Some(whose) = self.exported_to(&iscsi, &target.name)? {
                return Err(Error::precondition(format!("it is exported to {whose}: detach it first")));
            }
            match self.client.change_iscsi(&[Command::DeleteTarget(&volume.name)]).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is(&Name::Missing) => return Ok(()),
                Err(failure) if was_faster(&failure) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(retry.judge(failure));
                    }
                }
                Err(failure) => retry.again(failure).await?,
            }
        }
    }

    fn exported_to(&self, iscsi: &Iscsi, target: &str) -> Result<Option<String>> {
        let allowed = iscsi.initiators_of(target);
        let numbers = iscsi.numbers()?;
        let told = numbers.iter().filter(|(_, name)| allowed.contains(&name.as_str()));
        let told: Vec<_> = told.map(|(number, _)| self.nodes.told(&Seat::of_initiator(*number))).collect();
        Ok((!told.is_empty()).then(|| told.join(", ")))
    }
}
