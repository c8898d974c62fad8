//! Peers that send an odd `:authority`, asked with frames written by hand, because a client library would refuse to
//! send them.

use std::future::Future;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::service::Routes;
use tonic::transport::Endpoint;

use crate::error::Result;
use crate::proto::csi::ProbeRequest;
use crate::proto::csi::identity_client::IdentityClient;
use crate::server::shutdown::{Trigger, channel};
use crate::server::socket::listen_at;

/// What the server answers to a stream.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Response headers: the call reached the services.
    Headers,
    /// RST_STREAM with this error code (RFC 9113, section 7).
    Reset(u32),
    /// GOAWAY with this error code.
    GoAway(u32),
}

const PROTOCOL_ERROR: u32 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A literal header field without indexing and without Huffman coding (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Sends one call with this `:authority` and tells the answer.
async fn call(connection: &mut UnixStream, stream: u32, authority: Option<&str>) -> Answer {
    let mut block =
        [field(":method", "POST"), field(":scheme", "http"), field(":path", "/csi.v1.Identity/Probe")]
            .concat();
    if let Some(authority) = authority {
        block.extend(field(":authority", authority));
    }
    block.extend([field("content-type", "application/grpc"), field("te", "trailers")].concat());
    // HEADERS with END_HEADERS, then an empty message in DATA with END_STREAM.
    let bytes = [frame(1, 4, stream, &block), frame(0, 1, stream, &[0; 5])].concat();
    connection.write_all(&bytes).await.unwrap();
    answer(connection, stream).await
}

async fn answer(connection: &mut UnixStream, stream: u32) -> Answer {
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        connection.read_exact(&mut payload).await.unwrap();
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            1 if id == stream => return Answer::Headers,
            3 if id == stream => return Answer::Reset(word(0)),
            7 => return Answer::GoAway(word(4)),
            _ => {}
        }
    }
}

/// A server without services on a socket of its own: it answers every call that it accepts with headers.
struct Server {
    directory: tempfile::TempDir,
    trigger: Trigger,
    serving: tokio::task::JoinHandle<Result<()>>,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (listener, file) = listen_at(&directory.path().join("s"), "x").unwrap();
        let (trigger, shutdown) = channel();
        let serving = tokio::spawn(async move {
            let served = crate::server::serve(Routes::default(), listener, shutdown).await;
            drop(file);
            served
        });
        Self { directory, trigger, serving }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("s")).await.unwrap()
    }

    async fn end(self) {
        self.trigger.order();
        self.serving.await.unwrap().unwrap();
    }
}

fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
}

async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap()
}

#[tokio::test]
async fn every_authority_is_as_good_as_localhost() {
    let server = Server::start();
    let mut connection = server.connect().await;
    connection.write_all(&hello()).await.unwrap();
    let table = [
        Some("localhost"),
        None,
        Some("csi.sock"),
        Some("[::]"),
        Some("localhost:0"),
        Some("/run/csi/socket"),
        Some("run/csi/socket"),
        Some("%2Frun%2Fcsi%2Fsocket"),
        Some("unix:///run/csi/socket"),
        Some("/"),
    ];
    let mut stream = 1;
    for authority in table {
        let answer = within(call(&mut connection, stream, authority)).await;
        assert_eq!(answer, Answer::Headers, "{authority:?}");
        stream += 2;
    }
    // An empty one leaves no room for another, and nobody sends it; it harms its own call alone.
    assert_eq!(within(call(&mut connection, stream, Some(""))).await, Answer::Reset(PROTOCOL_ERROR));
    assert_eq!(within(call(&mut connection, stream + 2, Some("/"))).await, Answer::Headers);
    drop(connection);
    server.end().await;
}

/// The fields of a call as grpc-go 1.79 sends them when it dials `/run/registration.sock` as kubelet does: Huffman-coded
/// literals that enter the dynamic table.
const FROM_GO: &[u8] = &[
    0x83, 0x86, 0x45, 0x9c, 0x62, 0xba, 0x2d, 0x98, 0xd5, 0x58, 0x59, 0x8c, 0x84, 0xd8, 0x34, 0x98, 0xf5,
    0x2f, 0xb4, 0xb3, 0x19, 0x09, 0xb0, 0x69, 0x31, 0xea, 0x63, 0x11, 0x53, 0x92, 0xa9, 0x4f, 0x41, 0x93,
    0x54, 0x58, 0x6c, 0xb6, 0xa5, 0x45, 0x86, 0xc2, 0xcc, 0x64, 0x26, 0xc1, 0xa4, 0xc7, 0xa9, 0x74, 0x1c,
    0x9d, 0x7f, 0x5f, 0x8b, 0x1d, 0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x4d, 0x65, 0x64, 0x7a, 0x8b,
    0x9a, 0xca, 0xc8, 0xb4, 0xc7, 0x60, 0x2b, 0xba, 0xfa, 0xec, 0xff, 0x40, 0x02, 0x74, 0x65, 0x86, 0x4d,
    0x83, 0x35, 0x05, 0xb1, 0x1f, 0x40, 0x89, 0x9a, 0xca, 0xc8, 0xb2, 0x4d, 0x49, 0x4f, 0x6a, 0x7f, 0x86,
    0x7d, 0xf7, 0xdf, 0x0b, 0xed, 0xdb,
];

/// The same fields again: each by its place in the dynamic table, `:authority` among them.
const AGAIN: &[u8] = &[0x83, 0x86, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

#[tokio::test]
async fn what_kubelet_sends_is_taken_however_the_bytes_are_cut() {
    let server = Server::start();
    // With padding and priority, which kubelet does not send and the protocol allows.
    let dressed = [&[3][..], &[0, 0, 0, 0, 15], FROM_GO, &[0; 3]].concat();
    let calls = [
        frame(1, 4, 1, FROM_GO),
        frame(0, 1, 1, &[0; 5]),
        frame(1, 4 | 1, 3, AGAIN),
        frame(1, 4 | 8 | 32 | 1, 5, &dressed),
        frame(1, 4 | 1, 7, AGAIN),
    ];
    let bytes = [hello(), calls.concat()].concat();
    for size in [1, 2, 7, 24, 33, bytes.len()] {
        let mut connection = server.connect().await;
        for part in bytes.chunks(size) {
            connection.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        for stream in [1, 3, 5, 7] {
            assert_eq!(within(answer(&mut connection, stream)).await, Answer::Headers, "{size} {stream}");
        }
    }
    server.end().await;
}

/// A peer's dynamic table is full and old entries go: both sides must go on to mean the same.
#[tokio::test]
async fn the_tables_of_both_sides_stay_in_step() {
    let server = Server::start();
    let stream = server.connect().await;
    let mut stream = Some(TokioIo::new(stream));
    let connect = tower::service_fn(move |_| {
        std::future::ready(stream.take().ok_or_else(|| io::Error::other("again")))
    });
    let channel = Endpoint::from_static("http://a-long-host-name-that-is-replaced.example.org")
        .connect_with_connector(connect)
        .await
        .unwrap();
    let mut client = IdentityClient::new(channel);
    for round in 0..300 {
        let mut request = tonic::Request::new(ProbeRequest {});
        let value = "x".repeat(round % 90).parse().unwrap();
        request.metadata_mut().insert("fairlead-test", value);
        let status = client.probe(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{round}: {status}");
    }
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_http_2_is_refused_by_the_library() {
    let server = Server::start();
    let endless = [0x41, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [hello(), frame(1, 4, 1, &endless)].concat(),
        [hello(), frame(1, 4, 1, &[0x41, 0x7e])].concat(),
        [hello(), frame(1, 4 | 8, 1, &[200, 0x41])].concat(),
        // A frame that is said to be larger than allowed.
        [hello(), vec![0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1]].concat(),
        [hello(), vec![0, 0, 50, 1, 4, 0, 0, 0, 1, 0x41]].concat(),
        hello()[..10].to_vec(),
    ] {
        let mut connection = server.connect().await;
        // The server may have closed already.
        connection.write_all(&bytes).await.unwrap_or_default();
        connection.shutdown().await.unwrap_or_default();
        let mut rest = Vec::new();
        // A reset ends it as well as a close.
        within(connection.read_to_end(&mut rest)).await.unwrap_or_default();
    }
    let mut connection = server.connect().await;
    connection.write_all(&hello()).await.unwrap();
    assert_eq!(within(call(&mut connection, 1, Some("/"))).await, Answer::Headers, "it still serves");
    drop(connection);
    server.end().await;
}
