//! What was answered, and whether it is true of the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cloudsim::Sim;
use cloudsim::state::Volume as Truth;
use fairlead::error::{Error, Outcome};
use fairlead::volume::{NativeId, SnapshotId, Volume};

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
    book: Arc<Mutex<Book>>,
}

fn is_there(volume: Option<&Truth>) -> bool {
    volume.is_some_and(|volume| volume.status != "deleting")
}

impl World {
    pub fn new(sim: &Arc<Sim>) -> Self {
        Self { sim: Arc::clone(sim), book: Arc::default() }
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
                None => book.is_wrong(format!("{name}: {id} was answered, and is not there")),
                Some(found) if !USABLE.contains(&found.status) => {
                    book.is_wrong(format!("{name}: {id} was answered, and is {}", found.status));
                }
                Some(_) => {}
            }
        });
    }

    /// A deletion is about to be ordered.
    pub fn doom(&self, id: &NativeId) {
        self.with(|book| book.doomed.insert(id.clone()));
    }

    /// A volume was answered to be deleted.
    pub fn gone(&self, id: &NativeId) {
        let there = self.sim.cloud().volumes.get(id.as_str()).map(|volume| volume.status);
        if let Some(status) = there {
            self.with(|book| book.is_wrong(format!("{id} was deleted, and is {status}")));
        }
    }

    /// Every volume that was given out and of which no deletion was ordered is still there.
    pub fn nothing_is_lost(&self) {
        let cloud = self.sim.cloud();
        self.with(|book| {
            let mut wrong = Vec::new();
            for (name, ids) in &book.volumes {
                let lost =
                    ids.difference(&book.doomed).filter(|id| !is_there(cloud.volumes.get(id.as_str())));
                wrong.extend(lost.map(|id| format!("{name}: {id} is gone, and nobody deleted it")));
            }
            wrong.into_iter().for_each(|text| book.is_wrong(text));
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
            let holders = cloud.ledger.holders(id.as_str());
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
