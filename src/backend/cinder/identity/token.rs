//! What a log-in brings.

use std::fmt;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::time::Instant;

use super::Catalog;

/// So long before its end a token is renewed, or after nine tenths of its life where that is later.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// What a lifetime is taken to be at most, so that no arithmetic overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A token with what it is good for.
pub struct Token {
    /// What goes into each call's header.
    pub secret: SecretString,
    /// The project that it is scoped to.
    pub project: Option<String>,
    /// The services.
    pub catalog: Catalog,
    life: Life,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("project", &self.project).finish_non_exhaustive()
    }
}

/// How long a token is good, by this machine's own clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) begun: Instant,
    renew: Option<Instant>,
    end: Option<Instant>,
}

impl Life {
    /// From the two times that the cloud tells. Only their distance counts, because clocks differ. Without an end, it is
    /// found out by a refusal.
    pub(super) fn new(issued: SystemTime, expires: Option<SystemTime>) -> Self {
        let begun = Instant::now();
        let Some(expires) = expires else { return Self { begun, renew: None, end: None } };
        let length = expires.duration_since(issued).unwrap_or_default().min(LONGEST);
        let early = EARLY.min(length / 10);
        Self { begun, renew: Some(begun + (length - early)), end: Some(begun + length) }
    }
}

impl Token {
    pub(super) const fn new(
        secret: SecretString,
        project: Option<String>,
        catalog: Catalog,
        life: Life,
    ) -> Self {
        Self { secret, project, catalog, life }
    }

    /// Whether it need not be renewed yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.life.renew.is_none_or(|renew| Instant::now() < renew)
    }

    /// Whether it is still good.
    pub(super) fn is_good(&self) -> bool {
        self.life.end.is_none_or(|end| Instant::now() < end)
    }

    /// Since when it has been there.
    pub(super) fn age(&self) -> Duration {
        self.life.begun.elapsed()
    }
}
