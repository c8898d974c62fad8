//! What went wrong where no answer came.

use std::error::Error as StdError;
use std::io;

use reqwest::Url;
use rustls::CertificateError;

use crate::error::{Error, Kind};

use super::Trust;

/// A try without an answer.
#[derive(Debug)]
pub struct Lost {
    /// What went wrong.
    pub error: Error,
    /// Whether the cloud may have got the request.
    pub sent: bool,
    /// Whether another try would end the same.
    pub hopeless: bool,
}

impl Lost {
    /// The cloud may have got it.
    pub(super) const fn sent(error: Error) -> Self {
        Self { error, sent: true, hopeless: false }
    }

    /// The cloud may have got it, and there is no use in asking again.
    pub(super) const fn last(error: Error) -> Self {
        Self { error, sent: true, hopeless: true }
    }

    /// A label of the metrics.
    pub(super) fn class(&self) -> &'static str {
        match (self.error.kind(), self.sent, self.hopeless) {
            (Kind::Timeout, ..) => "timeout",
            (_, false, true) => "tls",
            (_, false, false) => "unreachable",
            (_, true, true) => "bad_answer",
            (_, true, false) => "lost",
        }
    }
}

/// Says what an error of the HTTP crate means.
pub(super) fn classify(error: reqwest::Error, url: &Url, trust: &Trust) -> Lost {
    let error = error.without_url();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    let unavailable = |text: String| Error::unknown(Kind::Unavailable, text);
    if let Some(tls) = find::<rustls::Error>(&error) {
        let text = match tls {
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => format!(
                "the certificate of {host}{port} is signed by no authority in {}: give the right CA file",
                trust.authorities()
            ),
            rustls::Error::InvalidCertificate(why) => {
                format!("the certificate of {host}{port} is refused: {why}")
            }
            // What came first was no TLS at all.
            rustls::Error::InvalidMessage(_) => format!(
                "{host}{port} does not speak TLS: write http instead of https, or the port at which it does"
            ),
            other => format!("TLS with {host}{port} failed: {other}"),
        };
        return Lost { error: unavailable(text), sent: !error.is_connect(), hopeless: true };
    }
    if error.is_connect() {
        let why = match find::<io::Error>(&error) {
            Some(why) => why.to_string(),
            None if error.is_timeout() => "it took too long".to_owned(),
            None => "it failed".to_owned(),
        };
        let what = if error.is_dns() { "resolve" } else { "connect to" };
        let text = format!("cannot {what} {host}{port}: {why}");
        return Lost { error: unavailable(text), sent: false, hopeless: false };
    }
    let other = url.scheme() == "http" && find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse);
    let text = match other {
        true => format!("{host}{port} does not answer in HTTP: write https instead of http if it speaks TLS"),
        false => format!("the connection to {host}{port} broke before the answer was complete"),
    };
    Lost::sent(unavailable(text).caused_by(error))
}

/// Finds a cause by its type, also inside I/O errors, which do not show what they wrap as their source.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}
