//! Metrics and health over plain HTTP/1: `/metrics`, `/healthz`, `/readyz`. Read-only, without bodies in requests,
//! bounded in connections and in time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Connections at once. Probes and scrapes need two or three.
const MAX_CONNECTIONS: usize = 16;
/// From accept to the last byte of the answer. Each connection serves one request.
const DEADLINE: Duration = Duration::from_secs(10);
/// What OpenMetrics asks a page to be called.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why each part of the process is not ready; nothing where it is. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Says that a part is ready (`None`) or why it is not. Tells whether that is news.
    pub fn set(&self, part: &str, reason: Option<String>) -> bool {
        self.lock().insert(part.to_owned(), reason.clone()) != Some(reason)
    }

    /// Whether every part that was named is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// Whether this part was named and is ready.
    #[must_use]
    pub fn has(&self, part: &str) -> bool {
        self.lock().get(part).is_some_and(Option::is_none)
    }

    /// The parts line by line, the faulty ones with their reasons.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (part, reason) in self.lock().iter() {
            let reason = reason.as_deref().unwrap_or("ready");
            // Writing into a String cannot fail.
            writeln!(text, "{part}: {reason}").unwrap_or_default();
        }
        if text.is_empty() { "ready\n".to_owned() } else { text }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // Nothing that panics runs under this lock; a poisoned one still holds a whole map.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What brings those metrics up to date that are looked up rather than counted.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    /// What `/healthz` asks; an error means that only a restart helps.
    pub alive: Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>,
    /// What `/readyz` tells.
    pub readiness: Readiness,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// Opens the port.
///
/// # Errors
/// Where the address cannot be had.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Error::io(format!("listen on {address} for metrics and health (\"http\")"), error))
}

/// Serves the pages for as long as the process lives, also while it ends, so that one can see what it still waits for.
pub async fn serve(pages: Pages, listener: TcpListener) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(pages);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed, so this goes on for ever. Waiting for a permit before accept leaves those who are
    // too many in the kernel's queue.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((connection, _)) => {
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    answer(connection, service).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(connection: TcpStream, service: TowerToHyperService<Router>) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(connection), service);
    match tokio::time::timeout(DEADLINE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
        Err(_) => tracing::debug!("an HTTP connection took too long"),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    (pages.refresh)();
    ([(header::CONTENT_TYPE, METRICS_TYPE)], pages.metrics.encode()).into_response()
}

async fn health(State(pages): State<Pages>) -> Response {
    match (pages.alive)().await {
        Ok(()) => "ok\n".into_response(),
        Err(error) => {
            tracing::error!(error = error.chain(), "this process does not do its work");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.chain())).into_response()
        }
    }
}

async fn ready(State(pages): State<Pages>) -> Result<Response, Infallible> {
    let status = if pages.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, pages.readiness.text()).into_response())
}
