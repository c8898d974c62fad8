//! What a cloud has and what goes on in it. Knows nothing of HTTP; its clock is told to it.

mod agenda;
mod attach;
mod attachments;
mod backups;
#[cfg(test)]
mod campaign;
mod groups;
mod ids;
mod ledger;
mod moment;
mod objects;
mod quota;
mod refusal;
mod servers;
mod snapshots;
mod steps;
mod table;
#[cfg(test)]
mod tests;
mod volumes;

pub use agenda::{Fate, Leftover, Phase};
pub use attach::{Attach, AttachWish};
pub use backups::BackupWish;
pub use groups::GroupWish;
pub use ids::Ids;
pub use ledger::{DiskChange, Ledger, Violation};
pub use moment::text as moment_text;
pub use objects::{
    Action, Attachment, Backup, Cut, Disk, Group, Message, Metadata, Moment, Server, Snapshot, Token, Volume,
};
pub use quota::Usage;
pub use refusal::{Refusal, Result, Why};
pub use snapshots::SnapshotWish;
pub use table::{Row, Table};
pub use volumes::{Origin, VolumeWish};

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, Dialect};

use agenda::{Agenda, Step, What};

/// On whose behalf something is done.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The project's id.
    pub project: String,
    /// The user's id.
    pub user: String,
    /// The request's id.
    pub request: String,
    /// What becomes of the work.
    pub fate: Fate,
}

/// A cloud.
#[derive(Debug)]
pub struct Cloud {
    /// What it has and how fast it is.
    pub config: Config,
    /// Makes its ids.
    pub ids: Ids,
    /// Its volumes.
    pub volumes: Table<Volume>,
    /// Its snapshots.
    pub snapshots: Table<Snapshot>,
    /// Its backups.
    pub backups: Table<Backup>,
    /// The attachments that Cinder keeps.
    pub attachments: Table<Attachment>,
    /// Its servers, with the disks that Nova keeps.
    pub servers: Table<Server>,
    /// Its groups.
    pub groups: Table<Group>,
    /// Its group snapshots.
    pub cuts: Table<Cut>,
    /// What it told its users.
    pub messages: Table<Message>,
    /// The tokens that it gave out.
    pub tokens: Table<Token>,
    /// The truth about disks.
    pub ledger: Ledger,
    /// Changes of disks since they were last taken, where somebody takes them.
    pub changes: Option<Vec<DiskChange>>,
    now: Moment,
    agenda: Agenda,
}

impl Cloud {
    /// A cloud with nothing in it, at this time.
    #[must_use]
    pub fn new(config: Config, now: Moment) -> Self {
        let mut tokens = Table::default();
        // With Astakos nobody has to log in.
        for user in config.users.iter().filter(|_| config.dialect == Dialect::Cyclades) {
            let project = config.project(&user.project).map(|project| project.id.clone()).unwrap_or_default();
            let end = now + config.token_life;
            tokens.insert(Token { secret: user.password.clone(), project, user: user.id.clone(), end });
        }
        Self {
            ids: Ids::new(config.seed),
            config,
            volumes: Table::default(),
            snapshots: Table::default(),
            backups: Table::default(),
            attachments: Table::default(),
            servers: Table::default(),
            groups: Table::default(),
            cuts: Table::default(),
            messages: Table::default(),
            tokens,
            ledger: Ledger::default(),
            changes: None,
            now,
            agenda: Agenda::default(),
        }
    }

    /// What time it is.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// Does what is due by then. A clock that goes back does nothing.
    pub fn advance(&mut self, now: Moment) {
        while let Some((at, step)) = self.agenda.next(now) {
            self.now = self.now.max(at);
            self.take(step);
        }
        self.now = self.now.max(now);
    }

    /// When something is due next.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.agenda.next_due()
    }

    /// Holds all work of a kind before its next step, until it is released.
    pub fn hold(&mut self, phase: Phase) {
        self.agenda.hold(phase);
    }

    /// Lets work of a kind go on.
    pub fn release(&mut self, phase: Phase) {
        self.agenda.release(phase, self.now);
        self.advance(self.now);
    }

    /// Lets the work on one object go on that its [`Fate`] holds, also the attaches of a volume, and tells how many
    /// steps were waiting.
    pub fn go_on(&mut self, object: &str) -> usize {
        let attachments = self.attachments.iter().filter(|one| one.volume == object).map(Row::id);
        let objects = attachments.chain([object]).map(|id| self.agenda.go_on(id, self.now));
        let count = objects.sum();
        self.advance(self.now);
        count
    }

    /// The volumes of a project that are there under the same name, by name.
    #[must_use]
    pub fn twins(&self) -> BTreeMap<String, Vec<String>> {
        let mut names = BTreeMap::<_, Vec<String>>::new();
        for volume in self.volumes.iter().filter(|volume| !volume.deleted) {
            let Some(name) = &volume.name else { continue };
            names.entry((volume.project.clone(), name.clone())).or_default().push(volume.id.clone());
        }
        names.into_iter().filter(|(_, ids)| ids.len() > 1).map(|((_, name), ids)| (name, ids)).collect()
    }

    /// The volumes, snapshots, backups, groups, group snapshots and attachments that are there and not among these.
    #[must_use]
    pub fn leaks(&self, expected: &[&str]) -> Vec<String> {
        let volumes = self.volumes.iter().filter(|volume| !volume.deleted).map(Row::id);
        let all = volumes
            .chain(self.snapshots.iter().map(Row::id))
            .chain(self.backups.iter().map(Row::id))
            .chain(self.groups.iter().map(Row::id))
            .chain(self.cuts.iter().map(Row::id))
            .chain(self.attachments.iter().map(Row::id));
        all.filter(|id| !expected.contains(id)).map(str::to_owned).collect()
    }

    /// An id for an object: a UUID, or a number where the cloud numbers its objects.
    fn new_id(&mut self) -> String {
        match self.config.dialect {
            Dialect::Cyclades => self.ids.number().to_string(),
            _ => self.ids.uuid(),
        }
    }

    /// Puts a step on the agenda, so long after now.
    fn plan(&mut self, after: Duration, phase: Phase, object: &str, what: What, caller: &Caller) {
        let step = Step { phase, object: object.to_owned(), what, caller: caller.clone() };
        self.agenda.put(self.now + after, step);
    }

    /// Tells users why something failed.
    fn tell(
        &mut self,
        caller: &Caller,
        about: &'static str,
        object: &str,
        event: &'static str,
        text: String,
    ) {
        let message = Message {
            id: self.ids.uuid(),
            project: caller.project.clone(),
            about,
            object: object.to_owned(),
            event,
            text,
            request: caller.request.clone(),
            created: self.now,
        };
        self.messages.insert(message);
    }

    fn disk_change(&mut self, change: impl FnOnce() -> DiskChange) {
        if let Some(changes) = &mut self.changes {
            changes.push(change());
        }
    }
}
