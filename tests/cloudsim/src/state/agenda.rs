//! What goes on after an answer: steps that are due at a time, or are held until somebody lets them go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Caller;
use super::objects::Moment;

/// A kind of work that can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Making a volume.
    Create,
    /// Noting a new volume's service.
    Register,
    /// Deleting a volume.
    Delete,
    /// Growing a volume.
    Extend,
    /// Changing a volume's type.
    Retype,
    /// Making a snapshot, or setting a volume back to one.
    Snapshot,
    /// Deleting a snapshot.
    DeleteSnapshot,
    /// Making a backup.
    Backup,
    /// Deleting a backup.
    DeleteBackup,
    /// Restoring a backup.
    Restore,
    /// Attaching.
    Attach,
    /// Detaching.
    Detach,
    /// All with groups.
    Group,
}

/// What is left over of an attach that breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftover {
    /// Cinder has reserved the volume, and Nova knows of nothing.
    Reserved,
    /// Nova lists the disk, and Cinder knows of nothing.
    Disk,
}

/// What becomes of the work of one request, where it is not what usually becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fate {
    /// It fails in the way that its kind fails, and users are told this where the cloud tells them anything.
    pub fails: Option<String>,
    /// It waits until it is let go on.
    pub held: bool,
    /// It takes so many milliseconds.
    pub takes: Option<u64>,
    /// An attach breaks off and leaves this.
    pub leaves: Option<Leftover>,
    /// A new volume comes into this zone, whatever was asked for.
    pub zone: Option<String>,
    /// A new volume's service is noted only so many milliseconds after the volume is `available`.
    pub registers: Option<u64>,
    /// A volume whose attach fails is marked as deleted (what Cyclades' dispatcher does to a disk that it does not find).
    pub vanishes: bool,
}

impl Fate {
    pub(super) fn duration(&self, usual: Duration) -> Duration {
        self.takes.map_or(usual, Duration::from_millis)
    }
}

/// A step of some work.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) phase: Phase,
    /// Of which object.
    pub(super) object: String,
    pub(super) what: What,
    pub(super) caller: Caller,
}

/// What a step does with its object.
#[derive(Clone, Debug)]
pub(super) enum What {
    VolumeFilled,
    VolumeMade,
    VolumeRegistered,
    VolumeGone,
    VolumeGrown(u64),
    DisksGrown,
    VolumeRetyped(String),
    VolumeReverted,
    SnapshotMade,
    SnapshotGone,
    BackupMade,
    BackupGone,
    Restored { backup: String },
    Connected,
    Attached,
    InUse,
    Unplugged { server: String },
    Detached { server: String },
    DiskGone { server: String },
    GroupSettled,
    GroupChanged { add: Vec<String>, remove: Vec<String> },
    GroupGone { volumes: bool },
    CutMade,
    CutGone,
}

/// The steps to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    due: BTreeMap<(Moment, u64), Step>,
    held: BTreeSet<Phase>,
    parked: Vec<Step>,
    count: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Moment, step: Step) {
        self.due.insert((at, self.count), step);
        self.count += 1;
    }

    /// The next step that is due by then and not held, with its time.
    pub(super) fn next(&mut self, now: Moment) -> Option<(Moment, Step)> {
        while let Some(entry) = self.due.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                return None;
            }
            let step = entry.remove();
            if !step.caller.fate.held && !self.held.contains(&step.phase) {
                return Some((at, step));
            }
            self.parked.push(step);
        }
        None
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn hold(&mut self, phase: Phase) {
        self.held.insert(phase);
    }

    /// Lets a kind of work go on, except what is held by itself.
    pub(super) fn release(&mut self, phase: Phase, now: Moment) {
        self.held.remove(&phase);
        self.unpark(now, |step| step.phase == phase && !step.caller.fate.held);
    }

    /// Lets the work on an object go on, and tells how much of it was waiting.
    pub(super) fn go_on(&mut self, object: &str, now: Moment) -> usize {
        for step in self.due.values_mut().chain(&mut self.parked).filter(|step| step.object == object) {
            step.caller.fate.held = false;
        }
        let held = self.held.clone();
        self.unpark(now, |step| step.object == object && !held.contains(&step.phase))
    }

    /// Puts what waited back on the agenda, in its order.
    fn unpark(&mut self, now: Moment, which: impl Fn(&Step) -> bool) -> usize {
        let (free, parked): (Vec<_>, Vec<_>) = self.parked.drain(..).partition(which);
        self.parked = parked;
        let count = free.len();
        for step in free {
            self.put(now, step);
        }
        count
    }
}
