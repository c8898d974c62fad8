//! Objects in the order in which they were made, found by id.

use std::collections::{BTreeMap, HashMap};

/// Something with an id.
pub trait Row {
    /// Its id.
    fn id(&self) -> &str;
}

/// Objects of one kind.
#[derive(Debug)]
pub struct Table<T> {
    rows: BTreeMap<u64, T>,
    index: HashMap<String, u64>,
    next: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), index: HashMap::new(), next: 0 }
    }
}

impl<T: Row> Table<T> {
    /// Takes in a new one, as the youngest.
    pub fn insert(&mut self, row: T) {
        self.index.insert(row.id().to_owned(), self.next);
        self.rows.insert(self.next, row);
        self.next += 1;
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(self.index.get(id)?)
    }

    /// The one of this id, to change it.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.rows.get_mut(self.index.get(id)?)
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &str) -> Option<T> {
        self.rows.remove(&self.index.remove(id)?)
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.values()
    }

    /// All, oldest first, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.values_mut()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
