//! A client of a CSI socket, as the kubelet dials it: for the demo, the benches and the tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, Kind, Result};
use crate::proto::csi::controller_client::ControllerClient;
use crate::proto::csi::group_controller_client::GroupControllerClient;
use crate::proto::csi::identity_client::IdentityClient;
use crate::proto::csi::node_client::NodeClient;

/// Connections to the services on one socket. Cloning is cheap and shares the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Dials a socket; `:authority` is `localhost`, as the kubelet and the sidecars send it.
    ///
    /// # Errors
    /// `Unavailable` where nobody listens.
    pub async fn dial(socket: &Path) -> Result<Self> {
        let path = PathBuf::from(socket);
        let connect = move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(connect))
            .await
            .map_err(|error| {
                Error::unknown(Kind::Unavailable, format!("nobody answers on {}", socket.display()))
                    .caused_by(error)
            })?;
        Ok(Self { channel })
    }

    /// Dials until somebody answers.
    ///
    /// # Errors
    /// The last refusal, after `patience`.
    pub async fn dial_within(socket: &Path, patience: Duration) -> Result<Self> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::dial(socket).await {
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(client) => return Ok(client),
            }
        }
    }

    /// The Identity service.
    #[must_use]
    pub fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    /// The Controller service.
    #[must_use]
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    /// The GroupController service.
    #[must_use]
    pub fn group(&self) -> GroupControllerClient<Channel> {
        GroupControllerClient::new(self.channel.clone())
    }

    /// The Node service.
    #[must_use]
    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }
}

/// A gRPC status as an error of ours, for callers that only pass it on to a person.
#[must_use]
pub fn refused(rpc: &str, status: &Status) -> Error {
    Error::internal(format!("{rpc} answered {:?}: {}", status.code(), status.message()))
}
