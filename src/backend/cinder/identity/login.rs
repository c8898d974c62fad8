//! Logging in, whatever the version.

use std::time::Duration;

use serde_json::Value;

use crate::backend::cinder::credentials::{Credentials, Version};
use crate::error::{Error, Kind, Result};
use crate::http::{Answer, Http, Method, Request, Url};

use super::{Token, v2, v3};

/// How long a log-in may take. Password hashes are slow on purpose, and many clients may log in at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A new token for these credentials.
///
/// # Errors
/// `Unauthenticated` where they are refused; else why the identity service cannot be used.
pub(super) async fn login(http: &Http, credentials: &Credentials) -> Result<Token> {
    let answer = http.send(&request(credentials)?).await?;
    match (answer.is_success(), credentials.version) {
        (true, Version::V3) => v3::token(&answer),
        (true, Version::V2) => v2::token(&answer),
        (false, _) => Err(refusal(&answer, &credentials.auth_url)),
    }
}

fn request(credentials: &Credentials) -> Result<Request> {
    let (body, secret, path) = match credentials.version {
        Version::V3 => {
            let (body, secret) = v3::body(credentials)?;
            (body, secret, "/auth/tokens")
        }
        Version::V2 => {
            let (body, secret) = v2::body(credentials)?;
            (body, secret, "/tokens")
        }
    };
    let mut url = credentials.auth_url.clone();
    url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    let request = Request::new(Method::POST, url, "identity", "log in").within(TIMEOUT);
    // Twice makes two tokens, of which one is forgotten.
    Ok(request.repeatable().secret_json(&body, &[secret]))
}

fn refusal(answer: &Answer, url: &Url) -> Error {
    let said = message(answer).map(|text| format!(": {text}")).unwrap_or_default();
    let (kind, text) = match answer.status() {
        401 => (Kind::Unauthenticated, format!("the identity service refuses these credentials{said}")),
        403 => (
            Kind::Unauthenticated,
            format!("the identity service does not let this user in (is a second factor asked for?){said}"),
        ),
        404 => (
            Kind::FailedPrecondition,
            format!(
                "no identity service of this version is at {}{}{said}",
                url.origin().ascii_serialization(),
                url.path()
            ),
        ),
        413 | 429 => (Kind::Unavailable, format!("the identity service is asked too often{said}")),
        400..=499 => {
            (Kind::FailedPrecondition, format!("the identity service does not accept the log-in{said}"))
        }
        _ => (Kind::Unavailable, format!("the identity service cannot be used now{said}")),
    };
    answer.fault(text).with_kind(kind)
}

/// What a fault of the identity service says. A fault has its name as the only key: `error`, `unauthorized`, ...
fn message(answer: &Answer) -> Option<String> {
    let Value::Object(fault) = answer.json().ok()? else { return None };
    fault.values().find_map(|fault| Some(fault.get("message")?.as_str()?.to_owned()))
}
