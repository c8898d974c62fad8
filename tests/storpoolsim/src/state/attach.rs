//! Who has what: reassigning volumes and snapshots to clients.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cluster, DiskChange, Kind, Refusal, Result};

/// A client has at most so many.
const MAX: usize = 1024;

/// A computer that can have volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whether its `storpool_block` runs.
    pub running: bool,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// The configuration that it has taken over, and the one that it takes over next, with when.
    pub(crate) has: u64,
    pub(crate) gets: Option<(u64, Duration)>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

/// That a client has a volume or snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What it may do.
    pub rights: Rights,
    /// Its place among the client's.
    pub position: u64,
    /// How often the client has it open.
    pub opens: u64,
    /// The configuration that gave it to the client.
    pub(crate) since: u64,
}

/// Whom something is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detach {
    /// From nobody.
    Nobody,
    /// From these.
    Clients(Vec<u16>),
    /// From all that do not get it.
    All,
}

/// What is to become of one volume or snapshot.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Which of the two it is.
    pub kind: Kind,
    /// Who gets it for reading and writing.
    pub rw: Vec<u16>,
    /// Who gets it for reading.
    pub ro: Vec<u16>,
    /// From whom it is taken.
    pub detach: Detach,
    /// Whether it is taken although it is open.
    pub force: bool,
}

type Table = BTreeMap<(u64, u16), Attachment>;

impl Cluster {
    /// Makes a client known, and lets it run.
    pub fn add_client(&mut self, number: u16) {
        let (since, has) = (self.seconds(), self.generation);
        self.clients.insert(number, Client { running: true, since, has, gets: None });
    }

    /// Lets a client run, or fall.
    pub fn run_client(&mut self, number: u16, running: bool) {
        let (now, generation) = (self.now, self.generation);
        if let Some(client) = self.clients.get_mut(&number) {
            client.running = running;
            client.gets = running.then_some((generation, now));
            if !running {
                // Nothing on it has anything open any more.
                for ((_, of), attachment) in &mut self.attachments {
                    if *of == number {
                        attachment.opens = 0;
                    }
                }
            }
        }
        self.reach_clients();
    }

    /// Lets a client open what it has, so often.
    ///
    /// # Errors
    /// Where it does not have it.
    pub fn set_open(&mut self, volume: &str, client: u16, opens: u64) -> Result<()> {
        let id = self.find(volume, Kind::Volume)?;
        let attachment = self.attachments.get_mut(&(id, client));
        let attachment = attachment
            .ok_or_else(|| Refusal::missing(format!("client {client} does not have '{volume}'")))?;
        attachment.opens = opens;
        Ok(())
    }

    /// Says how often each client has each of its volumes open, by numbers.
    pub(crate) fn set_opens(&mut self, open: impl Fn(u16, u64) -> bool) {
        for ((id, client), attachment) in &mut self.attachments {
            attachment.opens = u64::from(open(*client, *id));
        }
    }

    /// Who has something.
    pub(super) fn clients_of(&self, id: u64) -> Vec<u16> {
        self.attachments.range((id, 0)..=(id, u16::MAX)).map(|((_, client), _)| *client).collect()
    }

    /// Takes something from all that have it.
    pub(super) fn drop_all(&mut self, id: u64, force: bool) -> Result<()> {
        let Some(object) = self.objects.get(&id) else { return Ok(()) };
        let entry = Entry {
            name: object.name.clone().unwrap_or_else(|| format!("~{}", object.global_id)),
            kind: object.kind,
            rw: Vec::new(),
            ro: Vec::new(),
            detach: Detach::All,
            force,
        };
        self.reassign(&[entry]).map(drop)
    }

    /// Does all that is asked for, or nothing. Tells the new configuration's number and the clients that it is about.
    ///
    /// # Errors
    /// Why nothing is done.
    pub fn reassign(&mut self, entries: &[Entry]) -> Result<(u64, Vec<u16>)> {
        let mut table = self.attachments.clone();
        let mut cut_off = Vec::new();
        let mut about = Vec::new();
        let since = self.generation + 1;
        for entry in entries {
            let id = self.find(&entry.name, entry.kind)?;
            self.check_entry(entry, id)?;
            let getting = |client: u16| entry.rw.contains(&client) || entry.ro.contains(&client);
            let leaving: Vec<u16> = match &entry.detach {
                Detach::Nobody => Vec::new(),
                Detach::Clients(clients) => clients.clone(),
                Detach::All => {
                    let has = table.range((id, 0)..=(id, u16::MAX)).map(|((_, client), _)| *client);
                    has.filter(|client| !getting(*client)).collect()
                }
            };
            for client in leaving {
                let Some(old) = table.get(&(id, client)) else { continue };
                if old.opens > 0 {
                    if !entry.force {
                        let name = &entry.name;
                        return Err(Refusal::busy(format!("'{name}' is open at client {client}")));
                    }
                    cut_off.push((self.objects[&id].called(), client));
                }
                table.remove(&(id, client));
                about.push(client);
            }
            let rights = [(Rights::Ro, &entry.ro), (Rights::Rw, &entry.rw)];
            for (rights, client) in rights.into_iter().flat_map(|(r, list)| list.iter().map(move |c| (r, *c)))
            {
                about.push(client);
                if let Some(old) = table.get_mut(&(id, client)) {
                    if old.rights != rights {
                        (old.rights, old.since) = (rights, since);
                    }
                    continue;
                }
                let position = place(&table, client)?;
                table.insert((id, client), Attachment { rights, position, opens: 0, since });
            }
        }
        about.sort_unstable();
        about.dedup();
        self.ledger.cut_off.extend(cut_off);
        self.take_over(table);
        let generation = self.changed();
        let at = self.now + self.config.timings.confirm;
        for client in &about {
            if let Some(client) = self.clients.get_mut(client).filter(|client| client.running) {
                // One that is about to take over an older one gets this one instead.
                client.gets = Some((generation, client.gets.map_or(at, |(_, soon)| soon)));
            }
        }
        Ok((generation, about))
    }

    fn check_entry(&self, entry: &Entry, id: u64) -> Result<()> {
        let object = &self.objects[&id];
        let named = match &entry.detach {
            Detach::Clients(clients) => clients.as_slice(),
            _ => &[],
        };
        let mut all = entry.rw.iter().chain(&entry.ro).chain(named);
        if all.any(|client| !self.clients.contains_key(client)) {
            return Err(Refusal::invalid("No such client registered"));
        }
        if entry.kind == Kind::Snapshot && !entry.rw.is_empty() {
            return Err(Refusal::invalid("Snapshots can only be attached read-only"));
        }
        let unfit = object.transient || object.name.as_ref().is_some_and(|name| name.contains('@'));
        if unfit && !entry.ro.is_empty() {
            return Err(Refusal::invalid(format!("Snapshot '{}' cannot be attached", entry.name)));
        }
        Ok(())
    }

    /// Makes a table of attachments the present one.
    fn take_over(&mut self, table: Table) {
        let old = std::mem::replace(&mut self.attachments, table);
        let new = self.attachments.clone();
        for ((id, client), _) in
            old.iter().filter(|(key, old)| new.get(key).is_none_or(|n| n.rights != old.rights))
        {
            self.tell(DiskChange::Detached { client: *client, id: *id });
        }
        for ((id, client), attachment) in &new {
            if old.get(&(*id, *client)).is_some_and(|old| old.rights == attachment.rights) {
                continue;
            }
            self.ledger.attached += u64::from(!old.contains_key(&(*id, *client)));
            let object = &self.objects[id];
            let change = DiskChange::Attached {
                client: *client,
                id: *id,
                global_id: object.preserved.clone().unwrap_or_else(|| object.global_id.clone()),
                name: object.name.clone(),
                readonly: attachment.rights == Rights::Ro,
            };
            self.tell(change);
            let range = new.range((*id, 0)..=(*id, u16::MAX));
            let writers: Vec<_> =
                range.filter(|(_, one)| one.rights == Rights::Rw).map(|((_, c), _)| *c).collect();
            if writers.len() > 1 {
                self.ledger.shared.push((self.objects[id].called(), writers));
            }
        }
        self.note_exports();
    }

    /// Lets clients take over the configuration that is due for them.
    pub(super) fn reach_clients(&mut self) {
        let now = self.now;
        for client in self.clients.values_mut().filter(|client| client.running) {
            if let Some((gets, _)) = client.gets.filter(|(_, at)| *at <= now) {
                (client.has, client.gets) = (gets.max(client.has), None);
            }
        }
    }

    /// The first of these clients that has not taken over this configuration.
    pub(crate) fn behind(&self, generation: u64, clients: &[u16]) -> Option<u16> {
        let has = |number: &u16| self.clients.get(number).is_none_or(|client| client.has >= generation);
        clients.iter().copied().find(|number| !has(number))
    }

    /// Whether a client knows that it has a volume.
    #[must_use]
    pub fn is_confirmed(&self, volume: &str, client: u16) -> bool {
        let found = self.find(volume, Kind::Volume).ok().and_then(|id| self.attachments.get(&(id, client)));
        found.is_some_and(|attachment| self.behind(attachment.since, &[client]).is_none())
    }

    /// Takes back what a configuration gave to clients that have not taken it over.
    pub(crate) fn forget(&mut self, generation: u64) {
        let mut table = self.attachments.clone();
        table.retain(|(_, client), one| {
            one.since != generation || self.behind(generation, &[*client]).is_none()
        });
        self.take_over(table);
        self.changed();
    }
}

/// The first free place of a client.
fn place(table: &Table, client: u16) -> Result<u64> {
    let mut taken: Vec<_> =
        table.iter().filter(|((_, of), _)| *of == client).map(|(_, one)| one.position).collect();
    if taken.len() >= MAX {
        return Err(Refusal::invalid(format!("Too many attachments on client {client}, max {MAX}")));
    }
    taken.sort_unstable();
    let free = taken.iter().zip(0..).find(|(taken, free)| **taken != *free).map(|(_, free)| free);
    Ok(free.unwrap_or(taken.len() as u64))
}
