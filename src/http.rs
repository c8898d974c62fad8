//! Calls to a cloud over HTTP: the only room that names the HTTP and TLS crates.
//!
//! One [`Http`] is one pool of connections, with its own trust. A call has a deadline, a service that it counts
//! against (see [`Throttle`]), and is repeated only where that is safe (see [`Request::repeatable`]). An answer of the
//! cloud, whatever its status, is an [`Answer`]; what is no answer is an [`Error`] that says what was lost. No secret
//! is in either's text.

mod answer;
mod bucket;
#[cfg(test)]
pub(crate) mod fake;
mod fault;
mod request;
mod retry;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use answer::{Answer, MAX_BODY};
pub use bucket::{Rate, Rates, Throttle};
pub use fault::Lost;
pub use request::Request;
pub use reqwest::{Method, Url};
pub use tls::{Identity, Trust};

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, redirect};
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use retry::Next;

/// How long a connection may take to come up, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept. Below what load balancers usually allow, so that few are found dead.
const IDLE: Duration = Duration::from_secs(45);
/// Idle connections to one host. More than a burst of a controller needs at once.
const IDLE_CONNECTIONS: usize = 8;
/// Redirects that are followed. A cloud behind a moved address has one.
const REDIRECTS: usize = 4;

/// A pool of connections to one cloud.
pub struct Http {
    client: Client,
    backend: String,
    trust: Trust,
    throttle: Arc<Throttle>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("backend", &self.backend)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// A pool without connections yet, for the back end of this name. Reads the files that `trust` names.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the certificate or key file that cannot be used.
    pub fn new(backend: &str, trust: Trust, throttle: Arc<Throttle>, metrics: Arc<Metrics>) -> Result<Self> {
        // Proxies would come from the environment, which is read in the configuration alone.
        let client = Client::builder()
            .tls_backend_preconfigured(trust.client_config()?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!("fairlead/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot make an HTTP client").caused_by(error))?;
        Ok(Self { client, backend: backend.to_owned(), trust, throttle, metrics })
    }

    /// Sends a request and waits for its answer, until the deadline. Repeats it where that is safe.
    ///
    /// # Errors
    /// `Timeout` at the deadline, `Unavailable` where the cloud cannot be reached or the answer was lost, `Internal`
    /// for an answer that is too large or a redirect that is not followed. The outcome is always unknown: an
    /// earlier try of the same work may have succeeded.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        self.persist(request).await.map_err(|error| {
            error.with("service", request.service).with("url", shown(&request.url)).during(request.operation)
        })
    }

    /// Sends a request once and waits for its answer, until the deadline. For who decides alone what follows on a fault.
    ///
    /// # Errors
    /// As [`Http::send`], and whether the cloud may have got the request.
    pub async fn send_once(&self, request: &Request) -> Result<Answer, Lost> {
        let deadline = Instant::now() + request.timeout;
        let bucket = self.throttle.bucket(request.service, request.writes());
        let waited = bucket.wait(deadline).await;
        let result = match waited {
            Ok(()) => self.attempt(request, deadline).await,
            Err(error) => Err(Lost { error, sent: false, hopeless: false }),
        };
        result.map_err(|lost| Lost {
            error: lost
                .error
                .with("service", request.service)
                .with("url", shown(&request.url))
                .during(request.operation),
            ..lost
        })
    }

    async fn persist(&self, request: &Request) -> Result<Answer> {
        let deadline = Instant::now() + request.timeout;
        let bucket = self.throttle.bucket(request.service, request.writes());
        let mut tries = 0;
        loop {
            bucket.wait(deadline).await?;
            tries += 1;
            let result = self.attempt(request, deadline).await;
            let pause = match retry::next(request, &result, tries) {
                Next::Done => return result.map_err(|lost| lost.error),
                Next::After(pause) => pause,
                Next::Hold { pause, again } => {
                    bucket.hold(Instant::now() + pause);
                    if !again {
                        return result.map_err(|lost| lost.error);
                    }
                    pause
                }
            };
            if Instant::now() + pause >= deadline {
                return result.map_err(|lost| lost.error);
            }
            let reason = match &result {
                Ok(answer) => format!("status {}", answer.status()),
                Err(lost) => lost.error.chain(),
            };
            let request_id = result.as_ref().ok().and_then(Answer::request_id);
            tracing::info!(
                backend = self.backend,
                service = request.service,
                call = request.operation,
                request_id,
                reason,
                seconds = pause.as_secs_f64(),
                "a call to the cloud is repeated"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// One request on the wire, counted and logged.
    async fn attempt(&self, request: &Request, deadline: Instant) -> Result<Answer, Lost> {
        let started = Instant::now();
        let result = match timeout_at(deadline, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Lost::sent(Error::unknown(
                Kind::Timeout,
                format!("no answer within {:.1} s", request.timeout.as_secs_f64()),
            ))),
        };
        let class = match &result {
            Ok(answer) => answer.class(),
            Err(lost) => lost.class(),
        };
        let took = started.elapsed();
        self.metrics.cloud_call(&self.backend, request.service, request.operation, class, took);
        let request_id = result.as_ref().ok().and_then(Answer::request_id);
        let status = result.as_ref().ok().map(Answer::status);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            backend = self.backend,
            service = request.service,
            call = request.operation,
            method = %request.method,
            path = request.url.path(),
            status,
            class,
            request_id,
            milliseconds,
            "called the cloud"
        );
        result
    }

    /// Sends the request and follows redirects that stay on the same host.
    async fn exchange(&self, request: &Request) -> Result<Answer, Lost> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let broken = |error| fault::classify(error, &url, &self.trust);
            let mut call = self.client.request(request.method.clone(), url.clone());
            call = call.headers(request.headers());
            if let Some(body) = request.body() {
                call = call.body(body);
            }
            let mut response = call.send().await.map_err(broken)?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            // 300 is the answer that lists the versions of a service.
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                url = redirected(request, &url, &headers)?;
                continue;
            }
            let body = answer::read(&mut response).await.map_err(|fault| match fault {
                answer::Fault::Broken(error) => broken(error),
                answer::Fault::TooLarge => Lost::last(Error::internal(format!(
                    "the answer (status {status}) is larger than {} MiB",
                    MAX_BODY / (1024 * 1024)
                ))),
            })?;
            return Ok(Answer::new(status, headers, body, request.clone()));
        }
        Err(Lost::last(Error::internal(format!(
            "more than {REDIRECTS} redirects, the last one to {}: correct the endpoint's URL",
            shown(&url)
        ))))
    }
}

/// Where a redirect leads. Only reads are redirected, and never to another host, because the token goes along.
fn redirected(request: &Request, from: &Url, headers: &HeaderMap) -> Result<Url, Lost> {
    let refuse = |text: String| Err(Lost::last(Error::internal(text)));
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|location| from.join(location).ok()) else {
        return refuse("a redirect without a place to go to".to_owned());
    };
    if request.writes() {
        return refuse(format!(
            "redirected to {}: only reads are, so correct the endpoint's URL",
            shown(&to)
        ));
    }
    if to.origin() != from.origin() {
        return refuse(format!(
            "redirected to another host, {}: credentials are not sent there, so correct the endpoint's URL",
            shown(&to)
        ));
    }
    Ok(to)
}

/// A URL without user, password, query and fragment, for messages.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}
