//! What an order found, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// What an order found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// For programs.
    pub json: Value,
    /// For people.
    pub text: String,
    /// Whether something was found that is not as it should be, and was not mended.
    pub differences: bool,
}

impl Report {
    pub(super) fn new(json: &impl Serialize, text: String) -> Result<Self> {
        let json = serde_json::to_value(json)
            .map_err(|error| Error::internal("the result cannot be told").caused_by(error))?;
        Ok(Self { json, text, differences: false })
    }
}

/// Lines with aligned columns under a heading.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, heading, widths);
    for row in rows {
        line(&mut text, row.each_ref().map(String::as_str), widths);
    }
    text
}

fn line<const N: usize>(text: &mut String, cells: [&str; N], widths: [usize; N]) {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(widths) {
        // Writing to a String cannot fail.
        write!(line, "{cell:width$}  ").unwrap_or_default();
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// What stands in a table where there is nothing.
pub(super) fn or_none(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long one".to_owned(), or_none(None)]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME      N\na         1\nlong one  -\n");
    }
}
