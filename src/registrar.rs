//! Makes this node's driver known to the kubelet (pluginregistration v1), without a sidecar.
//!
//! The kubelet watches `<its directory>/plugins_registry`. A socket that appears there is dialled and asked what is
//! behind it; for a CSI driver the kubelet then calls NodeGetInfo on the CSI socket, writes what it learned into the
//! node's CSINode object, and tells how that went. A socket that goes away deregisters the driver, and its entry in
//! CSINode with it. A kubelet that starts again looks through the directory by itself and asks again; one that failed
//! tries again by itself, with growing pauses of at most two minutes.

mod service;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::error::Result;
use crate::proto::pluginregistration::registration_server::RegistrationServer;
use crate::server;
use crate::server::shutdown;
use crate::server::socket::{self, SocketFile};

use self::service::Service;

pub use status::Status;

/// How often the socket is looked for. Whoever wipes the kubelet's directory reinstalls the kubelet, which takes longer.
const LOOK: Duration = Duration::from_secs(10);

/// What the kubelet is told, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The CSI driver's name.
    pub driver: String,
    /// The CSI socket, at the same path for this process and for the kubelet.
    pub endpoint: PathBuf,
    /// The registration socket.
    pub socket: PathBuf,
}

/// The path of the registration socket in the kubelet's directory.
#[must_use]
pub fn socket_path(kubelet: &Path, driver: &str) -> PathBuf {
    kubelet.join("plugins_registry").join(format!("{driver}-reg.sock"))
}

/// A registration socket that is being served.
#[derive(Debug)]
pub struct Registrar {
    serving: JoinHandle<()>,
}

impl Registrar {
    /// Opens the registration socket, and serves it until [`Registrar::end`]. The CSI socket must be open by now,
    /// because the kubelet calls at once. `taken` is what to do where another process serves the registration socket.
    /// Each time that `renewal` is notified, the socket is made anew, so that the kubelet asks NodeGetInfo again.
    ///
    /// # Errors
    /// As [`socket::listen_at`].
    pub fn start(plugin: Plugin, status: Status, taken: String, renewal: Arc<Notify>) -> Result<Self> {
        status.waiting("has not registered the driver yet");
        let first = socket::listen_at(&plugin.socket, &taken)?;
        tracing::info!(socket = %plugin.socket.display(), "waiting for the kubelet to register the driver");
        Ok(Self { serving: tokio::spawn(keep(plugin, status, taken, renewal, first)) })
    }

    /// Removes the socket, on which the kubelet deregisters the driver.
    ///
    /// The kubelet takes the driver out of CSINode then, and until the next process has registered, volumes cannot be
    /// attached to this node and the scheduler does not know its cap. To leave the socket would spare an upgrade that,
    /// but this process cannot tell an upgrade from an uninstallation: after one, CSINode would name for ever a driver
    /// that is not there. So the socket goes as late as it can, when all that was under way is finished. A process that
    /// is killed leaves it, and stays registered until the next one takes the socket over.
    pub async fn end(self) {
        self.serving.abort();
        // What an aborted task owned is dropped when it is joined. That it was aborted is no news.
        self.serving.await.unwrap_or_default();
    }
}

/// Serves for ever; makes the socket again whenever it is gone.
async fn keep(
    plugin: Plugin,
    status: Status,
    taken: String,
    renewal: Arc<Notify>,
    mut open: (UnixListener, SocketFile),
) {
    loop {
        let (listener, file) = open;
        tokio::select! {
            () = serve(&plugin, &status, listener) => tokio::time::sleep(LOOK).await,
            () = renewal.notified() => tracing::info!("registering anew: the kubelet asks for the node's id and place only then"),
            () = gone(&file) => tracing::warn!(socket = %plugin.socket.display(), "the registration socket was removed"),
        }
        drop(file);
        open = reopen(&plugin, &status, &taken).await;
    }
}

async fn reopen(plugin: &Plugin, status: &Status, taken: &str) -> (UnixListener, SocketFile) {
    loop {
        match socket::listen_at(&plugin.socket, taken) {
            Ok(open) => {
                status.waiting("has not registered the driver since its registration socket was removed");
                return open;
            }
            Err(error) => status.waiting(&format!("cannot register the driver: {}", error.chain())),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn serve(plugin: &Plugin, status: &Status, listener: UnixListener) {
    let service = RegistrationServer::new(Service::new(plugin.clone(), status.clone()));
    // Never ordered to end: that is [`Registrar::end`].
    let (_trigger, shutdown) = shutdown::channel();
    if let Err(error) = server::serve(Routes::new(service).prepare(), listener, shutdown).await {
        status.waiting(&format!("cannot register the driver: {}", error.chain()));
    }
}

/// Completes when the socket is not at its path any more.
async fn gone(file: &SocketFile) {
    while file.is_there() {
        tokio::time::sleep(LOOK).await;
    }
}
