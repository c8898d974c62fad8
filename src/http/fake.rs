//! A server on loopback that answers as a test tells it to, for this room and those above it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Method and path without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap())
    }
}

/// What a test answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    claimed: Option<usize>,
    endless: Option<Duration>,
    hang_up: bool,
}

impl Reply {
    pub fn json(status: u16, body: impl ToString) -> Self {
        Self::text(status, "application/json", body)
    }

    pub fn text(status: u16, kind: &str, body: impl ToString) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: body.to_string().into_bytes(),
            delay: Duration::ZERO,
            claimed: None,
            endless: None,
            hang_up: false,
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn late(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Claims a body of so many bytes: repeats the given one up to there, or breaks off where it is longer.
    pub fn claiming(mut self, bytes: usize) -> Self {
        self.claimed = Some(bytes);
        self
    }

    /// Says no length, and repeats the body with this pause for as long as somebody listens.
    pub fn endless(mut self, pause: Duration) -> Self {
        self.endless = Some(pause);
        self
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::json(200, "") }
    }
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server that runs until it is dropped.
pub struct Fake {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(script, None).await
    }

    pub async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(script, Some(acceptor)).await
    }

    async fn serve(
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, record): (Script, _) = (Arc::new(script), Arc::clone(&seen));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, record, tls) = (Arc::clone(&script), Arc::clone(&record), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away in the middle is what many of the tests are about.
                    match tls {
                        None => talk(stream, &script, &record).await.unwrap_or_default(),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, &script, &record).await.unwrap_or_default();
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, seen, task }
    }

    pub fn url(&self, path: &str) -> Url {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.address.port()).parse().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests of this method and path came.
    pub fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|seen| seen.line() == line).count()
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &Script,
    record: &Mutex<Vec<Seen>>,
) -> io::Result<()> {
    let mut read = Vec::new();
    while let Some(seen) = hear(&mut stream, &mut read).await? {
        record.lock().unwrap().push(seen.clone());
        let reply = script(&seen);
        tokio::time::sleep(reply.delay).await;
        if reply.hang_up {
            return Ok(());
        }
        say(&mut stream, &reply).await?;
        if reply.claimed.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

async fn hear<S: AsyncRead + Unpin>(stream: &mut S, read: &mut Vec<u8>) -> io::Result<Option<Seen>> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).unwrap();
            let mut lines = head.lines();
            let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let mut seen = Seen {
                method: first.next().unwrap(),
                target: first.next().unwrap(),
                headers,
                ..Seen::default()
            };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            if read.len() >= end + 4 + length {
                seen.body = String::from_utf8(read[end + 4..end + 4 + length].to_vec()).unwrap();
                read.drain(..end + 4 + length);
                return Ok(Some(seen));
            }
        }
        let mut chunk = [0; 16 * 1024];
        match stream.read(&mut chunk).await? {
            0 => return Ok(None),
            some => read.extend_from_slice(&chunk[..some]),
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, reply: &Reply) -> io::Result<()> {
    let length = reply.claimed.unwrap_or(reply.body.len());
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    if reply.endless.is_none() {
        head += &format!("content-length: {length}\r\n");
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&reply.body).await?;
    while let Some(pause) = reply.endless {
        tokio::time::sleep(pause).await;
        stream.write_all(&reply.body).await?;
        stream.flush().await?;
    }
    if reply.claimed.is_some_and(|claimed| claimed > 64 * 1024) {
        for _ in 0..length / reply.body.len() {
            stream.write_all(&reply.body).await?;
        }
    }
    stream.flush().await
}

/// A certificate for 127.0.0.1 that signs itself, and what shows it.
pub fn self_signed() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}
