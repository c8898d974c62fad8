//! One log-in for a whole cloud: a token that all calls share, the catalog that came with it, and what the services
//! can do.
//!
//! A [`Session`] belongs to a back end and lasts as long as it. It holds an [`Access`]: one set of credentials in use,
//! with its connections, token and endpoints. Changed credentials make a new access, which takes the place of the old
//! one only after it has logged in.

mod access;
mod catalog;
mod login;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod v2;
mod v3;
mod versions;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use access::Access;
pub use catalog::{Catalog, Service};
pub use token::Token;
pub use versions::{Endpoint, Microversion};

use crate::backend::Warning;
use crate::document::Fault;
use crate::error::{Error, Kind, Result};
use crate::http::Throttle;
use crate::metrics::Metrics;

use super::config::CinderConfig;
use super::dialect::Dialect;

/// The access to one cloud, for as long as the back end lives.
pub struct Session {
    name: String,
    config: CinderConfig,
    throttle: Arc<Throttle>,
    metrics: Arc<Metrics>,
    access: RwLock<Arc<Access>>,
    /// Why changed credentials were not taken.
    refused: Mutex<Option<String>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Session {
    /// Reads the credentials of the back end of this name. Does not talk to the cloud yet.
    ///
    /// # Errors
    /// `FailedPrecondition` with every fault of the credentials. Where they are mended, the next try is good.
    pub fn open(name: &str, config: CinderConfig, metrics: Arc<Metrics>) -> Result<Self> {
        let throttle = Arc::new(Throttle::new(config.rates));
        let access = Self::prepare(name, &config, &throttle, &metrics)?;
        let access = RwLock::new(Arc::new(access));
        metrics.credentials_reload_failed(name, false);
        Ok(Self { name: name.to_owned(), config, throttle, metrics, access, refused: Mutex::default() })
    }

    /// The access that is in use now.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What kind of cloud it is.
    #[must_use]
    pub const fn dialect(&self) -> &'static Dialect {
        self.config.dialect
    }

    /// That changed credentials are bad and those before them stay, as long as it is so.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().map(|why| Warning {
            reason: "CredentialsReloadFailed",
            text: format!("changed credentials are bad, and those before them stay: {why}"),
        })
    }

    /// Notes whether changed credentials could be taken, and why not.
    fn note(&self, refused: Option<String>) {
        self.metrics.credentials_reload_failed(&self.name, refused.is_some());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    fn prepare(
        name: &str,
        config: &CinderConfig,
        throttle: &Arc<Throttle>,
        metrics: &Arc<Metrics>,
    ) -> Result<Access> {
        let credentials =
            config.source.read(&config.choice).map_err(|faults| bad(&faults).with("backend", name))?;
        Access::new(name, config.dialect, credentials, Arc::clone(throttle), Arc::clone(metrics))
            .map_err(|error| error.with("backend", name))
    }
}

/// All faults in one error. The outcome is unknown: with good credentials an earlier process may have done anything.
fn bad(faults: &[Fault]) -> Error {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    Error::unknown(Kind::FailedPrecondition, format!("the credentials are bad: {}", texts.join("; ")))
}
