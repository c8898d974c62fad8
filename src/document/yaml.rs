//! From YAML text to a tree of nodes that know where they stand.
//!
//! Only what a settings file needs: mappings, sequences, scalars. Anchors, aliases, tags, merge keys and second
//! documents are refused rather than half understood. Size and depth are bounded, so a bad file cannot hurt.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::fault::{Faults, Position};

/// Settings nest five deep; far deeper is a mistake or an attack on the stack.
const MAX_DEPTH: usize = 32;

/// A value with the place where it begins.
#[derive(Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub value: Value,
}

/// What a node can be.
#[derive(Debug)]
pub enum Value {
    /// A text, number or other single value. `plain`: written without quotes.
    Scalar {
        /// As it was written, with quotes and escapes resolved.
        text: String,
        /// Without quotes, so that it may be a number, a truth value or null.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Pairs in the order of the file; each key once.
    Mapping(Vec<Entry>),
}

/// A key of a mapping, with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Position,
    /// The value.
    pub node: Node,
}

impl Node {
    /// What it is, in the words of a fault.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Scalar { text, plain: true } if is_null(text) => "nothing".to_owned(),
            Value::Scalar { text, plain: true } => format!("{text:?}"),
            Value::Scalar { text, plain: false } => format!("the quoted text {text:?}"),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }

    /// Whether nothing was written here (an empty value, `~` or `null`).
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if is_null(text))
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A collection that is being filled.
enum Open {
    Sequence { at: Position, items: Vec<Node> },
    Mapping { at: Position, entries: Vec<Entry>, key: Option<(Option<String>, Position)> },
}

/// Parses one document. `None` where it is empty or cannot be parsed at all; what is wrong is among the faults.
pub fn parse(text: &str, faults: &Faults) -> Option<Node> {
    let mut reader = Reader { stack: Vec::new(), root: None, faults };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    loop {
        let (event, span) = match parser.next_event()? {
            Ok(next) => next,
            Err(error) => {
                // Past a syntax error the text has no structure, so nothing after it can be judged.
                faults.add(position(*error.marker()), format!("this is no YAML: {}", error.info()));
                return None;
            }
        };
        match event {
            Event::StreamEnd => return reader.root,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    faults.add(
                        position(span.start),
                        "a second document begins here: write one document".to_owned(),
                    );
                    return reader.root;
                }
            }
            event => {
                if !reader.take(event, span) {
                    return None;
                }
            }
        }
    }
}

struct Reader<'a> {
    stack: Vec<Open>,
    root: Option<Node>,
    faults: &'a Faults,
}

impl Reader<'_> {
    /// Takes an event in; `false` where reading on makes no sense.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = position(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                self.place(Node { at, value: Value::Scalar { text: text.into_owned(), plain } });
            }
            Event::Alias(_) => {
                self.faults.add(at, "an alias (*) is not supported: write the value out".to_owned());
                self.place(Node { at, value: Value::Scalar { text: String::new(), plain: true } });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                self.stack.push(Open::Sequence { at, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                self.stack.push(Open::Mapping { at, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Open::Sequence { at, items }) => self.place(Node { at, value: Value::Sequence(items) }),
                Some(Open::Mapping { at, entries, .. }) => {
                    self.place(Node { at, value: Value::Mapping(entries) });
                }
                None => {}
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        if self.stack.len() > MAX_DEPTH {
            self.faults.add(at, format!("this nests deeper than {MAX_DEPTH} levels"));
            return false;
        }
        true
    }

    fn refuse(&self, at: Position, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.faults
                .add(at, "an anchor (&) is not supported: write the value out where it is used".to_owned());
        }
        if tagged {
            self.faults.add(at, "a tag (!) is not supported: write the plain value".to_owned());
        }
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                None => {
                    let text = match node.value {
                        Value::Scalar { text, .. } => Some(text),
                        Value::Sequence(_) | Value::Mapping(_) => {
                            self.faults.add(node.at, "a key must be a plain word".to_owned());
                            None
                        }
                    };
                    *key = Some((text, node.at));
                }
                // The key has been reported; its value has no place.
                Some((None, _)) => {}
                Some((Some(text), at)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                        let line = first.at.line;
                        self.faults.add(at, format!("the key {text:?} is here twice: first in line {line}"));
                    } else {
                        entries.push(Entry { key: text, at, node });
                    }
                }
            },
        }
    }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}
