//! Why a call gave nothing: the cluster refused it, or no answer came.

use std::fmt;

use crate::backend::storpool::model::ApiError;
use crate::error::{Error, Kind, Outcome};
use crate::http::Lost;

/// The name of an error, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// There is no such volume, snapshot or template.
    Missing,
    /// The name is taken.
    Exists,
    /// It is attached, or open.
    Busy,
    /// An argument is wrong.
    Invalid,
    /// There is no room.
    Full,
    /// The state forbids it.
    Precondition,
    /// Another cluster cannot be reached.
    MultiCluster,
    /// The token is refused. Which name this has is not documented.
    Unauthorized,
    /// Nothing is done now, for the cluster does not run. Which name this has is not documented: its state tells.
    Down,
    /// Anything else.
    Other(String),
}

impl Name {
    fn parse(text: String) -> Self {
        match text.as_str() {
            "objectDoesNotExist" => Self::Missing,
            "objectExists" => Self::Exists,
            "busy" => Self::Busy,
            "invalidParam" | "jsonError" => Self::Invalid,
            "insufficientResources" => Self::Full,
            "preconditionViolation" => Self::Precondition,
            "multiCluster" => Self::MultiCluster,
            name if name.to_ascii_lowercase().contains("auth") => Self::Unauthorized,
            _ => Self::Other(text),
        }
    }
}

/// An answer that refuses.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its name.
    pub name: Name,
    /// What it says.
    pub text: String,
    /// Whether the same call may do later.
    pub transient: bool,
    operation: &'static str,
    status: u16,
}

impl Refusal {
    pub(super) fn new(error: ApiError, scrub: impl Fn(&str) -> String) -> Self {
        let line = error.descr.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = scrub(&line).chars().take(500).collect();
        Self { name: Name::parse(error.name), text, transient: error.transient, operation: "", status: 0 }
    }

    /// The same of a token that is refused, whatever the error's name.
    pub(super) fn unauthorized(mut self) -> Self {
        (self.name, self.transient) = (Name::Unauthorized, false);
        if self.text.is_empty() {
            "the token is refused".clone_into(&mut self.text);
        }
        self
    }

    pub(super) const fn of(mut self, operation: &'static str, status: u16) -> Self {
        (self.operation, self.status) = (operation, status);
        self
    }

    /// Whether its name does not say whether it is about the call, or about a cluster that does not run.
    pub(super) const fn is_odd(&self) -> bool {
        matches!(self.name, Name::Other(_) | Name::Precondition) && !self.transient
    }

    /// The same of a cluster that does not run.
    pub(super) fn down(mut self, state: &str) -> Self {
        self.name = Name::Down;
        self.text.push_str(&format!(
            "; {state}: wait for the end of the maintenance, or see \"storpool service list\""
        ));
        self
    }

    /// Whether a client has it open. An older API says so with the name of a wrong argument.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.name, Name::Busy | Name::Invalid) && self.text.contains("is open at")
    }

    /// Whether it is about a client that the cluster does not know.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.name == Name::Invalid && self.text.contains("No such client")
    }

    /// Whether it is about a client that has as many volumes as it can.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        self.name == Name::Invalid && text.contains("attachments") && text.contains("many")
    }
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum Failure {
    /// The cluster refused it.
    Refused(Refusal),
    /// No answer came, or none that can be read.
    Lost(Lost),
}

impl Failure {
    /// Whether the cluster refused it with this name.
    #[must_use]
    pub fn is(&self, name: &Name) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.name == *name)
    }

    /// What it means to the house.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Refused(refusal) => refusal.into_error(),
            Self::Lost(lost) => lost.error,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An answer that cannot be read, or a call that cannot be made.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lost(Lost { error, sent: true, hopeless: true })
    }
}

impl Refusal {
    /// What it means to the house.
    #[must_use]
    pub fn into_error(self) -> Error {
        let refusal = self;
        let (kind, outcome) = match &refusal.name {
            _ if refusal.transient => (Kind::Unavailable, Outcome::Unknown),
            _ if refusal.is_open() => (Kind::Busy, Outcome::Unknown),
            _ if refusal.is_crowded() => (Kind::ResourceExhausted, Outcome::Refused),
            Name::Missing => (Kind::NotFound, Outcome::Refused),
            Name::Exists => (Kind::AlreadyExists, Outcome::Refused),
            Name::Busy => (Kind::Busy, Outcome::Unknown),
            Name::Invalid => (Kind::InvalidArgument, Outcome::Refused),
            Name::Full => (Kind::ResourceExhausted, Outcome::Refused),
            Name::Precondition => (Kind::FailedPrecondition, Outcome::Refused),
            Name::Unauthorized => (Kind::Unauthenticated, Outcome::Unknown),
            Name::MultiCluster | Name::Down => (Kind::Unavailable, Outcome::Unknown),
            Name::Other(_) => (Kind::Internal, Outcome::Unknown),
        };
        let name = match &refusal.name {
            Name::Other(name) if !name.is_empty() => format!(" ({name})"),
            _ => String::new(),
        };
        let text = match refusal.text.as_str() {
            "" => format!("the cluster refused without saying why{name}"),
            text => format!("{text}{name}"),
        };
        let error = Error::unknown(kind, text)
            .with_outcome(outcome)
            .with("status", refusal.status)
            .during(refusal.operation);
        match &refusal.name {
            Name::Unauthorized => error.and(
                "the management API does not take the token: see that \"tokenFile\" (or SP_AUTH_TOKEN) has the one of this \
                 cluster",
            ),
            Name::MultiCluster => error.and(
                "another cluster of the location is needed for this and cannot be reached: see \"storpool cluster list\"",
            ),
            _ => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.text),
            Self::Lost(lost) => f.write_str(&lost.error.chain()),
        }
    }
}
