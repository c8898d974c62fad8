//! The two clouds, and the way to call them.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloudsim::{Config, Sim};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use fairlead::backend::cinder::credentials::Source;

/// Where to log in, and as whom.
#[derive(Clone)]
pub struct Cloud {
    pub auth_url: String,
    pub user: String,
    pub password: String,
    pub project: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Cloud {
    fn new(auth_url: &str, user: &str, password: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let (user, password) = (user.to_owned(), password.to_owned());
        Self { auth_url: auth_url.to_owned(), project: user.clone(), user, password, client }
    }

    pub fn simulated(sim: &Sim) -> Self {
        Self::new(&sim.auth_url(), "csi", cloudsim::PASSWORD)
    }

    pub async fn call(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = hyper::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(bytes))).unwrap();
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let headers = headers.collect();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        // What is no JSON is compared as a text.
        let body = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
        };
        Answer { status, headers, body }
    }
}

/// The real cloud's project csi.
///
/// # Errors
/// Why there is none.
pub fn find() -> Result<Cloud, String> {
    let file = directory().join("clouds.yaml");
    if !file.exists() {
        return Err(format!("{} is not there: start a cloud with make openstack-up", file.display()));
    }
    let source = Source::Clouds { file, cloud: Some("csi".to_owned()) };
    let credentials = source.read(&Default::default()).unwrap();
    let (host, port) = (credentials.auth_url.host_str().unwrap(), credentials.auth_url.port().unwrap());
    let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(3))
        .map_err(|error| format!("{address}: {error}: start the cloud with make openstack-up"))?;
    // All passwords of the test cloud are public, and the same.
    let auth_url = credentials.auth_url.to_string();
    Ok(Cloud::new(auth_url.trim_end_matches('/'), "csi", "fairlead"))
}

#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to run against")]
fn directory() -> PathBuf {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cache = || {
        let home = variable("HOME").unwrap_or_default();
        let cache = variable("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
        cache.join("fairlead/openstack/run")
    };
    variable("FAIRLEAD_OPENSTACK").map_or_else(cache, PathBuf::from)
}

/// A simulated cloud that has what the real one has.
pub fn like_the_real_one() -> Config {
    let mut config = Config::openstack();
    // Cinder's type without a choice is there besides those that were made; there is no service for backups.
    config.backups = false;
    let limits = [("volumes", 100), ("snapshots", 100), ("gigabytes", 1000)];
    for project in &mut config.projects {
        project.quotas = limits.map(|(name, limit)| (name.to_owned(), limit)).into();
    }
    config
}
