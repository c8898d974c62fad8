//! INI files as the Go library gcfg reads them: `[section "name"]`, `key = value` and `key` alone, values with quotes and
//! escapes, comments after `;` and `#`, lines that go on after a backslash. Names of sections and keys know no case.

use crate::document::{Faults, Position};

/// A section with its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// In lower case.
    pub(super) name: String,
    /// As it was written.
    pub(super) sub: Option<String>,
    pub(super) at: Position,
    pub(super) entries: Vec<Entry>,
}

/// A key with its value. The value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// In lower case.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) at: Position,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Reads all sections in the order of the file. No fault quotes a value.
pub(super) fn parse(text: &str, faults: &Faults) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let at = Position { line: index + 1, column };
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            match header(rest) {
                Some((name, sub)) => sections.push(Section { name, sub, at, entries: Vec::new() }),
                None => {
                    let what = "this is no section: write [Name] or [Name \"sub\"]";
                    faults.add(at, what.to_owned());
                    // What follows must not be taken for a part of the section before.
                    sections.push(Section { at, ..Section::default() });
                }
            }
            continue;
        }
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let (key, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_start();
        let value = match rest.strip_prefix('=') {
            _ if !key.starts_with(|c: char| c.is_ascii_alphabetic()) => Err("this is no key".to_owned()),
            Some(rest) => value(rest, &mut lines),
            None if rest.is_empty() || rest.starts_with([';', '#']) => Ok("true".to_owned()),
            None => Err("after a key comes \"=\"".to_owned()),
        };
        match (value, sections.last_mut()) {
            (Err(text), _) => faults.add(at, text),
            (Ok(_), None) => faults.add(at, "this key stands before the first section".to_owned()),
            (Ok(value), Some(section)) => {
                section.entries.push(Entry { key: key.to_ascii_lowercase(), value, at });
            }
        }
    }
    sections
}

/// What stands after `[`.
fn header(rest: &str) -> Option<(String, Option<String>)> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))?;
    let (name, rest) = rest.split_at(end);
    let mut rest = rest.trim_start();
    let mut sub = None;
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    rest = quoted.get(at + 1..)?.trim_start();
                    break;
                }
                (_, '\\') => text.push(chars.next()?.1),
                (_, c) => text.push(c),
            }
        }
        sub = Some(text);
    }
    let rest = rest.strip_prefix(']')?.trim_start();
    let sound = !name.is_empty() && (rest.is_empty() || rest.starts_with([';', '#']));
    sound.then(|| (name.to_ascii_lowercase(), sub))
}

/// What stands after `=`, on this line and on those that continue it.
fn value<'a>(first: &'a str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<String, String> {
    let mut value = String::new();
    // Blanks outside quotes at the end of the value do not count.
    let mut kept = 0;
    let mut quoted = false;
    let mut line = first.trim_start();
    'lines: loop {
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    quoted = !quoted;
                    kept = value.len();
                }
                ';' | '#' if !quoted => break 'lines,
                '\\' => match chars.next() {
                    Some('\\') => value.push('\\'),
                    Some('"') => value.push('"'),
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some(_) => {
                        return Err(
                            "a backslash stands before something other than \\, \", n or t: double it"
                                .to_owned(),
                        );
                    }
                    None => {
                        let Some((_, next)) = lines.next() else {
                            return Err("the file ends after a backslash".to_owned());
                        };
                        line = next;
                        continue 'lines;
                    }
                },
                c => value.push(c),
            }
            if quoted || !c.is_whitespace() {
                kept = value.len();
            }
        }
        break;
    }
    if quoted {
        return Err("a quote is not closed on its line".to_owned());
    }
    value.truncate(kept);
    Ok(value)
}
