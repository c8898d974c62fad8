//! What was answered, and whether it is true of the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cloudsim::state::Volume as Truth;
use cloudsim::{Cloud, Sim};
use fairlead::error::{Error, Outcome};
use fairlead::volume::{NativeId, SnapshotId, Volume};

use crate::kind::Kind;

/// States of a volume that can be given out, or is in use.
const USABLE: [&str; 6] = ["available", "reserved", "attaching", "in-use", "detaching", "extending"];

/// What is known of the answers.
#[derive(Debug, Default)]
pub struct Book {
    /// The ids that were answered, by name.
    pub volumes: BTreeMap<String, BTreeSet<NativeId>>,
    /// Those of which a deletion was ordered.
    doomed: BTreeSet<NativeId>,
    /// What copies were ordered from, by their names.
    pub sources: BTreeMap<String, BTreeSet<NativeId>>,
    pub snapshots: BTreeMap<String, BTreeSet<SnapshotId>>,
    /// The attaches and detaches of a volume that were ordered and not turned away, by their numbers.
    moves: BTreeMap<NativeId, BTreeSet<u64>>,
    ordered: u64,
    /// Volumes of which one was ordered that nobody knows the end of.
    unsure: BTreeSet<NativeId>,
    /// How often which answer was given.
    pub answers: BTreeMap<String, u64>,
    /// The last error of each sort of call.
    pub errors: BTreeMap<String, String>,
    /// How often a place was compared with the truth.
    pub placed: u64,
    /// What was not as it must be.
    pub wrong: Vec<String>,
}

impl Book {
    /// Told at once, because what follows from it may end the test earlier.
    fn is_wrong(&mut self, text: String) {
        eprintln!("WRONG: {text}");
        self.wrong.push(text);
    }
}

/// The book of one cloud.
#[derive(Clone, Debug)]
pub struct World {
    pub sim: Arc<Sim>,
    pub kind: &'static Kind,
    pub servers: Arc<Vec<String>>,
    book: Arc<Mutex<Book>>,
}

fn is_there(volume: Option<&Truth>) -> bool {
    is_shown(volume) && volume.is_some_and(|volume| volume.status != "deleting")
}

/// Some clouds show also what was deleted.
pub fn is_shown(volume: Option<&Truth>) -> bool {
    volume.is_some_and(|volume| !volume.deleted)
}

/// The servers that have a volume.
fn holders(cloud: &Cloud, id: &NativeId) -> Vec<String> {
    match cloud.volumes.get(id.as_str()) {
        Some(volume) if volume.server.is_some() => given(volume),
        _ => cloud.ledger.holders(id.as_str()),
    }
}

/// The servers that have been given a volume which stays with one: that is noted, and its disk is plugged in all the time.
fn given(volume: &Truth) -> Vec<String> {
    let noted = volume.metadata.iter().filter(|(_, value)| !value.is_empty());
    noted.filter_map(|(key, _)| key.strip_prefix("csi.fairlead.dev/use.").map(str::to_owned)).collect()
}

impl World {
    pub fn new(sim: &Arc<Sim>, kind: &'static Kind, servers: Vec<String>) -> Self {
        Self { sim: Arc::clone(sim), kind, servers: Arc::new(servers), book: Arc::default() }
    }

    /// The server on which the volumes of a name are made and stay, where they are such.
    pub fn home(&self, name: &str) -> Option<&str> {
        self.kind.home(&self.servers, name)
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts an answer; `None` where the process was killed.
    pub fn count<T>(&self, what: &str, answer: Option<&Result<T, Error>>) {
        let told = match answer {
            None => "killed".to_owned(),
            Some(Ok(_)) => "ok".to_owned(),
            Some(Err(error)) => format!("{:?}, {:?}", error.kind(), error.outcome()),
        };
        self.with(|book| {
            *book.answers.entry(format!("{what}: {told}")).or_default() += 1;
            let Some(Err(error)) = answer else { return };
            tracing::debug!(what, ?error, %error, chain = error.chain(), "answered");
            book.errors.insert(what.to_owned(), error.to_string());
            if error.to_string().contains("ended without a result") {
                book.is_wrong(format!("{what} panicked: {error}"));
            }
        });
    }

    /// A volume was answered to a create: it is there, it can be used, and there is no other one.
    pub fn made(&self, name: &str, volume: &Volume) {
        let id = &volume.id;
        let cloud = self.sim.cloud();
        self.with(|book| {
            let known = book.volumes.entry(name.to_owned()).or_default();
            let twins = known.iter().filter(|other| *other != id && !book.doomed.contains(*other));
            let twins: Vec<_> =
                twins.filter(|other| is_there(cloud.volumes.get(other.as_str()))).cloned().collect();
            known.insert(id.clone());
            if !twins.is_empty() {
                book.is_wrong(format!("{name}: {id} was answered, and {twins:?} before, which are there"));
            }
            if book.doomed.contains(id) {
                return;
            }
            match cloud.volumes.get(id.as_str()) {
                // Where a cloud loses a volume, it is found out by the next call.
                _ if cloud.ledger.lost.contains(id.as_str()) => {}
                found if !is_shown(found) => {
                    book.is_wrong(format!("{name}: {id} was answered, and is not there"));
                }
                Some(found) if !USABLE.contains(&found.status) => {
                    book.is_wrong(format!("{name}: {id} was answered, and is {}", found.status));
                }
                _ => {}
            }
        });
    }

    /// A deletion is about to be ordered.
    pub fn doom(&self, id: &NativeId) {
        self.with(|book| book.doomed.insert(id.clone()));
    }

    /// A volume was answered to be deleted.
    pub fn gone(&self, id: &NativeId) {
        let cloud = self.sim.cloud();
        let there = cloud.volumes.get(id.as_str()).filter(|volume| is_shown(Some(volume)));
        if let Some(status) = there.map(|volume| volume.status) {
            self.with(|book| book.is_wrong(format!("{id} was deleted, and is {status}")));
        }
    }

    /// Every volume that was given out and of which no deletion was ordered is still there.
    pub fn nothing_is_lost(&self) {
        let cloud = self.sim.cloud();
        self.with(|book| {
            let mut wrong = Vec::new();
            for (name, ids) in &book.volumes {
                let gone =
                    ids.difference(&book.doomed).filter(|id| !is_there(cloud.volumes.get(id.as_str())));
                // By the cloud itself.
                let lost = gone.filter(|id| !cloud.ledger.lost.contains(id.as_str()));
                wrong.extend(lost.map(|id| format!("{name}: {id} is gone, and nobody deleted it")));
            }
            wrong.into_iter().for_each(|text| book.is_wrong(text));
        });
    }

    /// Nothing is under way any more, and exactly these servers have it.
    pub fn is_with(&self, id: &NativeId, servers: &[&str]) {
        let holders = holders(&self.sim.cloud(), id);
        self.with(|book| {
            book.placed += 1;
            if holders != servers {
                book.is_wrong(format!("{id} is with {holders:?} instead of {servers:?}"));
            }
        });
    }

    /// An attach or a detach is about to be ordered: its number.
    pub fn moving(&self, id: &NativeId) -> u64 {
        self.with(|book| {
            book.ordered += 1;
            book.moves.entry(id.clone()).or_default().insert(book.ordered);
            book.ordered
        })
    }

    /// It was answered. Where nothing else was ordered since, and the end of all that was before is known, the server has
    /// the volume alone, or does not have it, as answered.
    pub fn moved(
        &self,
        id: &NativeId,
        number: u64,
        server: Option<&str>,
        answer: Option<&Result<bool, Error>>,
    ) {
        let cloud = self.sim.cloud();
        self.with(|book| {
            let Some(Ok(has)) = answer else {
                let refused = matches!(answer, Some(Err(error)) if error.outcome() == Outcome::Refused);
                let busy = matches!(answer, Some(Err(error)) if error.to_string().contains("is under way"));
                if busy {
                    book.moves.entry(id.clone()).or_default().remove(&number);
                } else if !refused {
                    book.unsure.insert(id.clone());
                }
                return;
            };
            if book.unsure.contains(id) || book.moves.get(id).and_then(BTreeSet::last) != Some(&number) {
                return;
            }
            if cloud.ledger.lost.contains(id.as_str()) {
                return;
            }
            let holders = holders(&cloud, id);
            book.placed += 1;
            let right = match (has, server) {
                (true, server) => holders.iter().map(String::as_str).eq(server),
                (false, Some(server)) => !holders.iter().any(|holder| holder == server),
                (false, None) => holders.is_empty(),
            };
            if !right {
                let done = if *has { "attached to" } else { "detached from" };
                book.is_wrong(format!("{id} was {done} {server:?}, and is with {holders:?}"));
            }
        });
    }
}
