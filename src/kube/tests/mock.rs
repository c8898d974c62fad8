//! An API server in memory, which speaks real HTTP on loopback. It knows objects by their paths and answers as the real
//! one does: with a Status that names what is missing, in pages where a limit is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::config::{KubernetesAccess, Pod};
use crate::kube::Kubernetes;
use crate::kube::api::ApiServer;

/// How it answers.
#[derive(Clone, Debug, Default)]
pub(in crate::kube) enum Mood {
    /// As it should.
    #[default]
    Well,
    /// Not at all.
    Silent,
    /// With this status and body, whatever it is asked.
    Stubborn(u16, Value),
    /// As something else on the way that knows nothing of Kubernetes.
    Proxy,
}

#[derive(Debug, Default)]
struct World {
    objects: BTreeMap<String, Value>,
    mood: Mood,
    requests: Vec<(String, Value)>,
    token: String,
}

/// A handle to it; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub(in crate::kube) struct Mock {
    world: Arc<Mutex<World>>,
    access: KubernetesAccess,
    directory: Arc<TempDir>,
}

impl Mock {
    pub(in crate::kube) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (directory, access) = access(&format!("http://{}", listener.local_addr().unwrap()));
        let mock = Self { world: Arc::default(), access, directory: Arc::new(directory) };
        let router = Router::new().fallback(answer).with_state(mock.clone());
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service),
                );
            }
        });
        mock
    }

    /// What asks it, for `csi.example.org`.
    pub(in crate::kube) fn kubernetes(&self) -> Kubernetes {
        self.asked_within(Duration::from_secs(60))
    }

    /// The same, with this patience for each request.
    pub(in crate::kube) fn asked_within(&self, deadline: Duration) -> Kubernetes {
        Kubernetes::new(ApiServer::open(&self.access).unwrap().within(deadline), "csi.example.org", None)
    }

    /// The same for a process in a pod.
    pub(in crate::kube) fn kubernetes_in(&self, pod: Pod) -> Kubernetes {
        Kubernetes::new(ApiServer::open(&self.access).unwrap(), "csi.example.org", Some(pod))
    }

    /// Gives the one who asks another token.
    pub(in crate::kube) fn give(&self, token: &str) {
        std::fs::write(self.directory.path().join("token"), token).unwrap();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(in crate::kube) fn put(&self, path: &str, object: Value) {
        self.world().objects.insert(path.to_owned(), object);
    }

    pub(in crate::kube) fn get(&self, path: &str) -> Option<Value> {
        self.world().objects.get(path).cloned()
    }

    pub(in crate::kube) fn remove(&self, path: &str) {
        self.world().objects.remove(path).unwrap();
    }

    pub(in crate::kube) fn clear(&self) {
        self.world().objects.clear();
    }

    pub(in crate::kube) fn behave(&self, mood: Mood) {
        self.world().mood = mood;
    }

    /// The token that came with the last request.
    pub(in crate::kube) fn token(&self) -> String {
        self.world().token.clone()
    }

    /// What it was asked since the last time: method and path, and the body.
    pub(in crate::kube) fn requests(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.world().requests)
    }
}

/// Credentials for the API server at this address, in a directory of their own.
pub(in crate::kube) fn access(server: &str) -> (TempDir, KubernetesAccess) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "opensesame\n").unwrap();
    let credentials = directory.path().to_owned();
    (directory, KubernetesAccess { server: server.to_owned(), credentials, named: true })
}

async fn answer(State(mock): State<Mock>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    mock.world().requests.push((line, body.clone()));
    mock.world().token = parts.headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    let mood = mock.world().mood.clone();
    match mood {
        Mood::Well => {}
        Mood::Silent => std::future::pending().await,
        Mood::Stubborn(status, body) => return json_answer(status, &body),
        Mood::Proxy => return (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let mut world = mock.world();
    match parts.method {
        Method::GET => match world.objects.get(path) {
            Some(object) => json_answer(200, object),
            None if path.ends_with('s') => json_answer(200, &list(&world.objects, path, query)),
            None => missing(path),
        },
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap().to_owned();
            world.objects.insert(format!("{path}/{name}"), body.clone());
            json_answer(201, &body)
        }
        Method::PATCH => match world.objects.get_mut(path) {
            Some(object) => {
                for (key, value) in body.as_object().unwrap() {
                    object[key] = value.clone();
                }
                json_answer(200, object)
            }
            None => missing(path),
        },
        method => panic!("nothing here asks with {method}"),
    }
}

fn list(objects: &BTreeMap<String, Value>, path: &str, query: &str) -> Value {
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit: usize = parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
    let skip: usize = parameter("continue").map_or(0, |token| token.parse().unwrap());
    let prefix = format!("{path}/");
    let all: Vec<_> = objects.iter().filter(|(path, _)| path.starts_with(&prefix)).map(|(_, o)| o).collect();
    let items: Vec<_> = all.iter().skip(skip).take(limit).collect();
    let end = skip + items.len();
    let token = if end < all.len() { end.to_string() } else { String::new() };
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": token}, "items": items})
}

fn missing(path: &str) -> Response {
    let mut parts = path.rsplit('/');
    let (name, kind) = (parts.next().unwrap(), parts.next().unwrap());
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("{kind} {name:?} not found"), "details": {"name": name, "kind": kind},
    });
    json_answer(404, &status)
}

fn json_answer(status: u16, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), headers, Body::from(body.to_string())).into_response()
}
