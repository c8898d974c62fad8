//! Making, changing, reverting and deleting volumes.

use super::names::{check, check_room, check_tags, merge};
use super::{Cluster, DiskChange, Kind, Limit, Object, Policy, Refusal, Result, Tags};

/// Sizes are multiples of this.
const SECTOR: u64 = 512;

/// What a new volume is to be.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Its name; none or empty: it gets none.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The snapshot that it begins with.
    pub parent: Option<String>,
    /// The volume that it begins with.
    pub base: Option<String>,
    /// What it has beside these.
    pub change: Change,
}

/// What becomes of a volume or snapshot.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new name; empty: none any more.
    pub rename: Option<String>,
    /// A new size in bytes.
    pub size: Option<u64>,
    /// So many bytes more.
    pub more: Option<u64>,
    /// Whether it may get smaller.
    pub shrink: bool,
    /// Another template.
    pub template: Option<String>,
    /// Copies.
    pub replication: Option<u64>,
    /// Placement groups: all, tail, head.
    pub places: [Option<String>; 3],
    /// Operations in a second; the inner `None`: without a limit.
    pub iops: Option<Limit>,
    /// KB in a second.
    pub bw: Option<Limit>,
    /// What the limits are for.
    pub limit_type: Option<String>,
    /// Tags to add, change or, where empty, remove.
    pub tags: Tags,
    /// Of a snapshot: whether it goes with what is made from it.
    pub bound: Option<bool>,
    /// Of a snapshot: in so many seconds it goes; 0: it stays.
    pub after: Option<u64>,
    /// Of a snapshot: when it goes, in seconds since 1970; 0: it stays.
    pub end: Option<u64>,
}

/// Refuses a size that no volume can have.
fn check_size(size: u64) -> Result<()> {
    if size == 0 || !size.is_multiple_of(SECTOR) {
        return Err(Refusal::invalid(format!(
            "Invalid size {size}. Must be a positive multiple of {SECTOR}"
        )));
    }
    Ok(())
}

impl Cluster {
    /// The policy of a template.
    fn template(&self, name: &str) -> Result<Policy> {
        let template = self.config.templates.iter().find(|template| template.name == name);
        let template =
            template.ok_or_else(|| Refusal::missing(format!("Template '{name}' does not exist")))?;
        Ok(Policy {
            template: name.to_owned(),
            replication: template.replication,
            places: [(); 3].map(|()| template.place.clone()),
            iops: None,
            bw: None,
            limit_type: None,
        })
    }

    /// A policy with what is asked for on top.
    pub(super) fn policy(&self, old: Option<&Policy>, change: &Change) -> Result<Policy> {
        let mut policy = match (&change.template, old) {
            (Some(name), old) => {
                let new = self.template(name)?;
                match old {
                    Some(Policy { iops, bw, limit_type, .. }) => {
                        Policy { iops: *iops, bw: *bw, limit_type: limit_type.clone(), ..new }
                    }
                    None => new,
                }
            }
            (None, Some(old)) => old.clone(),
            (None, None) => {
                let [Some(all), ..] = &change.places else {
                    return Err(Refusal::invalid("Either a template or placement groups must be given"));
                };
                Policy {
                    template: String::new(),
                    replication: 3,
                    places: [(); 3].map(|()| all.clone()),
                    iops: None,
                    bw: None,
                    limit_type: None,
                }
            }
        };
        match change.replication {
            Some(copies @ 1..=4) => policy.replication = copies,
            Some(copies) => return Err(Refusal::invalid(format!("Invalid replication {copies}"))),
            None => {}
        }
        for (place, new) in policy.places.iter_mut().zip(&change.places) {
            if let Some(new) = new {
                place.clone_from(new);
            }
        }
        policy.iops = change.iops.unwrap_or(policy.iops);
        policy.bw = change.bw.unwrap_or(policy.bw);
        if let Some(kind) = &change.limit_type {
            if !matches!(kind.as_str(), "total" | "perGiB") {
                return Err(Refusal::invalid(format!("Invalid limitType '{kind}'")));
            }
            policy.limit_type = Some(kind.clone());
        }
        Ok(policy)
    }

    /// Takes in something new.
    pub(super) fn add(&mut self, mut object: Object) -> u64 {
        self.next += 1;
        object.id = self.next;
        object.global_id = self.make_global_id(self.next + 36 * 36);
        object.created = self.seconds();
        let made = DiskChange::Made {
            id: object.id,
            size: object.size,
            from: object.parent.filter(|_| object.kind == Kind::Volume).or(object.volume),
        };
        self.tell(made);
        self.objects.insert(self.next, object);
        self.next
    }

    /// Makes a volume, and tells its number and that of the snapshot that had to be made for it.
    ///
    /// # Errors
    /// Why it is not made.
    pub fn create(&mut self, order: Order) -> Result<(u64, Option<u64>)> {
        let name = order.name.filter(|name| !name.is_empty());
        if let Some(name) = &name {
            check(name)?;
        }
        check_tags(&order.change.tags)?;
        if order.parent.is_some() && order.base.is_some() {
            return Err(Refusal::invalid("Only one of 'parent' and 'baseOn' can be given"));
        }
        let parent = order.parent.map(|parent| self.find(&parent, Kind::Snapshot)).transpose()?;
        let base = order.base.map(|base| self.find(&base, Kind::Volume)).transpose()?;
        let source = parent.or(base).map(|id| &self.objects[&id]);
        let least = source.map(|source| source.size);
        let size = order.size.or(least).ok_or_else(|| Refusal::invalid("No size specified"))?;
        check_size(size)?;
        if least.is_some_and(|least| size < least) {
            return Err(Refusal::invalid(format!("Size {size} is smaller than the parent's")));
        }
        let policy = self.policy(source.map(|source| &source.policy), &order.change)?;
        if let Some(name) = &name {
            self.check_free(name)?;
            check_room(name, &order.change.tags, self.config.room)?;
        }
        self.check_room(&policy.template)?;
        let auto = match base {
            Some(base) => {
                let name =
                    format!("{}@{}", self.objects[&base].called().trim_start_matches('~'), self.next + 1);
                let mut snapshot = self.cutting(base, Some(name))?;
                snapshot.transient = true;
                snapshot.bound = true;
                Some(self.put_cut(base, snapshot))
            }
            None => None,
        };
        let mut tags = Tags::new();
        merge(&mut tags, order.change.tags);
        let id = self.add(Object {
            id: 0,
            kind: Kind::Volume,
            name,
            global_id: String::new(),
            preserved: None,
            size,
            parent: parent.or(auto),
            volume: None,
            policy,
            tags,
            created: 0,
            stored: 0,
            bound: false,
            transient: false,
            deleted: None,
            end: None,
            status: "up",
            degraded: false,
            shown: None,
        });
        self.changed();
        Ok((id, auto))
    }

    /// Changes a volume or snapshot.
    ///
    /// # Errors
    /// Why it is not changed; then nothing is.
    pub fn update(&mut self, name: &str, kind: Kind, change: Change) -> Result<()> {
        let id = self.find(name, kind)?;
        let old = &self.objects[&id];
        check_tags(&change.tags)?;
        let rename = change.rename.as_ref().filter(|new| old.name.as_ref() != Some(new));
        if let Some(new) = rename.filter(|new| !new.is_empty()) {
            check(new)?;
            self.check_free(new)?;
        }
        let size = match (change.size, change.more) {
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid("Only one of 'size' and 'sizeAdd' can be given"));
            }
            (Some(size), None) => size,
            (None, Some(more)) => old.size.saturating_add(more),
            (None, None) => old.size,
        };
        check_size(size)?;
        if size < old.size && !change.shrink {
            return Err(Refusal::invalid(format!(
                "Cannot shrink from {} to {size} without shrinkOk",
                old.size
            )));
        }
        let mut tags = old.tags.clone();
        merge(&mut tags, change.tags);
        let name = change.rename.as_ref().or(old.name.as_ref()).map_or("", String::as_str);
        check_room(name, &tags, self.config.room)?;
        let change = Change { tags: Tags::new(), ..change };
        let policy = self.policy(Some(&old.policy), &change)?;
        let grows = size > old.size;
        let seconds = self.seconds();
        let end = match (change.after, change.end) {
            (Some(0), _) | (_, Some(0)) => Some(None),
            (Some(after), _) => Some(Some(seconds + after)),
            (None, Some(end)) if end < seconds => {
                return Err(Refusal::invalid("targetDeleteDate is in the past"));
            }
            (None, Some(end)) => Some(Some(end)),
            (None, None) => None,
        };
        if grows {
            self.check_room(&policy.template)?;
        }
        let rename = change.rename.map(|new| Some(new).filter(|new| !new.is_empty()));
        let shown = self.now + self.config.timings.resize;
        let object = self.object_mut(id)?;
        let resized = object.size != size;
        (object.size, object.policy) = (size, policy);
        object.name = rename.unwrap_or_else(|| object.name.clone());
        object.bound = change.bound.unwrap_or(object.bound);
        object.end = end.unwrap_or(object.end);
        object.tags = tags;
        if resized {
            object.shown = Some(shown);
            self.tell(DiskChange::Sized { id, size });
        }
        self.changed();
        Ok(())
    }

    /// Lets clients show sizes.
    pub(super) fn show_sizes(&mut self) {
        let now = self.now;
        let due: Vec<_> = self
            .objects
            .values_mut()
            .filter(|object| object.shown.is_some_and(|shown| shown <= now))
            .map(|object| {
                object.shown = None;
                object.id
            })
            .collect();
        for id in due {
            for client in self.clients_of(id) {
                self.tell(DiskChange::Shown { client, id });
            }
        }
    }

    /// Sets a volume back to a snapshot: its global id is another one from then on, its tags are gone.
    ///
    /// # Errors
    /// `preconditionViolation` while it is attached; why it is not reverted.
    pub fn revert(&mut self, name: &str, snapshot: &str, sized: bool) -> Result<String> {
        let id = self.find(name, Kind::Volume)?;
        let to = self.find(snapshot, Kind::Snapshot)?;
        if let Some(client) = self.clients_of(id).first() {
            return Err(Refusal::precondition(format!("'{name}' is attached to client {client}")));
        }
        let size = self.objects[&to].size;
        self.next += 1;
        let global_id = self.make_global_id(self.next + 36 * 36);
        let object = self.object_mut(id)?;
        let first = object.preserved.take().unwrap_or_else(|| object.global_id.clone());
        (object.preserved, object.global_id) = (Some(first), global_id.clone());
        object.parent = Some(to);
        object.tags.clear();
        if sized {
            object.size = size;
        }
        let size = object.size;
        self.tell(DiskChange::Gone { id });
        self.tell(DiskChange::Made { id, size, from: Some(to) });
        self.changed();
        Ok(global_id)
    }

    /// Deletes a volume. Its snapshots stay.
    ///
    /// # Errors
    /// `busy` while it is attached, unless `how` says what becomes of that.
    pub fn delete(&mut self, name: &str, how: Option<&str>) -> Result<()> {
        let id = self.find(name, Kind::Volume)?;
        // No source tells what comes of the target of a volume that is deleted.
        if let Ok(target) = self.iscsi.target(id) {
            return Err(Refusal::busy(format!("'{name}' has the iSCSI target '{}'", target.name)));
        }
        match how.unwrap_or("fail") {
            "fail" => {
                if let Some(client) = self.clients_of(id).first() {
                    return Err(Refusal::busy(format!("'{name}' is attached to client {client}")));
                }
            }
            "detach" => self.drop_all(id, false)?,
            "detachForce" => self.drop_all(id, true)?,
            other => return Err(Refusal::invalid(format!("Invalid onAttached '{other}'"))),
        }
        self.objects.remove(&id);
        self.tell(DiskChange::Gone { id });
        self.changed();
        Ok(())
    }
}
