//! The API server: how it is reached, and what a failed request means.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::service_fn;

use super::transport::Transport;
use crate::config::KubernetesAccess;
use crate::error::{Error, Kind, Result};

/// How long one request may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many items of a listing come at once, so that no cluster is too large for this process's memory.
const PAGE: u32 = 200;

/// A connection to the API server.
#[derive(Clone)]
pub(super) struct ApiServer {
    client: Client,
    deadline: Duration,
}

impl Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Reads the credentials. Asks nothing yet.
    ///
    /// # Errors
    /// Where they are missing or cannot be used.
    pub(super) fn open(access: &KubernetesAccess) -> Result<Self> {
        let transport = Arc::new(Transport::open(access)?);
        let service = service_fn(move |request| {
            let transport = Arc::clone(&transport);
            async move { transport.send(request).await }
        });
        Ok(Self { client: Client::new(service, "default"), deadline: DEADLINE })
    }

    /// The same, with less patience.
    #[must_use]
    pub(super) fn within(&self, deadline: Duration) -> Self {
        Self { client: self.client.clone(), deadline }
    }

    /// An object as it is at this moment, not from a cache; `None` where the API server knows that there is none.
    ///
    /// # Errors
    /// Where it did not say.
    pub(super) async fn get<K>(&self, name: &str) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        // Names are not escaped on their way into the path.
        if !is_name(name) {
            return Ok(None);
        }
        match self.patiently(Api::all(self.client.clone()).get(name)).await? {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error, name) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// Whether any object of a kind is such a one. Page by page, each with its own deadline.
    ///
    /// # Errors
    /// Where not all of them could be looked at.
    pub(super) async fn find<K, T>(&self, mut pick: impl FnMut(K) -> Option<T>) -> Result<Option<T>>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = self.patiently(api.list(&params)).await?.map_err(failure)?;
            if let Some(found) = page.items.into_iter().find_map(&mut pick) {
                return Ok(Some(found));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(None),
            }
        }
    }

    /// Makes an object in a namespace.
    ///
    /// # Errors
    /// Where it was not made, or that is not known.
    pub(super) async fn create<K>(&self, namespace: &str, object: &K) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Serialize,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        self.patiently(api.create(&PostParams::default(), object)).await?.map(drop).map_err(failure)
    }

    /// Changes some fields of an object; `false` where there is none.
    ///
    /// # Errors
    /// Where it was not changed, or that is not known.
    pub(super) async fn patch<K>(
        &self,
        namespace: &str,
        name: &str,
        fields: serde_json::Value,
    ) -> Result<bool>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let (params, change) = (PatchParams::default(), Patch::Merge(fields));
        match self.patiently(api.patch(name, &params, &change)).await? {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error, name) => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.deadline, answer).await.map_err(|_| {
            let seconds = self.deadline.as_secs_f64();
            Error::unknown(Kind::Timeout, format!("the API server did not answer within {seconds} s"))
        })
    }
}

/// Whether this can be an object's name, and stays one segment of a path.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether the API server itself says that it has no object of this name. Some proxy's 404, or an API that is not served,
/// says nothing about the object.
fn is_missing(error: &kube::Error, name: &str) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.reason == "NotFound" && status.details.as_ref().is_some_and(|details| details.name == name)
        }
        _ => false,
    }
}

/// A request that failed, in words that need no cause. What it was about is in the API server's own message.
fn failure(error: kube::Error) -> Error {
    let (kind, text) = match error {
        // What the transport says, as it says it.
        kube::Error::Service(error) => match error.downcast::<Error>() {
            Ok(error) => return *error,
            Err(error) => {
                return Error::internal("the API server was not asked").caused_by(io::Error::other(error));
            }
        },
        kube::Error::Api(status) => match status.code {
            401 => {
                (Kind::Unauthenticated, "the API server does not know this service account (401)".to_owned())
            }
            403 => (
                Kind::PermissionDenied,
                format!("the API server does not allow it (403): {}", status.message),
            ),
            code => (Kind::Unavailable, format!("the API server answered {code}: {}", status.message)),
        },
        error @ kube::Error::SerdeError(_) => {
            return Error::internal("the API server's answer makes no sense").caused_by(error);
        }
        error => {
            return Error::unknown(Kind::Unavailable, "the API server's answer broke off").caused_by(error);
        }
    };
    Error::unknown(kind, text)
}
