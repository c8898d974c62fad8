//! The table of values in the chart's README, made from values.yaml and its comments.

use std::path::Path;

use libtest_mimic::Failed;

use crate::files::same;
use crate::helm::ROOT;

const PATH: &str = "charts/fairlead/README.md";
const BEGIN: &str = "<!-- Made from values.yaml by `make manifests`. -->\n";
const END: &str = "<!-- End of the table. -->\n";

pub fn up_to_date() -> Result<(), Failed> {
    let read = |path: &str| std::fs::read_to_string(Path::new(ROOT).join(path));
    let (readme, values) = (read(PATH)?, read("charts/fairlead/values.yaml")?);
    let (before, rest) = readme.split_once(BEGIN).ok_or("the README has no place for the table")?;
    let (_, after) = rest.split_once(END).ok_or("the README's table has no end")?;
    same(PATH, &format!("{before}{BEGIN}{}{END}{after}", table(&values)))
}

/// A row for each key that has a value of its own. Its comment stands right above it.
fn table(values: &str) -> String {
    let mut rows = String::from("\n| key | default | meaning |\n|---|---|---|\n");
    let mut outer: Vec<(usize, &str)> = Vec::new();
    let mut comment = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let comment = std::mem::take(&mut comment).join(" ").replace('|', "\\|");
        let Some((key, value)) = text.split_once(':') else {
            assert!(text.is_empty(), "values.yaml: {line:?} is neither a key nor a comment");
            continue;
        };
        let indent = line.len() - text.len();
        outer.retain(|(other, _)| *other < indent);
        outer.push((indent, key));
        let path: Vec<_> = outer.iter().map(|(_, key)| *key).collect();
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        assert!(!comment.is_empty(), "values.yaml: {} has no comment", path.join("."));
        rows += &format!("| `{}` | `{value}` | {comment} |\n", path.join("."));
    }
    rows + "\n"
}
