//! An answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::state::{Refusal, Why};

/// An answer as it is sent.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What comes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This.
    Now(Reply),
    /// This, after a while.
    After(Duration, Reply),
    /// It must be asked again when something has changed.
    Wait,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

impl Reply {
    /// Without a body, as most methods have it.
    pub(super) fn empty(status: u16) -> Self {
        Self::text(status, "text/html; charset=UTF-8", "")
    }

    /// Without a body, as actions have it.
    pub(super) fn json_empty(status: u16) -> Self {
        Self::text(status, "application/json", "")
    }

    /// The page of what has no route.
    pub(super) fn no_route() -> Self {
        let page = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  \
                    The resource could not be found.<br /><br />\n\n\n\n </body>\n</html>";
        Self::text(404, "text/html; charset=UTF-8", page)
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(super) fn text(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: body.into() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// A fault as Cinder and Nova write it (cinder/api/openstack/wsgi.py, Fault).
    pub(super) fn fault(code: u16, message: &str) -> Self {
        let name = match code {
            400 => "badRequest",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "itemNotFound",
            405 => "badMethod",
            409 => "conflictingRequest",
            413 | 429 => "overLimit",
            415 => "badMediaType",
            501 => "notImplemented",
            503 => "serviceUnavailable",
            _ => "computeFault",
        };
        let mut fault = json!({"code": code, "message": message});
        if code == 413 {
            fault["retryAfter"] = json!("0");
        }
        let reply = Self::json(code, &json!({ name: fault }));
        if code == 413 { reply.header("retry-after", 0) } else { reply }
    }
}

/// The status of a refusal.
pub(super) const fn code(why: Why) -> u16 {
    match why {
        Why::Invalid => 400,
        Why::Forbidden => 403,
        Why::Missing => 404,
        Why::Conflict => 409,
        Why::OverQuota => 413,
        Why::Unsupported => 501,
        Why::Unavailable => 503,
        Why::Broken => 500,
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::fault(code(refusal.why), &refusal.text)
    }
}
