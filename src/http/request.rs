//! What is sent.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Error, Result};

/// How long a call may take when nothing else is said, with all its repetitions.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request. Its headers and body may hold secrets, so `Debug` shows neither.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
    pub(super) timeout: Duration,
    pub(super) repeatable: bool,
    settling: Vec<&'static str>,
    /// Whether the body or the answer is made of secrets, so that the answer must not be quoted.
    pub(super) confidential: bool,
    pub(super) secrets: Vec<SecretString>,
    headers: HeaderMap,
    body: Option<SecretString>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &super::shown(&self.url))
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request of `service` (a name from a small set: it labels metrics and has its own [`super::Throttle`]) for the
    /// sake of `operation` (likewise).
    #[must_use]
    pub fn new(method: Method, url: Url, service: &'static str, operation: &'static str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let repeatable = method != Method::POST && method != Method::PATCH;
        Self {
            method,
            url,
            service,
            operation,
            timeout: TIMEOUT,
            repeatable,
            settling: Vec::new(),
            confidential: false,
            secrets: Vec::new(),
            headers,
            body: None,
        }
    }

    /// Gives it another deadline, counted from when it is sent, repetitions included.
    #[must_use]
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Allows a repetition although an earlier try may have been carried out. GET, PUT and DELETE are repeatable by
    /// themselves; a POST only where twice is as good as once. Any request is repeated where it is certain that it
    /// was not carried out: nothing was sent, or it was turned away by a rate limit.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Ends the repetitions at an answer with these words, although its status is that of a rate limit.
    #[must_use]
    pub fn settled_by(mut self, words: &'static str) -> Self {
        self.settling.push(words);
        self
    }

    /// Whether an answer's body has such words.
    pub(super) fn is_settled_by(&self, body: &[u8]) -> bool {
        let text = String::from_utf8_lossy(body);
        self.settling.iter().any(|words| text.contains(words))
    }

    /// Adds a header.
    ///
    /// # Errors
    /// `Internal` where the value cannot stand in a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::internal(format!("the header {name} cannot have this value")))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Adds a header whose value is a secret.
    ///
    /// # Errors
    /// `Internal` where the value cannot stand in a header; the text does not have it.
    pub fn secret_header(mut self, name: &'static str, value: &SecretString) -> Result<Self> {
        let mut header = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| Error::internal(format!("the secret header {name} cannot have its value")))?;
        header.set_sensitive(true);
        self.headers.insert(HeaderName::from_static(name), header);
        self.secrets.push(value.clone());
        Ok(self)
    }

    /// Sets the body, JSON.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = Some(body.to_string().into());
        self
    }

    /// Sets a body that holds secrets, JSON.
    #[must_use]
    pub fn secret_json(mut self, body: &serde_json::Value, secrets: &[&SecretString]) -> Self {
        self.secrets.extend(secrets.iter().map(|secret| (*secret).clone()));
        self.confidential().json(body)
    }

    /// Says that the answer may hold secrets that the request has not, so that no message quotes any of it.
    #[must_use]
    pub const fn confidential(mut self) -> Self {
        self.confidential = true;
        self
    }

    /// Whether it may change something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.method.is_safe()
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    pub(super) fn body(&self) -> Option<String> {
        self.body.as_ref().map(|body| body.expose_secret().to_owned())
    }
}
