//! What is wrong with a configuration: all of it, with the places.

use std::cell::RefCell;
use std::fmt;

/// A place in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// From a place in the file.
    File(String, Position),
    /// From elsewhere: an option of the command line, a variable of the environment, or the file as a whole.
    Other(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What was found and what is allowed.
    pub text: String,
}

impl fmt::Display for Fault {
    /// `file:line:column: text`, as compilers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(file, at) => write!(f, "{file}:{}:{}: {}", at.line, at.column, self.text),
            Place::Other(origin) => write!(f, "{origin}: {}", self.text),
        }
    }
}

/// Collects faults while a file is read.
#[derive(Debug)]
pub struct Faults {
    file: String,
    found: RefCell<Vec<Fault>>,
}

impl Faults {
    /// None yet, in the file of this name.
    #[must_use]
    pub const fn new(file: String) -> Self {
        Self { file, found: RefCell::new(Vec::new()) }
    }

    /// A place in the file.
    #[must_use]
    pub fn place(&self, at: Position) -> Place {
        Place::File(self.file.clone(), at)
    }

    /// Adds one at a place in the file.
    pub fn add(&self, at: Position, text: String) {
        self.found.borrow_mut().push(Fault { place: self.place(at), text });
    }

    /// Adds one that concerns the file as a whole.
    pub fn add_whole(&self, text: String) {
        self.add_other(self.file.clone(), text);
    }

    /// Adds one of a value that did not come from the file.
    pub fn add_other(&self, origin: String, text: String) {
        self.found.borrow_mut().push(Fault { place: Place::Other(origin), text });
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Fault> {
        let mut found = self.found.into_inner();
        found.sort();
        found
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }
}
