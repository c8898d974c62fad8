//! Gives every call that comes in the same `:authority`.
//!
//! gRPC clients that dial a socket by its bare path put that path into `:authority`: kubelet does so when it calls a
//! plugin's registration socket (`%2Fvar%2Flib%2Fkubelet%2F...`), and so do grpcurl and older tools. RFC 9113, section
//! 8.3.1, allows a host there, so the HTTP/2 library resets such a call, and has no setting against that. On a unix
//! socket the value means nothing. So it is replaced in the bytes, before the library reads them.
//!
//! Replacing needs no HPACK decoder: each field says how long it is (RFC 7541, section 6), so a walk finds the literal
//! `:authority`. Later calls of a connection may name it by its place in the dynamic table. The entry there counts by
//! its length, so the new value must not be longer than any that it replaces: then the table here never holds less
//! than the peer believes.

#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// A string literal of HPACK: not Huffman-coded, of one byte, which is the shortest host there is.
const HOST: [u8; 2] = [1, b'k'];
/// What a client sends before its first frame (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Bytes before a frame's payload (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// The largest payload that a peer may send unless it was told otherwise (RFC 9113, section 4.2).
const MAX_PAYLOAD: usize = 16 * 1024;
/// Frame type and flags (RFC 9113, section 6.2).
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// The place of `:authority` in HPACK's static table (RFC 7541, appendix A).
const AUTHORITY: usize = 1;
/// Bytes that are read at a time.
const CHUNK: usize = 4096;

/// A connection whose calls all come with the same `:authority`.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, frames: Frames { bytes: Vec::new(), done: 0, passing: PREFACE } }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, frames } = self.get_mut();
        while frames.done == 0 {
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                // The end; half a frame tells the library that it is an early one.
                frames.done = frames.bytes.len();
                break;
            }
            frames.push(chunk.filled());
        }
        frames.take(out);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The bytes of a connection, cut into frames as far as that is needed to find the headers.
#[derive(Debug)]
struct Frames {
    /// What has come in and was not taken yet.
    bytes: Vec<u8>,
    /// So many of them, from the first, can be taken.
    done: usize,
    /// So many after those go through as they are.
    passing: usize,
}

impl Frames {
    fn push(&mut self, new: &[u8]) {
        self.bytes.extend_from_slice(new);
        loop {
            let pass = self.passing.min(self.bytes.len() - self.done);
            self.done += pass;
            self.passing -= pass;
            let rest = self.bytes.get(self.done..).unwrap_or_default();
            let Some(&[a, b, c, kind, flags, ..]) = rest.first_chunk::<HEAD>() else { return };
            let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.passing = HEAD + payload;
            // A larger frame is refused by the library, so it is not gathered here.
            if kind != HEADERS || payload > MAX_PAYLOAD {
                continue;
            }
            let Some(frame) = rest.get(..HEAD + payload) else {
                self.passing = 0;
                return;
            };
            if let Some(value) = fragment(frame, flags).and_then(|fields| authority(frame, fields)) {
                self.replace(value);
            }
        }
    }

    /// Puts the new value into the frame that comes next, and mends the frame's length.
    fn replace(&mut self, value: Range<usize>) {
        self.passing -= value.len() - HOST.len();
        let [.., a, b, c] = (self.passing - HEAD).to_be_bytes();
        let at = self.done;
        self.bytes.splice(at + value.start..at + value.end, HOST);
        self.bytes.splice(at..at + 3, [a, b, c]);
    }

    fn take(&mut self, out: &mut ReadBuf<'_>) {
        let count = self.done.min(out.remaining());
        out.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.drain(..count);
        self.done -= count;
    }
}

/// Where the fields are in a HEADERS frame.
fn fragment(frame: &[u8], flags: u8) -> Option<Range<usize>> {
    let (mut start, mut end) = (HEAD, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(start)?))?;
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    (start <= end).then_some(start..end)
}

/// Where the value of a literal `:authority` is, with its length before it; `None` where there is none that can be
/// replaced. Nothing is judged: what is wrong with the fields, the library says.
fn authority(frame: &[u8], fields: Range<usize>) -> Option<Range<usize>> {
    let fields_end = fields.end;
    let frame = frame.get(..fields_end)?;
    let mut at = fields.start;
    while at < fields_end {
        let first = *frame.get(at)?;
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let (index, after) = integer(frame, at, prefix)?;
        at = after;
        if first & 0x80 != 0 || prefix == 5 {
            continue; // A field from the tables, or a new size for the dynamic one: no literal follows.
        }
        let mut named = index == AUTHORITY;
        if index == 0 {
            let name = string(frame, at)?;
            at = name.end;
            named = frame.get(name) == Some(b":authority");
        }
        let value = string(frame, at)?;
        let whole = at..value.end;
        at = value.end;
        if named {
            return (!value.is_empty()).then_some(whole);
        }
    }
    None
}

/// A number that begins in the low `prefix` bits at a place (RFC 7541, section 5.1), and where it ends.
fn integer(bytes: &[u8], at: usize, prefix: u32) -> Option<(usize, usize)> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(bytes.get(at)? & mask);
    let mut next = at + 1;
    if value < usize::from(mask) {
        return Some((value, next));
    }
    // Three more bytes reach beyond every length that fits into a frame.
    for shift in [0, 7, 14] {
        let byte = *bytes.get(next)?;
        next += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, next));
        }
    }
    None
}

/// Where the bytes of a string literal are whose length begins at a place (RFC 7541, section 5.2).
fn string(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (length, start) = integer(bytes, at, 7)?;
    let end = start + length;
    (end <= bytes.len()).then_some(start..end)
}
