//! What becomes of peers that send an odd `:authority`, asked with frames written by hand, because a client library
//! would refuse to send them. `docs/configuration.md` tells the same to people.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::service::Routes;

use super::shutdown::channel;
use super::socket::listen_at;

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

#[tokio::test]
async fn an_authority_that_is_no_host_resets_its_call_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, _file) = listen_at(&path).unwrap();
    let (trigger, shutdown) = channel();
    let server = tokio::spawn(super::serve(Routes::default(), listener, shutdown));
    let mut connection = UnixStream::connect(&path).await.unwrap();
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    connection.write_all(&hello).await.unwrap();

    let table = [
        // kubelet and the sidecars.
        (Some("localhost"), Answer::Headers),
        (None, Answer::Headers),
        // A relative path has the shape of a host name.
        (Some("csi.sock"), Answer::Headers),
        (Some("[::]"), Answer::Headers),
        (Some("localhost:0"), Answer::Headers),
        // Socket paths, plain and percent-encoded: the HTTP/2 library refuses them before the services see them.
        (Some("/run/csi/socket"), Answer::Reset(PROTOCOL_ERROR)),
        (Some("run/csi/socket"), Answer::Reset(PROTOCOL_ERROR)),
        (Some("%2Frun%2Fcsi%2Fsocket"), Answer::Reset(PROTOCOL_ERROR)),
        (Some("unix:///run/csi/socket"), Answer::Reset(PROTOCOL_ERROR)),
        (Some(""), Answer::Reset(PROTOCOL_ERROR)),
        // The connection is as good as before.
        (Some("localhost"), Answer::Headers),
    ];
    let mut stream = 1;
    for (authority, wanted) in table {
        let answer = tokio::time::timeout(Duration::from_secs(10), call(&mut connection, stream, authority));
        assert_eq!(answer.await.unwrap(), wanted, "{authority:?}");
        stream += 2;
    }
    drop(connection);
    trigger.order();
    server.await.unwrap().unwrap();
}
