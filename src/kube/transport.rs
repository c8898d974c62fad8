//! HTTP to the API server: its address, TLS by the cluster's own authority, and the token.
//!
//! The client library has all of this too, but bound up with everything that a kubeconfig can ask for: commands to run,
//! clouds to ask for tokens, proxies from the environment. No feature takes that out, and it would be a tenth of the
//! binary, on every node.
//!
//! Token and authority are read at each request, because Kubernetes replaces both while the process runs. They are small
//! files in memory, and requests are few.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use http::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;

use crate::config::KubernetesAccess;
use crate::error::{Error, Kind, Result};
use crate::http::Trust;

/// Who asks, for the API server's audit log.
const AGENT: &str = concat!("fairlead/", env!("CARGO_PKG_VERSION"));

type Http = Client<HttpsConnector<HttpConnector>, Body>;

/// A way to the API server.
#[derive(Debug)]
pub(super) struct Transport {
    scheme: Scheme,
    authority: Authority,
    credentials: PathBuf,
    trusted: Mutex<Option<Trusted>>,
}

/// A pool of connections to whom an authority vouches for.
#[derive(Clone, Debug)]
struct Trusted {
    /// As the file has it; `None` where there is no TLS.
    authority: Option<Vec<u8>>,
    http: Http,
}

impl Transport {
    /// Reads the credentials, to find what is wrong with them at once. Asks nothing.
    ///
    /// # Errors
    /// Where they are missing or cannot be used.
    pub(super) fn open(access: &KubernetesAccess) -> Result<Self> {
        let parsed = access.server.parse::<Uri>().map(Uri::into_parts);
        let (Some(scheme), Some(authority)) =
            parsed.map(|parts| (parts.scheme, parts.authority)).unwrap_or_default()
        else {
            return Err(Error::precondition(format!("{:?} is no API server's URL", access.server)));
        };
        let transport =
            Self { scheme, authority, credentials: access.credentials.clone(), trusted: Mutex::default() };
        transport.token()?;
        transport.http()?;
        Ok(transport)
    }

    /// Sends one request.
    ///
    /// # Errors
    /// Where there is no answer.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let parts = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        *request.uri_mut() = parts
            .path_and_query(path)
            .build()
            .map_err(|error| Error::internal("cannot write the request's URL").caused_by(error))?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.token()?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        self.http()?.request(request).await.map_err(|error| {
            Error::unknown(Kind::Unavailable, "the API server cannot be reached").caused_by(error)
        })
    }

    fn token(&self) -> Result<HeaderValue> {
        let (path, bytes) = self.read("token")?;
        let text = String::from_utf8_lossy(&bytes);
        let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim())).map_err(|_| {
            // Not the cause: it may hold a part of the token.
            Error::precondition(format!("{path} holds no token: it must be one line of printable characters"))
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The pool of connections; another one where the authority was replaced.
    fn http(&self) -> Result<Http> {
        let (trust, authority) = match self.scheme == Scheme::HTTPS {
            true => {
                let (path, bytes) = self.read("ca.crt")?;
                (Trust { ca_file: Some(path.into()), ..Trust::default() }, Some(bytes))
            }
            false => (Trust::default(), None),
        };
        // Nothing that panics runs under this lock.
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*trusted {
            Some(known) if known.authority == authority => Ok(known.http.clone()),
            _ => {
                let tls = HttpsConnectorBuilder::new().with_tls_config(trust.client_config()?);
                let connector = tls.https_or_http().enable_http1().build();
                let http =
                    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
                *trusted = Some(Trusted { authority, http: http.clone() });
                Ok(http)
            }
        }
    }

    fn read(&self, name: &str) -> Result<(String, Vec<u8>)> {
        let path = self.credentials.join(name);
        let bytes = std::fs::read(&path).map_err(|error| {
            let text = format!(
                "{} cannot be read (a pod has it where automountServiceAccountToken is true)",
                path.display()
            );
            Error::precondition(text).caused_by(error)
        })?;
        Ok((path.display().to_string(), bytes))
    }
}
