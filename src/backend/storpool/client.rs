//! The calls that are made: one method for each. Which of several management addresses answers makes no difference, so a
//! call that was not sent goes to the next one, and so does one that changes nothing and whose answer was lost.
//!
//! A call that changes something is sent once. What becomes of it after a lost answer is [`Retry`]'s and its caller's.

mod access;
mod calls;
mod changes;
mod exports;
mod failure;
mod retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use access::Access;
pub use calls::{Entry, SnapshotOrder, Take, VolumeOrder};
pub(super) use changes::LATELY;
pub use exports::{Command, Export};
pub use failure::{Failure, Name, Refusal};
pub(super) use retry::Retry;

use super::config::StorpoolConfig;
use super::model::Envelope;
use crate::error::{Error, Kind, Result};
use crate::http::{Answer, Http, Lost, Method, Request, Throttle, Trust, Url};
use crate::metrics::Metrics;
use changes::Changes;

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
/// How long an address has to answer a read as long as there are others that were not asked yet: one that takes
/// connections and is silent must not cost a caller its whole time.
const BRIEF: Duration = Duration::from_secs(3);

/// Calls a cluster's management API.
#[derive(Debug)]
pub struct Client {
    http: Http,
    access: Access,
    /// The address that answered last.
    at: AtomicUsize,
    everywhere: bool,
    changes: Changes,
}

/// A call to be made.
#[derive(Clone, Debug)]
struct Call<'a> {
    operation: &'static str,
    method: Method,
    path: Vec<&'a str>,
    body: Option<Value>,
    timeout: Duration,
    /// The cluster that carries it out; `None`: the one that is asked.
    cluster: Option<&'a str>,
    /// Whether the answer may hold secrets of others.
    confidential: bool,
}

impl<'a> Call<'a> {
    fn get(operation: &'static str, path: &[&'a str]) -> Self {
        let (method, path) = (Method::GET, path.to_vec());
        Self { operation, method, path, body: None, timeout: READ, cluster: None, confidential: false }
    }

    fn post(operation: &'static str, path: &[&'a str], body: Value) -> Self {
        Self { method: Method::POST, body: Some(body), timeout: WRITE, ..Self::get(operation, path) }
    }

    /// The same call, for another cluster of the location.
    const fn at(mut self, cluster: Option<&'a str>) -> Self {
        self.cluster = cluster;
        self
    }

    const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same call, whose answer no message may quote.
    const fn confidential(mut self) -> Self {
        self.confidential = true;
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
            changes: Changes::default(),
        })
    }

    /// Takes over a token that was replaced.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn refresh(&self) -> Result<()> {
        self.access.refresh()
    }

    /// When a volume was changed last from here; `None`: not within [`LATELY`].
    pub(super) fn changed(&self, id: &str) -> Option<Instant> {
        self.changes.last(id)
    }

    fn url(&self, base: &Url, call: &Call<'_>) -> Result<Url> {
        let mut url = base.clone();
        let cluster = call.cluster.map(|id| format!("~{id}"));
        let remote = cluster.as_deref().map(|id| ["RemoteCommand", id]);
        let everywhere = self.everywhere && calls::is_everywhere(call.path.first().copied());
        url.path_segments_mut()
            .map_err(|()| Error::internal("the endpoint's URL can have no path"))?
            .pop_if_empty()
            .extend(["ctrl", "1.0"])
            .extend(remote.iter().flatten())
            .extend(everywhere.then_some("MultiCluster"))
            .extend(&call.path);
        Ok(url)
    }

    /// Whether calls are made for a whole location.
    pub(super) const fn is_everywhere(&self) -> bool {
        self.everywhere
    }

    /// The id of the cluster that is asked, where the hosts' configuration told both it and the address.
    pub(super) fn cluster(&self) -> Option<&str> {
        self.access.cluster()
    }

    /// Sends a call to one address after the other until one answers.
    async fn send<'s, T: DeserializeOwned>(&'s self, call: Call<'s>) -> Result<T, Failure> {
        let reads = call.method == Method::GET;
        let endpoints = self.access.endpoints();
        let mut tries = 0;
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let base = endpoints.get(at % endpoints.len()).ok_or_else(access::no_endpoint)?;
            let request = Request::new(call.method.clone(), self.url(base, &call)?, SERVICE, call.operation)
                .secret_header("authorization", &self.access.authorization())?
                .within(if reads && tries + 1 < endpoints.len() {
                    BRIEF.min(call.timeout)
                } else {
                    call.timeout
                });
            let request = match &call.body {
                Some(body) => request.json(body),
                None => request,
            };
            let request = if call.confidential { request.confidential() } else { request };
            tries += 1;
            let failure = match self.http.send_once(&request).await {
                Ok(answer) => match self.judge(&answer, call.operation) {
                    Ok(data) => {
                        return serde_json::from_value(data).map_err(|error| {
                            // The parser's text may quote a value.
                            let why = if call.confidential { String::new() } else { format!(" ({error})") };
                            answer.fault(format!("the answer has another form than expected{why}")).into()
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
                return Err(self.explain(failure, &call).await);
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

    /// A refusal of a name that does not say what it is about, with what the cluster's state says of it. Asks for that in
    /// the same way, and that question is not explained itself.
    fn explain<'s>(&'s self, failure: Failure, call: &Call<'s>) -> BoxFuture<'s, Failure> {
        let (operation, cluster) = (call.operation, call.cluster);
        Box::pin(async move {
            let refusal = match failure {
                Failure::Refused(refusal) if refusal.is_odd() && operation != calls::LIST_SERVICES => refusal,
                other => return other,
            };
            match self.services(cluster).await {
                Ok(services) if services.is_running() => refusal.into(),
                Ok(services) => refusal.down(&format!("the cluster is {}", services.cluster_status)).into(),
                // Whoever does not even tell that is not operational (vendor's reference, "List services").
                Err(_) => refusal.down("the cluster does not tell its state").into(),
            }
        })
    }

    /// What an answer has. Its status means nothing, but for 401: errors come with 200 and with others.
    fn judge(&self, answer: &Answer, operation: &'static str) -> Result<Value, Failure> {
        let lost = |error: Error| Failure::Lost(Lost { error, sent: true, hopeless: false });
        let envelope: Result<Envelope> = answer.json();
        if answer.status() == 401 {
            let error = envelope.ok().and_then(|envelope| envelope.error).unwrap_or_default();
            let refusal = Refusal::new(error, |text| self.access.scrub(text)).unauthorized();
            return Err(refusal.of(operation, 401).into());
        }
        let envelope = match envelope {
            Ok(envelope) => envelope,
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
