//! Which server this node is at a back end, as this process alone is told: the file is the same on all nodes.

use std::path::Path;

use super::{Outside, Overrides};
use crate::document;

const OPTION: &str = "option --server-id";
const VARIABLE: &str = "FAIRLEAD_SERVER_ID";

/// What was told, each for one back end.
pub(super) struct ServerIds(Vec<Told>);

struct Told {
    origin: String,
    backend: String,
    /// The id, or the file that holds it.
    value: String,
}

impl ServerIds {
    /// Reads the options, and the variable for the back ends of which no option tells.
    pub(super) fn read(overrides: &Overrides, outside: &Outside<'_>) -> Self {
        let mut ids = Self(Vec::new());
        for pair in &overrides.server_ids {
            ids.add(OPTION.to_owned(), pair, outside);
        }
        let options = ids.0.len();
        let variable = outside.environment.variable(VARIABLE).unwrap_or_default();
        for pair in variable.split([',', ' ', '\t', '\n']).filter(|pair| !pair.is_empty()) {
            ids.add(format!("environment variable {VARIABLE}"), pair, outside);
        }
        let variables = ids.0.split_off(options);
        let above = |told: &Told| ids.0.iter().any(|option| option.backend == told.backend);
        let below: Vec<_> = variables.into_iter().filter(|told| !above(told)).collect();
        ids.0.extend(below);
        ids
    }

    fn add(&mut self, origin: String, pair: &str, outside: &Outside<'_>) {
        let fault = |text: String| outside.faults.add_other(origin.clone(), text);
        let Some((backend, value)) = pair.split_once('=').filter(|(backend, _)| !backend.is_empty()) else {
            fault(format!("{pair:?} is not <back end>=<id of this server there, or a file with it>"));
            return;
        };
        match self.0.iter().find(|told| told.origin == origin && told.backend == backend) {
            Some(told) => fault(format!("{backend} is named twice: {:?} and {value:?}", told.value)),
            None => self.0.push(Told { origin, backend: backend.to_owned(), value: value.to_owned() }),
        }
    }

    /// The id for a back end, as its kind reads it.
    pub(super) fn of<T>(
        &self,
        backend: &str,
        outside: &Outside<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let told = self.0.iter().find(|told| told.backend == backend)?;
        let id = match told.value.starts_with('/') {
            true => first_word(Path::new(&told.value))
                .and_then(|id| parse(&id).map_err(|text| format!("{}: {text}", told.value))),
            false => parse(&told.value),
        };
        outside.judge(told.origin.clone(), id.map_err(|text| format!("{backend}: {text}")))
    }

    /// Refuses what names none of the back ends.
    pub(super) fn finish(&self, backends: &[&str], outside: &Outside<'_>) {
        for told in self.0.iter().filter(|told| !backends.contains(&told.backend.as_str())) {
            let text = format!("no back end is named {:?}: there are {}", told.backend, backends.join(", "));
            outside.faults.add_other(told.origin.clone(), text);
        }
    }
}

/// The id in a file, which no id looks like the path of.
fn first_word(file: &Path) -> Result<String, String> {
    let bytes = document::read(file).map_err(|text| format!("{}: {text}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (None, _) => Err(format!("{} is empty: it must hold the server's id", file.display())),
        (Some(_), Some(_)) => {
            Err(format!("{} holds more than one word: it must hold the server's id alone", file.display()))
        }
    }
}
