//! Snapshots: cut at once, deleted in the background.

use super::names::{check, check_room, check_tags, merge};
use super::{Cluster, DiskChange, Kind, Object, Refusal, Result, Tags};

/// A snapshot that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Cutting {
    /// The volume.
    pub volume: String,
    /// The snapshot's name; none or empty: it gets none.
    pub name: Option<String>,
    /// Its notes.
    pub tags: Tags,
    /// Whether it goes with what is made from it.
    pub bound: bool,
    /// In so many seconds it goes; 0: it stays.
    pub after: Option<u64>,
    /// When it goes, in seconds since 1970; 0: it stays.
    pub end: Option<u64>,
}

/// A snapshot that was cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The volume's number.
    pub volume: u64,
    /// The snapshot's.
    pub snapshot: u64,
}

impl Cluster {
    /// A snapshot of a volume that is not there yet.
    pub(super) fn cutting(&self, volume: u64, name: Option<String>) -> Result<Object> {
        let of = self.objects.get(&volume).ok_or_else(|| Refusal::missing("The volume does not exist"))?;
        Ok(Object {
            id: 0,
            kind: Kind::Snapshot,
            name,
            global_id: String::new(),
            preserved: None,
            size: of.size,
            parent: of.parent,
            volume: Some(volume),
            policy: of.policy.clone(),
            tags: Tags::new(),
            created: 0,
            stored: of.stored,
            bound: false,
            transient: false,
            deleted: None,
            end: None,
            status: "up",
            degraded: false,
            shown: None,
        })
    }

    /// Takes a snapshot in: it becomes its volume's parent, and has what the volume had.
    pub(super) fn put_cut(&mut self, volume: u64, snapshot: Object) -> u64 {
        let id = self.add(snapshot);
        if let Some(volume) = self.objects.get_mut(&volume) {
            volume.parent = Some(id);
            volume.stored = 0;
        }
        id
    }

    /// Cuts snapshots of volumes at one moment: all of them or none.
    ///
    /// # Errors
    /// Why none is cut.
    pub fn cut(&mut self, wanted: Vec<Cutting>) -> Result<Vec<Cut>> {
        let mut new = Vec::new();
        let mut names = Vec::new();
        for one in wanted {
            let volume = self.find(&one.volume, Kind::Volume)?;
            if new.iter().any(|(known, _): &(u64, Object)| *known == volume) {
                return Err(Refusal::invalid(format!("'{}' is there twice", one.volume)));
            }
            let name = one.name.filter(|name| !name.is_empty());
            if let Some(name) = &name {
                check(name)?;
                self.check_free(name)?;
                if names.contains(name) {
                    return Err(Refusal::exists(format!("Snapshot '{name}' already exists")));
                }
                names.push(name.clone());
                check_room(name, &one.tags, self.config.room)?;
            }
            check_tags(&one.tags)?;
            let mut snapshot = self.cutting(volume, name)?;
            merge(&mut snapshot.tags, one.tags);
            snapshot.bound = one.bound;
            let after = one.after.filter(|after| *after > 0).map(|after| self.seconds() + after);
            snapshot.end = after.or_else(|| one.end.filter(|end| *end > 0));
            new.push((volume, snapshot));
        }
        if new.is_empty() {
            return Err(Refusal::invalid("No volumes specified"));
        }
        let cuts = new
            .into_iter()
            .map(|(volume, snapshot)| Cut { volume, snapshot: self.put_cut(volume, snapshot) });
        let cuts = cuts.collect();
        self.changed();
        Ok(cuts)
    }

    /// Begins to delete a snapshot; meanwhile it is called otherwise.
    ///
    /// # Errors
    /// `busy` while it is attached.
    pub fn delete_snapshot(&mut self, name: &str) -> Result<()> {
        let id = self.find(name, Kind::Snapshot)?;
        if self.objects[&id].deleted.is_some() {
            return Err(Refusal::missing(format!("Snapshot '{name}' does not exist")));
        }
        if let Some(client) = self.clients_of(id).first() {
            return Err(Refusal::busy(format!("'{name}' is attached to client {client}")));
        }
        self.bury(id);
        self.changed();
        Ok(())
    }

    fn bury(&mut self, id: u64) {
        let now = self.now;
        if let Some(snapshot) = self.objects.get_mut(&id) {
            let name = snapshot.called();
            snapshot.name = Some(format!("*{}:{id}", name.trim_start_matches('~')));
            snapshot.deleted = Some(now);
        }
    }

    /// Deletes what goes by itself: what is due, and what was bound to something that is gone.
    pub(super) fn expire(&mut self) {
        let seconds = self.seconds();
        loop {
            let due: Vec<_> = self
                .objects
                .values()
                .filter(|object| object.kind == Kind::Snapshot && object.deleted.is_none())
                .filter(|object| {
                    let late = object.end.is_some_and(|end| end <= seconds);
                    let left = object.bound && !self.has_children(object.id);
                    (late || left) && self.clients_of(object.id).is_empty()
                })
                .map(|object| object.id)
                .collect();
            if due.is_empty() {
                return;
            }
            for id in due {
                self.bury(id);
            }
        }
    }

    fn has_children(&self, id: u64) -> bool {
        self.objects.values().any(|object| object.parent == Some(id) && object.deleted.is_none())
    }

    /// Takes away what was deleted long enough ago. Of what has several children something stays.
    pub(super) fn reclaim(&mut self) {
        let (now, wait) = (self.now, self.config.timings.reclaim);
        let due: Vec<_> = self
            .objects
            .values()
            .filter(|object| object.deleted.is_some_and(|since| since + wait <= now))
            .filter(|object| {
                let children = self.objects.values().filter(|child| child.parent == Some(object.id));
                children.count() <= 1
            })
            .map(|object| object.id)
            .collect();
        for id in due {
            let Some(gone) = self.objects.remove(&id) else { continue };
            for child in self.objects.values_mut().filter(|child| child.parent == Some(id)) {
                child.parent = gone.parent;
                child.stored = child.stored.saturating_add(gone.stored);
            }
            self.tell(DiskChange::Gone { id });
        }
    }
}
