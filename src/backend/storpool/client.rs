//! The calls that are made: one method for each. Which of several management addresses answers makes no difference, so a
//! call that was not sent goes to the next one, and so does one that changes nothing and whose answer was lost.
//!
//! A call that changes something is sent once. What becomes of it after a lost answer is [`Retry`]'s and its caller's.

mod access;
mod calls;
mod exports;
mod failure;
mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use access::Access;
pub use calls::{Entry, SnapshotOrder, Take, VolumeOrder};
pub use exports::{Command, Export};
pub use failure::{Failure, Name, Refusal};
pub(super) use retry::Retry;

use super::config::StorpoolConfig;
use super::model::Envelope;
use crate::error::{Error, Kind, Result};
use crate::http::{Answer, Http, Lost, Method, Request, Throttle, Trust, Url};
use crate::metrics::Metrics;

/// What the metrics call the management API.
const SERVICE: &str = "storpool";
/// How long a read may take.
const READ: Duration = Duration::from_secs(30);
/// How long a call that changes something may take.
const WRITE: Duration = Duration::from_secs(60);
/// How often each address is tried.
const ROUNDS: usize = 3;
/// The pause after all addresses were tried once; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// Calls a cluster's management API.
#[derive(Debug)]
pub struct Client {
    http: Http,
    access: Access,
    /// The address that answered last.
    at: AtomicUsize,
    everywhere: bool,
}

/// A call to be made.
#[derive(Clone, Debug)]
struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: Vec<&'a str>,
    body: Option<Value>,
    timeout: Duration,
}

impl<'a> Call<'a> {
    fn get(operation: &'static str, path: &[&'a str]) -> Self {
        Self { operation, method: Method::GET, path: path.to_vec(), body: None, timeout: READ }
    }

    fn post(operation: &'static str, path: &[&'a str], body: Value) -> Self {
        Self { operation, method: Method::POST, path: path.to_vec(), body: Some(body), timeout: WRITE }
    }

    const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Client {
    /// Calls the cluster that the settings name. Reads the token, and does not talk to the cluster yet.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the file that cannot be used, or what is set nowhere.
    pub fn open(name: &str, config: &StorpoolConfig, metrics: Arc<Metrics>) -> Result<Self> {
        let trust = Trust { ca_file: config.ca_file.clone(), ..Trust::default() };
        Ok(Self {
            http: Http::new(name, trust, Arc::new(Throttle::new(access::RATES)), metrics)?,
            access: Access::open(config)?,
            at: AtomicUsize::new(0),
            everywhere: config.multi_cluster,
        })
    }

    /// Takes over a token that was replaced.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn refresh(&self) -> Result<()> {
        self.access.refresh()
    }

    fn url(&self, base: &Url, call: &Call<'_>) -> Result<Url> {
        let mut url = base.clone();
        let prefix: &[&str] = if self.everywhere && calls::is_everywhere(call.path.first().copied()) {
            &["ctrl", "1.0", "MultiCluster"]
        } else {
            &["ctrl", "1.0"]
        };
        url.path_segments_mut()
            .map_err(|()| Error::internal("the endpoint's URL can have no path"))?
            .pop_if_empty()
            .extend(prefix)
            .extend(&call.path);
        Ok(url)
    }

    /// Sends a call to one address after the other until one answers.
    async fn send<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Failure> {
        let reads = call.method == Method::GET;
        let endpoints = self.access.endpoints();
        let mut tries = 0;
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let base = endpoints.get(at % endpoints.len()).ok_or_else(access::no_endpoint)?;
            let request = Request::new(call.method.clone(), self.url(base, &call)?, SERVICE, call.operation)
                .secret_header("authorization", &self.access.authorization())?
                .within(call.timeout);
            let request = match &call.body {
                Some(body) => request.json(body),
                None => request,
            };
            tries += 1;
            let failure = match self.http.send_once(&request).await {
                Ok(answer) => match self.judge(&answer, call.operation) {
                    Ok(data) => {
                        return serde_json::from_value(data).map_err(|error| {
                            let text = format!("the answer has another form than expected ({error})");
                            answer.fault(text).into()
                        });
                    }
                    Err(failure) => failure,
                },
                Err(lost) => Failure::Lost(lost),
            };
            let (again, elsewhere) = match &failure {
                Failure::Refused(refusal) => (reads && refusal.transient, false),
                Failure::Lost(lost) => ((reads || !lost.sent) && !lost.hopeless, true),
            };
            if !again || tries >= ROUNDS * endpoints.len() {
                return Err(failure);
            }
            if elsewhere {
                // Others may have gone on already.
                self.at
                    .compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed)
                    .unwrap_or_default();
            }
            tracing::info!(call = call.operation, failure = %failure, "a call to the cluster is repeated");
            if tries % endpoints.len() == 0 || !elsewhere {
                tokio::time::sleep(PAUSE * (1 << (tries / endpoints.len()).min(6))).await;
            }
        }
    }

    /// What an answer has. Its status means nothing: errors come with 200 and with others.
    fn judge(&self, answer: &Answer, operation: &'static str) -> Result<Value, Failure> {
        let lost = |error: Error| Failure::Lost(Lost { error, sent: true, hopeless: false });
        let envelope: Envelope = match answer.json() {
            Ok(envelope) => envelope,
            Err(_) if answer.status() == 401 => {
                return Err(Refusal::unauthorized("the token is refused".to_owned())
                    .of(operation, 401)
                    .into());
            }
            Err(error) => return Err(lost(error.with_kind(Kind::Unavailable))),
        };
        match (envelope.error, envelope.data) {
            (Some(error), _) => {
                Err(Refusal::new(error, |text| self.access.scrub(text)).of(operation, answer.status()).into())
            }
            (None, Some(data)) if answer.is_success() => Ok(data),
            _ => Err(lost(
                answer
                    .fault(format!("status {} without an error{}", answer.status(), answer.excerpt()))
                    .with_kind(Kind::Unavailable),
            )),
        }
    }
}

/// A body without anything in it.
fn nothing() -> Value {
    json!({})
}
