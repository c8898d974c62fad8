//! What came back.

use std::fmt;

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

use super::{Request, retry};

/// The largest body that is read, in bytes: several times a page of a thousand volumes with all details.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// How much of an answer that was not understood is quoted, in characters.
const EXCERPT: usize = 160;
/// Shorter ones are no secrets, and taking them out would tear words apart.
const SHORTEST_SECRET: usize = 4;
/// The headers in which clouds and their proxies give a request its id, best first.
const REQUEST_IDS: [&str; 4] =
    ["x-openstack-request-id", "x-compute-request-id", "x-request-id", "x-trans-id"];

/// An answer, whatever its status.
pub struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    request: Request,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) const fn new(status: u16, headers: HeaderMap, body: Vec<u8>, request: Request) -> Self {
        Self { status, headers, body, request }
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is of the 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// A header, where it is there once and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The id that the cloud gave this request, by which its operators find it in their logs.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        REQUEST_IDS.iter().find_map(|name| self.header(name)).filter(|id| {
            id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()) && self.scrub(id) == *id
        })
    }

    /// How long the cloud asks to wait; `None` where it does not say, or says nothing that can be read. Bounded.
    #[must_use]
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        retry::after(self.headers.get(RETRY_AFTER)?.to_str().ok()?, std::time::SystemTime::now())
    }

    /// The time at the other side, for what its times are compared with; this machine's where it does not say.
    #[must_use]
    pub fn date(&self) -> std::time::SystemTime {
        let told = self.header(DATE.as_str()).and_then(|text| httpdate::parse_http_date(text).ok());
        told.unwrap_or_else(std::time::SystemTime::now)
    }

    /// Whether its words say that a repetition is in vain.
    pub(super) fn settles(&self) -> bool {
        self.request.is_settled_by(&self.body)
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// `Internal` where it is no JSON (say, a proxy's HTML page or cut short) or of another form, with an excerpt. The
    /// outcome is unknown: whatever was asked for may have been done.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let kind = self.header(CONTENT_TYPE.as_str());
        if let Some(kind) = kind.filter(|kind| !kind.to_ascii_lowercase().contains("json")) {
            return Err(self.fault(format!("answered with {kind:?} instead of JSON{}", self.excerpt())));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Eof => "was cut short",
                serde_json::error::Category::Data => "has another form than expected",
                _ => "is no JSON",
            };
            // The parser's own text may quote a value.
            let place = format!("line {} column {}", error.line(), error.column());
            self.fault(format!("the answer {what} ({place}){}", self.excerpt()))
        })
    }

    /// An error about this answer, with the cloud's request id. Unknown outcome, kind `Internal`.
    #[must_use]
    pub fn fault(&self, text: impl Into<String>) -> Error {
        let error = Error::unknown(Kind::Internal, self.scrub(&text.into())).with("status", self.status);
        let error = match self.request_id() {
            Some(id) => error.with("request", id),
            None => error,
        };
        error.with("service", self.request.service).during(self.request.operation)
    }

    /// A text without the secrets that the request had.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let secrets = self.request.secrets.iter().map(|secret| secret.expose_secret());
        secrets
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "<redacted>"))
    }

    /// `: ` and the beginning of the body in one line, for messages; empty where there is nothing to show, or where the
    /// body may hold a secret in a form that is not recognised.
    #[must_use]
    pub fn excerpt(&self) -> String {
        if self.request.confidential {
            return String::new();
        }
        // Scrubbed before it is cut, so that no half of a secret is left.
        let head = self.body.get(..self.body.len().min(64 * 1024)).unwrap_or_default();
        let text = self.scrub(&String::from_utf8_lossy(head));
        let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let cut: String = line.chars().take(EXCERPT).collect();
        match (cut.is_empty(), cut.len() < line.len()) {
            (true, _) => String::new(),
            (false, true) => format!(": {cut:?}..."),
            (false, false) => format!(": {cut:?}"),
        }
    }

    /// Its status as a label of the metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self.status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            401 => "401",
            404 => "404",
            409 => "409",
            413 => "413",
            429 => "429",
            400..=499 => "4xx",
            503 => "503",
            _ => "5xx",
        }
    }
}

/// Why a body could not be read.
pub(super) enum Fault {
    Broken(reqwest::Error),
    TooLarge,
}

/// Reads the body, never more than [`MAX_BODY`] and one chunk.
pub(super) async fn read(response: &mut Response) -> Result<Vec<u8>, Fault> {
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return Err(Fault::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Fault::Broken)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
