//! From an answer that refuses to an error.
//!
//! Only a refusal in OpenStack's own form is believed: a proxy's 404 does not mean that a volume is gone.

use serde_json::Value;

use crate::backend::cinder::dialect::Dialect;
use crate::error::{Error, Kind, Outcome, Result};
use crate::http::Answer;

/// What Cinder and Nova begin their message with where an object's state forbids the call.
const STATES: [&str; 6] = [
    "Invalid volume:",
    "Invalid snapshot:",
    "Invalid backup:",
    "Invalid Group:",
    "Invalid GroupSnapshot:",
    "Invalid input received: Invalid volume:",
];
/// What Nova and Cyclades say where a server has all the disks that it can have.
const DISKS: [&str; 2] =
    ["maximum allowed number of disk devices", "Maximum volumes per server limit reached"];

/// The answer, where it is none of the refusals of this kind of cloud.
///
/// # Errors
/// The refusal, with what the cloud said and its request id.
pub(super) fn judge(answer: Answer, dialect: &Dialect) -> Result<Answer> {
    if answer.is_success() { Ok(answer) } else { Err(refusal(&answer, dialect)) }
}

fn refusal(answer: &Answer, dialect: &Dialect) -> Error {
    let status = answer.status();
    let Some(message) = message(answer) else {
        let (kind, why) = match status {
            401 => (Kind::Unauthenticated, "a new token is refused as well"),
            _ => (Kind::Unavailable, "something before the service answered"),
        };
        return answer.fault(format!("status {status}: {why}{}", answer.excerpt())).with_kind(kind);
    };
    if let Some((kind, outcome)) = dialect.meaning(status, &message) {
        return answer.fault(message).with_kind(kind).with_outcome(outcome);
    }
    let throttled = status == 429 || answer.retry_after().is_some_and(|wait| !wait.is_zero());
    let (kind, outcome) = match status {
        400 | 403 if DISKS.iter().any(|full| message.contains(full)) => {
            (Kind::ResourceExhausted, Outcome::Refused)
        }
        400 if STATES.iter().any(|state| message.starts_with(state)) => {
            (Kind::FailedPrecondition, Outcome::Refused)
        }
        400 => (Kind::InvalidArgument, Outcome::Refused),
        401 => (Kind::Unauthenticated, Outcome::Unknown),
        403 if message.contains("Quota exceeded") => (Kind::ResourceExhausted, Outcome::Refused),
        403 => (Kind::PermissionDenied, Outcome::Refused),
        404 => (Kind::NotFound, Outcome::Refused),
        405 | 406 | 501 => (Kind::Unsupported, Outcome::Refused),
        409 => (Kind::Busy, Outcome::Unknown),
        412 => (Kind::FailedPrecondition, Outcome::Refused),
        413 | 429 if throttled => (Kind::Unavailable, Outcome::Unknown),
        413 => (Kind::ResourceExhausted, Outcome::Refused),
        408 | 500.. => (Kind::Unavailable, Outcome::Unknown),
        _ => (Kind::Internal, Outcome::Unknown),
    };
    answer.fault(message).with_kind(kind).with_outcome(outcome)
}

/// What a fault says. It has its name as the only key: `badRequest`, `itemNotFound`, `overLimit`, ...
fn message(answer: &Answer) -> Option<String> {
    let Value::Object(body) = answer.json().ok()? else { return None };
    let text = body.values().find_map(|fault| fault.get("message")?.as_str())?;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(line.chars().take(500).collect::<String>()).filter(|line| !line.is_empty())
}
