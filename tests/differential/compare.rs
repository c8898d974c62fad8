//! What differs between two answers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cloud::Answer;
use crate::script::Step;

/// Headers that count; those in the second list by their value as well.
const PRESENT: [&str; 2] = ["x-openstack-request-id", "content-type"];
const SAME: [&str; 3] = ["openstack-api-version", "vary", "retry-after"];

/// What differs, in words.
pub fn all(steps: &[Step], real: &[Answer], simulated: &[Answer]) -> Vec<String> {
    let mut found = Vec::new();
    let log_in = crate::script::call("POST", "identity", "/auth/tokens");
    let steps = std::iter::once(&log_in).chain(steps);
    for (step, (real, simulated)) in steps.zip(real.iter().zip(simulated)) {
        let differences = one(step, real, simulated);
        found.extend(differences.into_iter().map(|text| format!("{}\n    {text}", step.title())));
    }
    found
}

fn one(step: &Step, real: &Answer, simulated: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    if real.status != simulated.status {
        found.push(format!(
            "status {} and not {}: {} and not {}",
            real.status, simulated.status, real.body, simulated.body
        ));
        return found;
    }
    let there = |answer: &Answer, name| answer.header(name).is_some();
    for name in PRESENT {
        if !step.except.contains(&name) && there(real, name) != there(simulated, name) {
            found.push(format!(
                "header {name}: {:?} and not {:?}",
                real.header(name),
                simulated.header(name)
            ));
        }
    }
    for name in SAME {
        if !step.except.contains(&name) && real.header(name) != simulated.header(name) {
            found.push(format!(
                "header {name}: {:?} and not {:?}",
                real.header(name),
                simulated.header(name)
            ));
        }
    }
    let (told, other) = (message(&real.body), message(&simulated.body));
    if told != other && !step.except.contains(&"message") {
        found.push(format!("message {told:?}\n    and not {other:?}"));
    }
    let (mut real_shape, mut own) = (BTreeSet::new(), BTreeSet::new());
    shape(&real.body, String::new(), &mut real_shape);
    shape(&simulated.body, String::new(), &mut own);
    let excepted = |entry: &&String| !step.except.iter().any(|path| entry.starts_with(path));
    let missing: Vec<_> = real_shape.difference(&own).filter(excepted).cloned().collect();
    let more: Vec<_> = own.difference(&real_shape).filter(excepted).cloned().collect();
    if !missing.is_empty() || !more.is_empty() {
        found.push(format!("only real: {missing:?}\n    only simulated: {more:?}"));
    }
    found
}

/// What a fault says, without ids and times.
fn message(body: &Value) -> Option<String> {
    let fault = body.as_object().filter(|body| body.len() == 1)?.values().next()?;
    fault.get("code")?;
    let text = fault.get("message")?.as_str()?;
    let words = text.split_whitespace().map(|word| if is_id(word) { "{id}" } else { word });
    Some(words.collect::<Vec<_>>().join(" "))
}

fn is_id(word: &str) -> bool {
    let plain = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let plain = plain.strip_prefix("req-").unwrap_or(plain);
    plain.bytes().filter(u8::is_ascii_hexdigit).count() == 32
        && plain.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// The paths of a body with the types that are there. Of a list all items count together.
fn shape(value: &Value, path: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.insert(format!("{path} object"));
            for (key, value) in map {
                shape(value, format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => {
            found.insert(format!("{path} array"));
            for item in items {
                shape(item, format!("{path}/*"), found);
            }
        }
        Value::Null => drop(found.insert(format!("{path} null"))),
        Value::Bool(_) => drop(found.insert(format!("{path} bool"))),
        Value::Number(_) => drop(found.insert(format!("{path} number"))),
        Value::String(_) => drop(found.insert(format!("{path} text"))),
    }
}
