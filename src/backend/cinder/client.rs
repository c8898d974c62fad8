//! The calls that are made: one method for each, which sends it, reads the answer and says what was refused.
//!
//! Nothing here waits for an end state, and nothing is repeated that may have been done: both belong to the back end.

mod account;
mod attachments;
mod backups;
mod fault;
mod groups;
mod paging;
mod project;
mod servers;
mod snapshots;
#[cfg(test)]
mod tests;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use backups::BackupOrder;
pub use groups::GroupOrder;
pub use paging::{Filter, Page};
pub use snapshots::SnapshotOrder;
pub use volumes::{Source, VolumeOrder};

use crate::error::{Error, Kind, Result};
use crate::http::{Answer, Method, Request};

use super::dialect::{Dialect, Feature};
use super::identity::{Endpoint, Microversion, Service, Session, Token};
use super::model::Listed;

/// The longest id of any cloud.
const LONGEST_ID: usize = 64;

/// Calls a cloud's block storage and its servers.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<Session>,
    lists: Arc<paging::Lists>,
}

/// Which microversion a call is made with.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// None: the API's oldest form.
    Oldest,
    /// This one where the cloud has it; else its highest.
    UpTo(Microversion),
    /// At least this one; without it the call makes no sense.
    Exactly(Microversion),
}

/// A call to be made.
#[derive(Clone, Debug)]
struct Call<'a> {
    service: Service,
    operation: &'static str,
    method: Method,
    path: Vec<&'a str>,
    /// Of a list: these may be left out.
    filters: Vec<Filter>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    need: Need,
    /// What the kind of cloud must be able to do.
    feature: Option<Feature>,
    timeout: Option<Duration>,
}

impl<'a> Call<'a> {
    fn new(service: Service, method: Method, operation: &'static str, path: &[&'a str]) -> Self {
        Self {
            service,
            operation,
            method,
            path: path.to_vec(),
            filters: Vec::new(),
            query: Vec::new(),
            body: None,
            need: Need::Oldest,
            feature: None,
            timeout: None,
        }
    }

    fn filters(mut self, filters: &[Filter]) -> Self {
        self.filters.extend_from_slice(filters);
        self
    }

    fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    const fn need(mut self, need: Need) -> Self {
        self.need = need;
        self
    }

    const fn of(mut self, feature: Feature) -> Self {
        self.feature = Some(feature);
        self
    }

    const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The call as a request to this endpoint.
    fn request(&self, dialect: &Dialect, endpoint: &Endpoint, token: &Token) -> Result<Request> {
        let mut url = endpoint.base.clone();
        // An id that is empty or `..` would make the path another object's.
        if let Some(bad) = self.path.iter().find(|part| !is_id(part)) {
            return Err(Error::not_found(format!("{bad:?} cannot be an id in this cloud")));
        }
        url.path_segments_mut()
            .map_err(|()| Error::internal("the endpoint's URL can have no path"))?
            .pop_if_empty()
            .extend(&self.path);
        let query = || self.filters.iter().chain(&self.query);
        if query().next().is_some() {
            url.query_pairs_mut().extend_pairs(query());
        }
        let name = self.service.as_str();
        let mut request = Request::new(self.method.clone(), url, name, self.operation)
            .secret_header("x-auth-token", &token.secret)?;
        if let Some(version) = self.version(endpoint)? {
            request = request.header("openstack-api-version", &format!("{name} {version}"))?;
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        // A quota that answers as a rate limit does.
        let quotas = dialect.refusals.iter().filter(|one| one.kind == Kind::ResourceExhausted);
        request = quotas.fold(request, |request, one| request.settled_by(one.says));
        Ok(match self.timeout {
            Some(timeout) => request.within(timeout),
            None => request,
        })
    }

    fn version(&self, endpoint: &Endpoint) -> Result<Option<Microversion>> {
        match (self.need, endpoint.max) {
            (Need::Oldest, _) => Ok(None),
            (Need::UpTo(wanted), max) => Ok(max.map(|max| max.min(wanted))),
            (Need::Exactly(wanted), _) if endpoint.has(wanted) => Ok(Some(wanted)),
            (Need::Exactly(wanted), max) => {
                let max = max.map_or_else(|| "no microversions".to_owned(), |max| max.to_string());
                let name = self.service.as_str();
                let text =
                    format!("this needs the {name} API's microversion {wanted}, and the cloud has {max}");
                Err(Error::refused(Kind::Unsupported, text))
            }
        }
    }
}

fn is_id(part: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST_ID).contains(&part.len()) && part.chars().all(sound) && !part.starts_with('.')
}

impl Client {
    /// Calls over this session.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        Self { session, lists: Arc::default() }
    }

    /// What kind of cloud it is.
    #[must_use]
    pub fn dialect(&self) -> &'static Dialect {
        self.session.dialect()
    }

    /// Sends a call, once more with a new token where the one that was there is refused.
    async fn send(&self, call: &Call<'_>) -> Result<Answer> {
        self.exchange(call).await.map_err(|error| error.during(call.operation))
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Answer> {
        if let Some(feature) = call.feature {
            self.dialect().need(feature)?;
        }
        let access = self.session.access();
        let token = access.token().await?;
        let endpoint = access.endpoint(call.service, &token).await?;
        let dialect = self.dialect();
        let answer = access.http().send(&call.request(dialect, &endpoint, &token)?).await?;
        if answer.status() != 401 {
            return fault::judge(answer, dialect);
        }
        let token = access.token_after(&token).await?;
        fault::judge(access.http().send(&call.request(dialect, &endpoint, &token)?).await?, dialect)
    }

    /// Sends a call and reads what its answer has under a key.
    async fn read<T: DeserializeOwned>(&self, call: &Call<'_>, key: &str) -> Result<T> {
        let answer = self.send(call).await?;
        take(&answer, key)
    }

    /// The same of an object that may be there and deleted, as some clouds show it.
    async fn get<T: Listed>(&self, call: &Call<'_>, key: &str) -> Result<T> {
        let found: T = self.read(call, key).await?;
        match found.is_deleted() {
            true => Err(Error::not_found("the cloud shows it as deleted").during(call.operation)),
            false => Ok(self.noted(found)),
        }
    }

    /// An object with all that is noted about it, wherever that is kept.
    fn noted<T: Listed>(&self, mut found: T) -> T {
        if self.dialect().describes() {
            found.take_description();
        }
        found
    }

    /// How a service can be called, for what depends on it.
    ///
    /// # Errors
    /// Why it cannot be found out now.
    pub async fn endpoint(&self, service: Service) -> Result<Endpoint> {
        let access = self.session.access();
        let token = access.token().await?;
        access.endpoint(service, &token).await
    }
}

/// What an answer has under a key.
fn take<T: DeserializeOwned>(answer: &Answer, key: &str) -> Result<T> {
    let mut body: serde_json::Map<String, Value> = answer.json()?;
    let found = body.remove(key);
    let found =
        found.ok_or_else(|| answer.fault(format!("the answer has no {key:?}{}", answer.excerpt())))?;
    serde_json::from_value(found).map_err(|error| {
        answer.fault(format!(
            "the answer's {key:?} has another form than expected ({error}){}",
            answer.excerpt()
        ))
    })
}
