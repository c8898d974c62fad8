//! What was answered, and whether it is true of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use storpoolsim::state::{Object, Rights};
use storpoolsim::{Cluster, Sim};
use tonic::{Code, Status};

use crate::seat::Answer;
use crate::{INITIATORS, initiator};

/// What is known of the volume, snapshot or group of one name.
#[derive(Debug, Default)]
struct Known {
    /// The global id that was given out, as long as nobody ordered its deletion.
    id: Option<String>,
    /// Creates of which it is not known that they have ended.
    creates: BTreeSet<u64>,
    /// The same of deletions, with what had the name before.
    deletes: BTreeMap<u64, Option<String>>,
    /// When the last deletion was answered.
    deleted: u64,
}

/// What is known of the answers.
#[derive(Debug, Default)]
pub struct Book {
    known: BTreeMap<String, Known>,
    /// The last attach or detach of a volume that was ordered.
    moves: BTreeMap<String, u64>,
    /// The members of groups, as they were answered last.
    pub members: BTreeMap<String, Vec<String>>,
    clock: u64,
    /// How often which answer was given.
    pub answers: BTreeMap<String, u64>,
    /// The last error of each sort of call.
    pub errors: BTreeMap<String, String>,
    /// How often a place was compared with the truth.
    pub placed: u64,
    /// How often a node logged in to a target.
    pub logins: u64,
    /// What was not as it must be.
    pub wrong: Vec<String>,
}

impl Book {
    /// Told at once, because what follows from it may end the test earlier.
    pub fn is_wrong(&mut self, text: String) {
        eprintln!("WRONG: {text}");
        self.wrong.push(text);
    }

    const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn of(&mut self, name: &str) -> &mut Known {
        self.known.entry(name.to_owned()).or_default()
    }
}

/// Whether a call with this answer may still be under way, or has to be made again.
pub fn is_final(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::Aborted | Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

/// The book of one cluster.
#[derive(Clone, Debug)]
pub struct World {
    pub sim: Arc<Sim>,
    book: Arc<Mutex<Book>>,
}

/// What has a name now: its global id, and those of all members of a group.
fn identity(cluster: &Cluster, name: &str) -> Option<String> {
    let is = |one: &&Object| one.deleted.is_none() && one.name.as_deref() == Some(name);
    if let Some(found) = cluster.objects().find(is) {
        return Some(found.global_id.clone());
    }
    let group = name.trim_start_matches("csi--group--");
    let member = |one: &&Object| {
        let place = one.tags.get("fl-group").filter(|_| one.deleted.is_none());
        place.is_some_and(|place| one.name.as_deref() == Some(&format!("csi--snap--{group}.{place}")))
    };
    let ids: Vec<_> = cluster.objects().filter(member).map(|one| one.global_id.as_str()).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// The nodes that can write to a volume.
fn holders(cluster: &Cluster, volume: &str) -> Vec<u16> {
    let writes = |(one, _, attachment): &(&Object, u16, &storpoolsim::state::Attachment)| {
        one.called() == volume && attachment.rights == Rights::Rw
    };
    let clients = cluster.attachments().filter(writes).map(|(_, client, _)| client);
    let exported = |node: &u16| {
        let name = initiator(*node);
        cluster.exports().any(|(one, initiator)| one.called() == volume && initiator == name)
    };
    clients.chain(INITIATORS.into_iter().filter(exported)).collect()
}

impl World {
    pub fn new(sim: &Arc<Sim>) -> Self {
        Self { sim: Arc::clone(sim), book: Arc::default() }
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// With the book before the cluster, so that what is compared is of one moment.
    fn compare<T>(&self, work: impl FnOnce(&mut Book, &Cluster) -> T) -> T {
        self.with(|book| work(book, &self.sim.cluster()))
    }

    /// Whether something has this name.
    pub fn has(&self, name: &str) -> bool {
        identity(&self.sim.cluster(), name).is_some()
    }

    /// A node that can write to a volume.
    pub fn holder(&self, name: &str) -> Option<u16> {
        holders(&self.sim.cluster(), name).last().copied()
    }

    /// Counts an answer.
    pub fn count<T>(&self, what: &str, answer: &Answer<T>) {
        let told = match answer {
            None => "nobody knows".to_owned(),
            Some(Ok(_)) => "ok".to_owned(),
            Some(Err(status)) => format!("{:?}", status.code()),
        };
        self.with(|book| {
            *book.answers.entry(format!("{what}: {told}")).or_default() += 1;
            let Some(Err(status)) = answer else { return };
            book.errors.insert(format!("{what}: {told}"), status.message().to_owned());
            if status.message().contains("ended without a result") {
                book.is_wrong(format!("{what} panicked: {}", status.message()));
            }
        });
    }

    /// A create is about to be ordered: its number.
    pub fn making(&self, name: &str) -> u64 {
        self.with(|book| {
            let number = book.tick();
            book.of(name).creates.insert(number);
            number
        })
    }

    /// It was answered. What it made is there, is the same that was given out before, and nothing was made where it was
    /// refused for good.
    pub fn made<T>(&self, name: &str, number: u64, answer: &Answer<T>) {
        self.compare(|book, cluster| {
            let there = identity(cluster, name);
            let known = book.of(name);
            let deleted = !known.deletes.is_empty() || known.deleted > number;
            match answer {
                Some(Ok(_)) => {
                    known.creates.retain(|other| *other > number);
                    if deleted {
                        return;
                    }
                    let before = std::mem::replace(&mut known.id, there.clone());
                    if there.is_none() {
                        book.is_wrong(format!("{name} was answered, and is not there"));
                    } else if before.is_some() && before != there {
                        book.is_wrong(format!(
                            "{name} was {before:?} and is {there:?} now: it was lost and made anew"
                        ));
                    }
                }
                Some(Err(status)) if is_final(status) => {
                    known.creates.remove(&number);
                    if !deleted && known.creates.is_empty() && known.id.is_none() && there.is_some() {
                        book.is_wrong(format!(
                            "{name} was refused for good ({}), and is there",
                            status.message()
                        ));
                    }
                }
                _ => {}
            }
        });
    }

    /// A deletion is about to be ordered: its number.
    pub fn doom(&self, name: &str) -> u64 {
        self.compare(|book, cluster| {
            let (number, there) = (book.tick(), identity(cluster, name));
            let known = book.of(name);
            known.id = None;
            known.deletes.insert(number, there);
            number
        })
    }

    /// It was answered. What had the name is gone.
    pub fn doomed(&self, name: &str, number: u64, answer: &Answer<()>) {
        self.compare(|book, cluster| {
            let (now, there) = (book.tick(), identity(cluster, name));
            let known = book.of(name);
            let had = known.deletes.get(&number).cloned().flatten();
            match answer {
                Some(Ok(())) => {
                    known.deletes.retain(|other, _| *other > number);
                    known.deleted = now;
                    if had.is_some() && had == there {
                        book.is_wrong(format!("{name} was deleted, and is there as {there:?}"));
                    }
                }
                Some(Err(status)) if is_final(status) => {
                    known.deletes.remove(&number);
                    known.deleted = now;
                }
                _ => {}
            }
        });
    }

    /// Everything that was given out and of which no deletion was ordered is still there.
    pub fn nothing_is_lost(&self) {
        self.compare(|book, cluster| {
            let mut wrong = Vec::new();
            for (name, known) in &book.known {
                let there = identity(cluster, name);
                if known.id.is_some() && known.deletes.is_empty() && known.id != there {
                    wrong.push(format!(
                        "{name} was {:?} and is {there:?} now, and nobody deleted it",
                        known.id
                    ));
                }
            }
            for (volume, clients) in cluster.ledger.shared.iter().filter(|(name, _)| !is_shared(name)) {
                wrong.push(format!("{volume} could be written to by {clients:?} at once"));
            }
            for (volume, client) in &cluster.ledger.cut_off {
                wrong.push(format!("{volume} was taken from {client}, which had it open"));
            }
            for (volume, initiators, clients) in
                cluster.ledger.exported.iter().filter(|(name, ..)| !is_shared(name))
            {
                wrong.push(format!(
                    "{volume} could be written to by {initiators:?} and {clients} clients at once"
                ));
            }
            for (target, initiator) in &cluster.ledger.logged_off {
                wrong.push(format!("{target} was withdrawn from {initiator}, which was logged in"));
            }
            wrong.into_iter().for_each(|text| book.is_wrong(text));
        });
    }

    /// An attach or a detach is about to be ordered: its number.
    pub fn moving(&self, volume: &str) -> u64 {
        self.with(|book| {
            let number = book.tick();
            book.moves.insert(volume.to_owned(), number);
            number
        })
    }

    /// It was answered as done. Where nothing else was ordered since, the node has the volume alone and its client knows
    /// it, or does not have it, as answered. `None` for a node: nobody has it.
    pub fn moved(&self, volume: &str, number: u64, node: Option<u16>, has: bool) {
        self.compare(|book, cluster| {
            if book.moves.get(volume) != Some(&number) {
                return;
            }
            book.placed += 1;
            let holders = holders(cluster, volume);
            let right = match (has, node) {
                (true, Some(node)) if is_shared(volume) => holders.contains(&node),
                (true, node) => holders.iter().copied().eq(node),
                (false, Some(node)) => !holders.contains(&node),
                (false, None) => holders.is_empty(),
            };
            let done = if has { "attached to" } else { "detached from" };
            if !right {
                book.is_wrong(format!("{volume} was {done} {node:?}, and is with {holders:?}"));
            }
            if let (true, Some(node)) = (has, node)
                && !INITIATORS.contains(&node)
                && !cluster.is_confirmed(volume, node)
            {
                book.is_wrong(format!("{volume} was {done} {node}, which does not know that"));
            }
        });
    }

    /// A node that was told of a target logs in to it, as long as nothing else was ordered since.
    pub fn log_in(&self, volume: &str, number: u64, node: u16) {
        self.with(|book| {
            if book.moves.get(volume) != Some(&number) {
                return;
            }
            match self.sim.cluster().log_in(&initiator(node), volume) {
                Ok(()) => book.logins += 1,
                Err(refusal) => book.is_wrong(format!("{node} cannot log in to {volume}: {}", refusal.text)),
            }
        });
    }

    /// The nodes that have a volume over iSCSI are done with it.
    pub fn log_out(&self, volume: &str) {
        // There may be no target, and no volume.
        INITIATORS.iter().for_each(|node| drop(self.sim.cluster().log_out(&initiator(*node), volume)));
    }

    /// A volume is about to be changed: the number of that.
    pub fn changing(&self) -> u64 {
        self.with(Book::tick)
    }

    /// A volume was grown, or changed, as was answered.
    pub fn is_so(&self, volume: &str, number: u64, what: &str, so: impl FnOnce(&Object) -> bool) {
        self.compare(|book, cluster| {
            let known = book.of(volume);
            let sure = known.deletes.is_empty() && known.deleted < number;
            let found = cluster.get(volume, storpoolsim::state::Kind::Volume);
            if sure && found.is_ok_and(|found| !so(found)) {
                book.is_wrong(format!("{volume} was answered to be {what}, and is not"));
            }
        });
    }
}

/// Whether several clients may write to a volume of this name.
pub fn is_shared(volume: &str) -> bool {
    volume.starts_with("csi--m")
}
