//! Volumes that come from another cluster of the location, or go there.

use super::{Cluster, DiskChange, Kind, Object, Refusal, Result};

impl Cluster {
    /// The clients that have something.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub(crate) fn holders(&self, name: &str, kind: Kind) -> Result<Vec<u16>> {
        self.find(name, kind).map(|id| self.clients_of(id))
    }

    /// Hands out something that nobody has.
    ///
    /// # Errors
    /// `objectDoesNotExist`; `busy` where it has a target.
    pub(crate) fn give_away(&mut self, name: &str, kind: Kind) -> Result<Object> {
        let id = self.find(name, kind)?;
        // No source tells what comes of its target.
        if let Ok(target) = self.iscsi.target(id) {
            return Err(Refusal::busy(format!("'{name}' has the iSCSI target '{}'", target.name)));
        }
        let object = self.objects.remove(&id).ok_or_else(|| Refusal::missing("The object does not exist"))?;
        self.tell(DiskChange::Gone { id });
        self.changed();
        Ok(object)
    }

    /// Takes something in, with all that it is known by in the location.
    ///
    /// # Errors
    /// `objectExists` where something here has its name.
    pub(crate) fn take_in(&mut self, object: Object) -> Result<()> {
        if let Some(name) = &object.name {
            self.check_free(name)?;
        }
        self.next += 1;
        let id = self.next;
        self.tell(DiskChange::Made { id, size: object.size, from: None });
        // What it was made from stays where it is.
        self.objects.insert(id, Object { id, parent: None, ..object });
        self.changed();
        Ok(())
    }
}
