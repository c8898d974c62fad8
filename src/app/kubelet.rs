//! What is between the node and its kubelet, where the configuration names the kubelet's directory.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::host;
use crate::metrics::Metrics;
use crate::registrar::{self, Plugin, Registrar, Status};
use crate::server::http::Readiness;

/// What the driver uses of the kubelet's directory.
const DIRECTORIES: [&str; 3] = ["pods", "plugins", "plugins_registry"];
/// Where volumes are mounted: under these the kubelet must see what the driver mounts.
const MOUNTED: [&str; 2] = ["pods", "plugins"];

/// Refuses to start where no pod could get its volume. Mounts of a container are fixed when it is made, so none of
/// this can heal while the process runs.
///
/// # Errors
/// `FailedPrecondition` naming what is missing, and the setting that gives it.
pub fn check(kubelet: &Path) -> Result<()> {
    let shown = kubelet.display();
    let missing: Vec<_> = DIRECTORIES.into_iter().filter(|name| !kubelet.join(name).is_dir()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Error::precondition(format!(
            "the kubelet's directory {shown} lacks {missing}: mount it from the host at this same path, and let \"node.kubeletDir\" be what the kubelet has as --root-dir"
        )));
    }
    for name in MOUNTED {
        let directory = kubelet.join(name);
        if !host::is_shared(&directory)? {
            return Err(Error::precondition(format!(
                "mounts below {} would not reach the kubelet, because the mount that holds it is not shared: mount it from the host with mountPropagation: Bidirectional",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Makes the directory of the CSI socket where that is the usual `plugins/<name>`. A new machine does not have it, and
/// a container cannot get it as a mount of its own: below a shared mount, that one would appear on the host, too.
///
/// # Errors
/// Where it cannot be made.
pub fn make_home(kubelet: &Path, endpoint: &Path) -> Result<()> {
    let Some(home) = endpoint.parent().filter(|home| home.parent() == Some(&kubelet.join("plugins"))) else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o750).create(home) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::io(format!("make the directory {}", home.display()), error))
        }
        _ => Ok(()),
    }
}

/// What to do where another process serves the CSI socket, or the registration socket of the same driver.
pub fn taken(driver: &str) -> String {
    format!(
        "give it another \"driverName\" and \"endpoint\": two drivers with the same name, {driver}, cannot be on one node"
    )
}

/// Begins to register with the kubelet, and anew each time that `renewal` is notified; the CSI socket is open by now.
///
/// # Errors
/// Where the registration socket cannot be had.
pub fn register(
    kubelet: &Path,
    config: &Config,
    readiness: &Readiness,
    metrics: &Arc<Metrics>,
    renewal: Arc<Notify>,
) -> Result<Registrar> {
    let driver = config.driver_name.clone();
    let socket = registrar::socket_path(kubelet, &driver);
    let taken = taken(&driver);
    let status = Status::new(driver.clone(), readiness.clone(), Arc::clone(metrics));
    let plugin = Plugin { driver, endpoint: config.endpoint.clone(), socket };
    Registrar::start(plugin, status, taken, renewal)
}
