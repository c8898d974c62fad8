//! What goes wrong with requests, where somebody wants it to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::state::Fate;

use super::Reply;
use super::request::Request;

/// Something that goes wrong with a request. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection breaks before anything is done.
    Drop,
    /// It is done, and the connection breaks before the answer.
    LoseReply,
    /// It is done only after so long, whether or not the caller is still there.
    Late(u64),
    /// It is done at once and answered only after so long.
    SlowReply(u64),
    /// A proxy gives up at once with a 504 of HTML; it is done after so long.
    GatewayTimeout(u64),
    /// Nothing is done: this status, in the service's own form.
    Refuse(u16, String),
    /// Nothing is done: this status, with a proxy's page of HTML.
    Html(u16),
    /// Nothing is done: 429, and so many seconds to wait.
    TooMany(u64),
    /// Nothing is done: 413 as the rate limiter of old OpenStacks writes it, and so many seconds to wait.
    Throttle(u64),
    /// Nothing is done: the token is refused, as if it had expired.
    Unauthorized,
    /// It is done, and the answer breaks off in the middle.
    Truncate,
    /// It is done, and the answer is no JSON.
    Garble,
    /// It is done, and the answer has this content type.
    ContentType(String),
    /// Nothing is done: 200 with a body of so many bytes.
    Huge(u64),
    /// Nothing is done: a redirect to where it came from.
    RedirectLoop,
    /// It is done, and the work that goes on after the answer has this fate.
    Fate(Fate),
}

/// With which requests something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Their method; empty: any.
    #[serde(default)]
    pub method: String,
    /// The end of their path, ids as `{id}`: such as `/volumes` or `/volumes/{id}/action`; empty: any.
    #[serde(default)]
    pub path: String,
    /// What is in their body, such as `os-extend` or a name.
    #[serde(default)]
    pub body: String,
    /// So many of them go well first.
    #[serde(default)]
    pub skip: u64,
    /// Then it goes wrong so often.
    #[serde(default = "once")]
    pub times: u64,
    /// What goes wrong.
    pub fault: Fault,
}

const fn once() -> u64 {
    1
}

impl Rule {
    /// Once, with the next such request.
    #[must_use]
    pub fn once(method: &str, path: &str, fault: Fault) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, body: String::new(), skip: 0, times: 1, fault }
    }

    /// Once, with the next such request: its work has this fate.
    #[must_use]
    pub fn fate(method: &str, path: &str, fate: Fate) -> Self {
        Self::once(method, path, Fault::Fate(fate))
    }

    /// So often.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Only after so many of them.
    #[must_use]
    pub const fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Only with those that have this in their body.
    #[must_use]
    pub fn with_body(mut self, text: &str) -> Self {
        text.clone_into(&mut self.body);
        self
    }

    fn fits(&self, request: &Request, pattern: &str) -> bool {
        let body = || request.body.windows(self.body.len()).any(|part| part == self.body.as_bytes());
        (self.method.is_empty() || self.method == request.method.as_str())
            && pattern.ends_with(&self.path)
            && (self.body.is_empty() || body())
    }
}

/// What goes wrong from now on.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Takes in one more rule, as the last.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules of which something is left.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What goes wrong with this one, of this pattern: the first rule that fits decides.
    pub fn of(&mut self, request: &Request, pattern: &str) -> Option<Fault> {
        let at = self.rules.iter().position(|rule| rule.fits(request, pattern))?;
        let rule = &mut self.rules[at];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times = rule.times.saturating_sub(1);
        let fault = rule.fault.clone();
        if rule.times == 0 {
            self.rules.remove(at);
        }
        Some(fault)
    }
}

impl Fault {
    /// What a proxy answers instead of the service, where the fault is one of a proxy's.
    #[must_use]
    pub fn proxy(&self) -> Option<Reply> {
        match self {
            Self::Html(status) => Some(page(*status)),
            _ => None,
        }
    }

    /// What is answered without anything being done, where nothing is.
    pub(super) fn instead(&self, request: &Request) -> Option<Reply> {
        Some(match self {
            Self::Refuse(status, text) => Reply::fault(*status, text),
            Self::TooMany(seconds) => Reply::fault(429, "Too many requests").header("retry-after", seconds),
            Self::Throttle(seconds) => {
                let fault = serde_json::json!({"overLimitFault": {"code": 413,
                    "message": "This request was rate-limited.", "details": "Only 10 request(s) can be made."}});
                Reply::json(413, &fault).header("retry-after", seconds)
            }
            Self::Unauthorized => super::identity::unauthorized(request),
            Self::RedirectLoop => {
                let place = format!("{}/{}", request.root(), request.path.join("/"));
                Reply::empty(302).header("location", place)
            }
            other => return other.proxy(),
        })
    }
}

/// A page as proxies write it.
pub(super) fn page(status: u16) -> Reply {
    let text = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
                        <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    Reply::text(status, "text/html", text)
}

/// How long, in milliseconds.
pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
