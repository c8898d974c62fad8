//! A gRPC call that stays unfinished for as long as a test wants, in frames written by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A Probe that was begun.
pub struct Call(UnixStream);

impl Call {
    /// Begins a call whose request is not finished until [`Self::finish`].
    pub fn begin(socket: &Path) -> Self {
        let mut connection = UnixStream::connect(socket).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/csi.v1.Identity/Probe"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal header field without indexing and without Huffman coding (RFC 7541, section 6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        bytes.extend(frame(1, 4, 1, &block));
        // A ping behind the headers: its answer says that they were read.
        bytes.extend(frame(6, 0, 0, &[7; 8]));
        connection.write_all(&bytes).unwrap();
        let mut call = Self(connection);
        while call.next() != (6, 1) {}
        call
    }

    /// Type and flags of the next frame.
    fn next(&mut self) -> (u8, u8) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        self.0.read_exact(&mut vec![0; length]).unwrap();
        (head[3], head[4])
    }

    /// Ends the request and waits for the trailers of the answer.
    pub fn finish(mut self) {
        self.0.write_all(&frame(0, 1, 1, &[0; 5])).unwrap();
        loop {
            match self.next() {
                (1, flags) if flags & 1 == 1 => return,
                (3, _) => panic!("the call was reset"),
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
