//! One set of credentials in use.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::backend::cinder::credentials::Credentials;
use crate::backend::cinder::dialect::Dialect;
use crate::error::{Error, Kind, Result};
use crate::http::{Http, Throttle, Url};
use crate::metrics::Metrics;

use super::{Endpoint, Service, Token, login, versions};

/// So long nobody asks again after the credentials were refused: the answer would be the same, and many refusals lock
/// an account.
const REFUSED: Duration = Duration::from_secs(10);
/// So long nobody asks again after a renewal failed while the token is still good.
const RENEWAL: Duration = Duration::from_secs(30);
/// A token younger than this that a service refuses is not replaced: the next one would be refused as well.
const YOUNG: Duration = Duration::from_secs(5);

/// Credentials with their connections, token and endpoints.
pub struct Access {
    dialect: &'static Dialect,
    credentials: Credentials,
    http: Http,
    token: Mutex<Option<Arc<Token>>>,
    /// Counts log-ins that came to an end.
    ends: AtomicU64,
    /// Held by the one that logs in.
    login: tokio::sync::Mutex<Option<Failure>>,
    endpoints: Mutex<HashMap<(Service, Url), Asked>>,
}

/// What was found out about a URL, or is being asked.
type Asked = Arc<OnceCell<Endpoint>>;

/// How the last log-in failed.
struct Failure {
    error: Error,
    until: Instant,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Access {
    /// Takes credentials into use. Reads the certificates that they name; does not talk to the cloud yet.
    ///
    /// # Errors
    /// `FailedPrecondition` naming a certificate file that cannot be used.
    pub(super) fn new(
        name: &str,
        dialect: &'static Dialect,
        credentials: Credentials,
        throttle: Arc<Throttle>,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        if credentials.trust.insecure {
            tracing::warn!(
                backend = name,
                "the cloud's certificates are not checked: anybody on the way can read and change everything"
            );
        }
        Ok(Self {
            dialect,
            http: Http::new(name, credentials.trust.clone(), throttle, metrics)?,
            credentials,
            token: Mutex::default(),
            ends: AtomicU64::new(0),
            login: tokio::sync::Mutex::new(None),
            endpoints: Mutex::default(),
        })
    }

    /// Its connections.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Its credentials.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The project of the token that is there; `None` before the first log-in.
    #[must_use]
    pub fn project(&self) -> Option<String> {
        self.current()?.project.clone()
    }

    /// A good token: the one that is there, or a new one. One caller renews it before it ends, while all others go on
    /// with the old one.
    ///
    /// # Errors
    /// Why nobody can log in.
    pub async fn token(&self) -> Result<Arc<Token>> {
        match self.current() {
            Some(token) if token.is_fresh() => Ok(token),
            Some(token) if token.is_good() => Ok(self.renew_early(token).await),
            _ => self.log_in(|token| !token.is_good()).await,
        }
    }

    /// A token instead of one that a service refused. However many ask, one logs in.
    ///
    /// # Errors
    /// Why nobody can log in.
    pub async fn token_after(&self, refused: &Arc<Token>) -> Result<Arc<Token>> {
        self.log_in(|token| Arc::ptr_eq(token, refused) && token.age() >= YOUNG || !token.is_good()).await
    }

    /// How a service is to be called. Asked once for each URL that the catalog has.
    ///
    /// # Errors
    /// `FailedPrecondition` where the catalog does not have it; else why it cannot be asked now.
    pub async fn endpoint(&self, service: Service, token: &Token) -> Result<Endpoint> {
        let Credentials { region, interface, .. } = &self.credentials;
        let url = token.catalog.find(service, region.as_deref(), *interface)?;
        let cell = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(endpoints.entry((service, url.clone())).or_default())
        };
        cell.get_or_try_init(|| versions::find_out(&self.http, self.dialect, service, &url, token))
            .await
            .cloned()
    }

    fn current(&self) -> Option<Arc<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs in unless another did meanwhile. Those who waited for one that failed get its error.
    async fn log_in(&self, stale: impl Fn(&Arc<Token>) -> bool) -> Result<Arc<Token>> {
        let seen = self.ends.load(Ordering::SeqCst);
        let mut last = self.login.lock().await;
        if let Some(token) = self.current().filter(|token| !stale(token)) {
            return Ok(token);
        }
        if let Some(failure) = &*last
            && (self.ends.load(Ordering::SeqCst) != seen || failure.until > Instant::now())
        {
            return Err(failure.error.clone());
        }
        self.log_in_now(&mut last, Duration::ZERO).await
    }

    async fn renew_early(&self, token: Arc<Token>) -> Arc<Token> {
        let Ok(mut last) = self.login.try_lock() else { return token };
        if last.as_ref().is_some_and(|failure| failure.until > Instant::now()) {
            return token;
        }
        match self.current() {
            Some(newer) if newer.is_fresh() => newer,
            _ => self.log_in_now(&mut last, RENEWAL).await.unwrap_or_else(|error| {
                tracing::warn!(
                    error = error.chain(),
                    "the token is not renewed yet; the old one is still good"
                );
                token
            }),
        }
    }

    async fn log_in_now(&self, last: &mut Option<Failure>, pause: Duration) -> Result<Arc<Token>> {
        let result = login::login(&self.http, &self.credentials).await;
        self.ends.fetch_add(1, Ordering::SeqCst);
        match result {
            Ok(token) => {
                let token = Arc::new(token);
                *last = None;
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
                tracing::debug!(project = token.project, "logged in to the cloud");
                Ok(token)
            }
            Err(error) => {
                let refused = error.kind() == Kind::Unauthenticated;
                let pause = if refused { pause.max(REFUSED) } else { pause };
                *last = Some(Failure { error: error.clone(), until: Instant::now() + pause });
                Err(error)
            }
        }
    }
}
