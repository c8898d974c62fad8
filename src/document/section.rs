//! Reads a mapping key by key. Every key that is asked for is a known key; the rest is refused at the end.

use crate::volume::nearest;

use super::fault::{Faults, Position};
use super::yaml::{Entry, Node, Value};

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Position,
}

/// A mapping that is being read.
#[derive(Debug)]
pub struct Section<'a> {
    /// Its path from the top, with a dot at the end; empty at the top.
    path: String,
    at: Position,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    faults: &'a Faults,
}

impl<'a> Section<'a> {
    /// Begins to read a node, which must be a mapping.
    pub fn new(path: &str, node: &'a Node, faults: &'a Faults) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            let what = if path.is_empty() { "the file".to_owned() } else { format!("{path:?}") };
            faults
                .add(node.at, format!("{what} must be a mapping of keys to values, not {}", node.describe()));
            return None;
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        Some(Self { path, at: node.at, entries, known: Vec::new(), faults })
    }

    /// Where the mapping begins.
    #[must_use]
    pub const fn at(&self) -> Position {
        self.at
    }

    /// The full name of a key, for faults.
    #[must_use]
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The value of a key, if it is there and not null.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let node = &self.entries.iter().find(|entry| entry.key == key)?.node;
        if node.is_null() {
            self.faults.add(
                node.at,
                format!("{:?} has no value: give it one, or leave the key out", self.name(key)),
            );
            return None;
        }
        Some(node)
    }

    /// The mapping under a key, if it is there.
    pub fn section(&mut self, key: &'static str) -> Option<Self> {
        let node = self.node(key)?;
        Section::new(&self.name(key), node, self.faults)
    }

    /// The text under a key, if it is there. What YAML reads as a number or a truth value is no text without quotes.
    pub fn text(&mut self, key: &'static str) -> Option<Found<&'a str>> {
        let node = self.node(key)?;
        text(&self.name(key), node, self.faults)
    }

    /// The value under a key, parsed from its text by `parse`, which says what is wrong.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let found = self.text(key)?;
        self.judge(key, found.at, parse(found.value))
    }

    /// The value under a key, parsed from a number or a text.
    pub fn number_or_text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let node = self.node(key)?;
        let Value::Scalar { text, .. } = &node.value else {
            self.faults
                .add(node.at, format!("{:?} must be one value, not {}", self.name(key), node.describe()));
            return None;
        };
        self.judge(key, node.at, parse(text))
    }

    /// The number under a key, without quotes, parsed by `parse`, which says what is wrong.
    pub fn number<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Scalar { text, plain: true } => self.judge(key, node.at, parse(text)),
            _ => {
                self.faults
                    .add(node.at, format!("{:?} must be a number, not {}", self.name(key), node.describe()));
                None
            }
        }
    }

    /// The texts of the list under a key, if it is there.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Found<&'a str>>> {
        let node = self.node(key)?;
        let name = self.name(key);
        let Value::Sequence(items) = &node.value else {
            self.faults.add(node.at, format!("{name:?} must be a list, not {}", node.describe()));
            return None;
        };
        Some(items.iter().filter_map(|item| text(&name, item, self.faults)).collect())
    }

    /// The texts under a key that is a list or, for one alone, a text.
    pub fn texts_or_text(&mut self, key: &'static str) -> Option<Vec<Found<&'a str>>> {
        match self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node.value) {
            Some(Value::Sequence(_)) => self.texts(key),
            _ => self.text(key).map(|found| vec![found]),
        }
    }

    /// The entries of a mapping whose keys are the user's own.
    pub fn entries(&mut self, key: &'static str) -> Option<&'a [Entry]> {
        Some(self.section(key)?.into_entries())
    }

    /// Whether the key is there, with whatever value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All entries, for a mapping whose keys are the user's own.
    #[must_use]
    pub fn into_entries(self) -> &'a [Entry] {
        self.entries
    }

    /// Adds a fault at the value of a key that was found to be there, or at the mapping.
    pub fn fault(&self, at: Position, text: String) {
        self.faults.add(at, text);
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, self.known.iter().copied())
                .map(|near| format!(" (did you mean {near:?}?)"))
                .unwrap_or_default();
            let name = self.name(&entry.key);
            self.faults.add(
                entry.at,
                format!("the key {name:?} is not known{near}: known here are {}", self.known.join(", ")),
            );
        }
    }

    fn judge<T>(&self, key: &str, at: Position, result: Result<T, String>) -> Option<Found<T>> {
        match result {
            Ok(value) => Some(Found { value, at }),
            Err(text) => {
                self.faults.add(at, format!("{:?}: {text}", self.name(key)));
                None
            }
        }
    }
}

/// The text of a node; a fault where it is none.
pub fn text<'a>(name: &str, node: &'a Node, faults: &Faults) -> Option<Found<&'a str>> {
    match &node.value {
        Value::Scalar { text, plain } if !(*plain && is_other(text)) => {
            Some(Found { value: text, at: node.at })
        }
        Value::Scalar { text, plain: true } if !node.is_null() => {
            faults.add(
                node.at,
                format!("{name:?} must be a text, and YAML reads {text} as another type: put it in quotes"),
            );
            None
        }
        _ => {
            faults.add(node.at, format!("{name:?} must be a text, not {}", node.describe()));
            None
        }
    }
}

/// Whether YAML's core schema reads a plain scalar as a number, a truth value or null.
fn is_other(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
        || matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
        || text.parse::<f64>().is_ok_and(f64::is_finite)
        || text.strip_prefix("0x").is_some_and(|hex| u64::from_str_radix(hex, 16).is_ok())
        || text.strip_prefix("0o").is_some_and(|octal| u64::from_str_radix(octal, 8).is_ok())
}
