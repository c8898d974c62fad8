//! From connections to requests, and back.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::state::{Caller, Fate};
use crate::{Shared, Sim};

use super::count::Counts;
use super::faults::{Fault, Faults, ms, page};
use super::request::{Request, split};
use super::{Answer, Reply};

/// How often something that waits is looked at again, where nothing says when it will be.
const AGAIN: u64 = 5;

/// How an answer goes out.
enum Out {
    Reply(Reply),
    /// So many bytes of it, and then the connection breaks.
    Part(Reply, usize),
    /// A body of so many bytes.
    Huge(u64),
    /// The connection breaks.
    Break,
}

/// Something that answers requests over HTTP.
pub trait Service: Send + Sync + 'static {
    /// On whose behalf a request is that comes now, as far as that is known before it was read.
    fn caller(&self) -> Caller;

    /// A path without what differs from object to object: by this requests are counted, and rules tell them apart.
    fn pattern(&self, path: &[String]) -> String;

    /// What is to go wrong.
    fn faults(&self) -> MutexGuard<'_, Faults>;

    /// The requests that there were.
    fn counts(&self) -> MutexGuard<'_, Counts>;

    /// What is answered without anything being done, where the fault is one of those.
    fn instead(&self, fault: &Fault, request: &Request) -> Option<Reply>;

    /// Does what is asked for.
    fn work(self: Arc<Self>, request: Request) -> impl Future<Output = Reply> + Send;
}

/// Serves as long as the task runs.
pub fn serve(listener: TcpListener, service: Arc<impl Service>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            // One that cannot be accepted is its caller's loss.
            if let Ok((stream, _)) = listener.accept().await {
                // Without this, small answers wait for the caller's delayed acknowledgement.
                stream.set_nodelay(true).unwrap_or_default();
                let service = Arc::clone(&service);
                tokio::spawn(talk(stream, move |request| exchange(request, Arc::clone(&service))));
            }
        }
    })
}

/// The same for those who come over TLS, and for no others.
pub fn serve_tls(listener: TcpListener, tls: TlsAcceptor, service: Arc<impl Service>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap_or_default();
                let (tls, service) = (tls.clone(), Arc::clone(&service));
                tokio::spawn(async move {
                    // Who does not get through is told by the alert, or goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, move |request| exchange(request, Arc::clone(&service))).await;
                    }
                });
            }
        }
    })
}

/// Serves those who give orders from outside, as long as the task runs.
pub(crate) fn serve_control(listener: TcpListener, sim: Arc<Sim>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let sim = Arc::clone(&sim);
                tokio::spawn(talk(stream, move |request| {
                    let sim = Arc::clone(&sim);
                    async move {
                        let request = take_apart(request, Caller::default()).await?;
                        respond(Out::Reply(super::control::answer(&sim, &request)))
                            .map(|(response, _)| response)
                    }
                }));
            }
        }
    })
}

async fn talk<S, F>(stream: S, exchange: impl Fn(http::Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = io::Result<Response<Chunks>>>,
{
    let service = service_fn(exchange);
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Callers that go away are what many tests are about, as are connections that break.
    connection.await.unwrap_or_default();
}

async fn take_apart(request: http::Request<Incoming>, caller: Caller) -> io::Result<Request> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (path, query) = split(target);
    Ok(Request { method: head.method, path, query, headers: head.headers, body, caller })
}

async fn exchange<S: Service>(
    request: http::Request<Incoming>,
    service: Arc<S>,
) -> io::Result<Response<Chunks>> {
    let request = take_apart(request, service.caller()).await?;
    let pattern = service.pattern(&request.path);
    let key = format!("{} {pattern}", request.method);
    {
        let mut counts = service.counts();
        let count = counts.entry(key.clone()).or_default();
        count.requests += 1;
        count.received += request.body.len() as u64;
    }
    let fault = service.faults().of(&request, &pattern);
    // In a task of its own: a service does not stop its work because its caller has gone.
    let work = tokio::spawn(perform(request, fault, Arc::clone(&service)));
    let (response, length) = respond(work.await.map_err(io::Error::other)?)?;
    service.counts().entry(key).or_default().sent += length;
    Ok(response)
}

/// An answer as it goes out, and how many bytes its body has.
fn respond(out: Out) -> io::Result<(Response<Chunks>, u64)> {
    let (chunks, reply) = match out {
        Out::Reply(reply) => (Chunks::whole(&reply.body), reply),
        Out::Part(reply, length) => (Chunks::part(&reply.body, length), reply),
        Out::Huge(length) => (Chunks::huge(length), Reply::text(200, "application/json", "")),
        Out::Break => return Err(io::Error::other("the connection is to break")),
    };
    let length = chunks.length;
    let mut response = Response::new(chunks);
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    for (name, value) in &reply.headers {
        let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok((response, length))
}

/// Does what a request asks for, in the way in which it is to go wrong.
async fn perform<S: Service>(mut request: Request, fault: Option<Fault>, service: Arc<S>) -> Out {
    if let Some(instead) = fault.as_ref().and_then(|fault| service.instead(fault, &request)) {
        return Out::Reply(instead);
    }
    if let Some(Fault::Fate(fate)) = &fault {
        request.caller.fate = Fate::clone(fate);
    }
    match fault {
        None | Some(Fault::Fate(_)) => Out::Reply(service.work(request).await),
        Some(Fault::Drop) => Out::Break,
        Some(Fault::LoseReply) => {
            service.work(request).await;
            Out::Break
        }
        Some(Fault::Late(after)) => {
            tokio::time::sleep(ms(after)).await;
            Out::Reply(service.work(request).await)
        }
        Some(Fault::SlowReply(after)) => {
            let reply = service.work(request).await;
            tokio::time::sleep(ms(after)).await;
            Out::Reply(reply)
        }
        Some(Fault::GatewayTimeout(after)) => {
            tokio::spawn(async move {
                tokio::time::sleep(ms(after)).await;
                service.work(request).await;
            });
            Out::Reply(page(504))
        }
        Some(Fault::Truncate) => {
            let reply = service.work(request).await;
            let half = reply.body.len() / 2;
            Out::Part(reply, half)
        }
        Some(Fault::Garble) => {
            let mut reply = service.work(request).await;
            reply.body.truncate(reply.body.len() / 2);
            Out::Reply(reply)
        }
        Some(Fault::ContentType(kind)) => {
            let mut reply = service.work(request).await;
            reply.headers.retain(|(name, _)| *name != "content-type");
            Out::Reply(reply.header("content-type", kind))
        }
        Some(Fault::Huge(length)) => Out::Huge(length),
        // These have been answered.
        Some(
            Fault::Refuse(..)
            | Fault::Html(_)
            | Fault::TooMany(_)
            | Fault::Throttle(_)
            | Fault::Unauthorized
            | Fault::RedirectLoop,
        ) => Out::Break,
    }
}

impl Service for Shared {
    fn caller(&self) -> Caller {
        Caller { request: format!("req-{}", self.cloud().ids.uuid()), ..Caller::default() }
    }

    fn pattern(&self, path: &[String]) -> String {
        super::count::pattern(path)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.rules()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counted()
    }

    fn instead(&self, fault: &Fault, request: &Request) -> Option<Reply> {
        fault.instead(request).map(|reply| with_id(reply, request))
    }

    async fn work(self: Arc<Self>, request: Request) -> Reply {
        work(request, &self).await
    }
}

/// Asks the cloud until it answers.
async fn work(request: Request, shared: &Shared) -> Reply {
    loop {
        let (answer, next) = {
            let mut cloud = shared.cloud();
            let answer = super::answer(&mut cloud, request.clone());
            (answer, cloud.next_due().map(|due| due.saturating_sub(cloud.now())))
        };
        match answer {
            Answer::Now(reply) => return with_id(reply, &request),
            Answer::After(pause, reply) => {
                tokio::time::sleep(pause).await;
                return with_id(reply, &request);
            }
            Answer::Wait => {
                tokio::time::sleep(next.map_or(ms(AGAIN), |next| next.clamp(ms(1), ms(AGAIN)))).await;
            }
        }
    }
}

fn with_id(reply: Reply, request: &Request) -> Reply {
    let id = &request.caller.request;
    reply.header("x-openstack-request-id", id).header("x-compute-request-id", id)
}

/// A body in pieces.
#[derive(Debug)]
pub(crate) struct Chunks {
    first: Option<Bytes>,
    /// Bytes that follow the first piece.
    more: u64,
    breaks: bool,
    /// What is claimed.
    length: u64,
}

/// What follows in huge bodies.
static FILLING: [u8; 65_536] = [b' '; 65_536];

impl Chunks {
    fn whole(body: &[u8]) -> Self {
        let length = body.len() as u64;
        Self { first: Some(Bytes::copy_from_slice(body)), more: 0, breaks: false, length }
    }

    fn part(body: &[u8], length: usize) -> Self {
        Self { breaks: true, first: Some(Bytes::copy_from_slice(&body[..length])), ..Self::whole(body) }
    }

    const fn huge(length: u64) -> Self {
        Self { first: None, more: length, breaks: false, length }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.breaks {
            self.breaks = false;
            return Poll::Ready(Some(Err(io::Error::other("the connection is to break"))));
        }
        if self.more == 0 {
            return Poll::Ready(None);
        }
        let piece = self.more.min(FILLING.len() as u64);
        self.more -= piece;
        let piece = usize::try_from(piece).unwrap_or(FILLING.len());
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&FILLING[..piece])))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.length)
    }
}
