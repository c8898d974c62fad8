//! What this process serves: gRPC services on unix sockets, metrics and health over HTTP, and the orderly end.

mod authority;
pub mod http;
pub mod shutdown;
pub mod socket;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::stream;
use tokio::net::UnixListener;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::error::{Error, Kind, Result};

use self::authority::Connection;
use self::shutdown::Shutdown;

/// Calls at once on one connection; the rest waits in the client. Far above what kubelet or a sidecar sends (a
/// hundred at most by default), so it only bounds a client that has run wild.
const MAX_STREAMS: u32 = 512;
/// Header bytes of one call. CSI sends a handful of short headers.
const MAX_HEADERS: u32 = 16 * 1024;
/// Bytes that a peer may send ahead for one call. Requests are a few KiB; a larger one needs another round trip on a
/// local socket, which is cheap, while a small window keeps what is buffered small.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all calls of one connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Serves gRPC on the socket until the order to end, then waits until every answer that is under way is sent. The
/// caller bounds that wait.
///
/// # Errors
/// Where the server itself fails; a broken connection is none.
pub async fn serve(routes: Routes, listener: UnixListener, shutdown: Shutdown) -> Result<()> {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming(listener), shutdown.ordered())
        .await
        .map_err(|error| Error::unknown(Kind::Internal, "the gRPC server failed").caused_by(error))
}

/// The connections that come in. An accept that fails (no file descriptor left) is waited out, not spun on.
fn incoming(listener: UnixListener) -> impl stream::Stream<Item = std::io::Result<Connection>> {
    stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Connection::new(stream)), listener)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}
