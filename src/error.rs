//! The one error type of the house.
//!
//! An [`Error`] says what kind of fault it is, whether something may still exist or appear because of the
//! failed call ([`Outcome`]), what was being done, to which objects, and why. Only the CSI edge turns it into
//! a gRPC status.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of every fallible call in the house.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of fault an [`Error`] is. The CSI edge maps each (kind, outcome, rpc) to one gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The caller asked for something that can never be valid.
    InvalidArgument,
    /// The object asked about does not exist.
    NotFound,
    /// An object of this name or at this path exists and differs from what is asked for.
    AlreadyExists,
    /// The state of the object forbids the call; the caller must change that state first.
    FailedPrecondition,
    /// A quota, a per-server cap or the space is used up.
    ResourceExhausted,
    /// A size or offset lies outside what is possible here.
    OutOfRange,
    /// The back end or the driver cannot do this at all.
    Unsupported,
    /// The credentials are good but do not allow this.
    PermissionDenied,
    /// The credentials are bad.
    Unauthenticated,
    /// Another operation holds the object; the same call will do later.
    Busy,
    /// A listing token does not name a place in the listing (any more).
    BadToken,
    /// A deadline passed.
    Timeout,
    /// The back end, or a part of this machine, cannot be reached at present.
    Unavailable,
    /// A fault of this driver or of something it relies on.
    Internal,
}

impl Kind {
    /// Every kind, for tables and their tests.
    pub const ALL: [Self; 14] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::OutOfRange,
        Self::Unsupported,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::Busy,
        Self::BadToken,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];
}

/// What a failed call left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is known that nothing exists and nothing will appear because of this call or an earlier try of it.
    /// Only this may become a final gRPC code.
    Refused,
    /// An answer was lost, or work may still be going on. The default, because it is the safe belief.
    Unknown,
}

/// An error: kind, outcome, operation, message, the objects concerned and the cause.
///
/// `Display` is one line and never holds the cause; [`Error::chain`] gives the whole chain for the one log
/// line at the edge.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    outcome: Outcome,
    operation: Option<&'static str>,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error whose outcome is [`Outcome::Unknown`].
    pub fn unknown(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome: Outcome::Unknown,
            operation: None,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// An error whose outcome is [`Outcome::Refused`]: nothing exists or will appear.
    pub fn refused(kind: Kind, message: impl Into<String>) -> Self {
        Self::unknown(kind, message).with_outcome(Outcome::Refused)
    }

    /// Shorthand for a refusal of the caller's arguments.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::refused(Kind::InvalidArgument, message)
    }

    /// Shorthand for an object that is known not to exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::refused(Kind::NotFound, message)
    }

    /// Shorthand for a state that forbids the call.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::refused(Kind::FailedPrecondition, message)
    }

    /// Shorthand for another operation holding the object.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::unknown(Kind::Busy, message)
    }

    /// Shorthand for a fault of ours whose outcome is not known.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::unknown(Kind::Internal, message)
    }

    /// An I/O error while doing `what` (say "write /x/y"). A full disk or quota becomes
    /// [`Kind::ResourceExhausted`]; the outcome stays [`Outcome::Unknown`] until the caller has cleaned up.
    pub fn io(what: impl Into<String>, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::ResourceExhausted,
            io::ErrorKind::TimedOut => Kind::Timeout,
            io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
            _ => Kind::Internal,
        };
        Self::unknown(kind, format!("cannot {}", what.into())).caused_by(error)
    }

    /// The same error with another outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// The same error with another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error with more to say, after a semicolon.
    #[must_use]
    pub fn and(mut self, more: impl fmt::Display) -> Self {
        self.0.message = format!("{}; {more}", self.0.message);
        self
    }

    /// Names the operation that failed. The innermost name stays.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Adds a context pair such as `("volume", id)`. Never a secret, never a mount flag.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if !self.0.context.iter().any(|(known, _)| *known == key) {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The kind of fault.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether something may have been left behind.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The message alone, without operation, context and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the object asked about is known not to exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.kind == Kind::NotFound
    }

    /// The whole chain, outermost first, joined by `: `. For logs.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}: {}", self.0.kind, self.0.outcome, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_without_the_cause_and_chain_has_it_once() {
        let error = Error::io("write /a/b", io::Error::other("disk gone"))
            .during("create volume")
            .with("volume", "here/pvc-1")
            .with("volume", "ignored: the innermost value stays");
        assert_eq!(error.to_string(), "create volume: cannot write /a/b (volume=here/pvc-1)");
        assert_eq!(error.chain(), "create volume: cannot write /a/b (volume=here/pvc-1): disk gone");
        assert_eq!((error.kind(), error.outcome()), (Kind::Internal, Outcome::Unknown));
    }

    #[test]
    fn a_full_disk_is_exhaustion_but_not_yet_a_refusal() {
        let error = Error::io("grow image", io::Error::from_raw_os_error(28));
        assert_eq!((error.kind(), error.outcome()), (Kind::ResourceExhausted, Outcome::Unknown));
    }
}
