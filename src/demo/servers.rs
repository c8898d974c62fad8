//! The processes of the demo, and what has to be cleaned up after them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::client::{Client, refused};
use crate::error::{Error, Result};
use crate::host::loopdev::{self, LoopDevice};
use crate::host::{Host, Linux, files, tree};
use crate::proto::csi;
use crate::volume::FsType;

/// Room for the shared directory where the demo has to bring its own file system, in bytes; sparse.
const SHARED_SIZE: u64 = 8 << 30;
/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One simulated server: its node process, its own paths, and what it has mounted.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) node_id: String,
    home: PathBuf,
    /// Volume ids that are staged or being staged here.
    used: Vec<String>,
}

impl Server {
    /// Where a volume is staged. Made by the caller of NodeStageVolume, as the kubelet does.
    pub(super) fn staging(&mut self, volume: &str) -> Result<PathBuf> {
        if !self.used.iter().any(|known| known == volume) {
            self.used.push(volume.to_owned());
        }
        let path = self.home.join(volume.replace('/', "_")).join("globalmount");
        fs::create_dir_all(&path).map_err(|error| Error::io(format!("make {}", path.display()), error))?;
        Ok(path)
    }

    /// Where a volume is published. Its parent exists.
    pub(super) fn target(&self, volume: &str) -> PathBuf {
        self.home.join(volume.replace('/', "_")).join("mount")
    }

    /// Takes a volume off this server, as far as it is there.
    pub(super) async fn release(&mut self, volume: &str) -> Result<()> {
        let (staging, target) = (self.staging(volume)?, self.target(volume));
        let mut node = self.client.node();
        let unpublish =
            csi::NodeUnpublishVolumeRequest { volume_id: volume.to_owned(), target_path: text(&target) };
        node.node_unpublish_volume(unpublish)
            .await
            .map_err(|status| refused("NodeUnpublishVolume", &status))?;
        let unstage = csi::NodeUnstageVolumeRequest {
            volume_id: volume.to_owned(),
            staging_target_path: text(&staging),
        };
        node.node_unstage_volume(unstage).await.map_err(|status| refused("NodeUnstageVolume", &status))?;
        self.used.retain(|known| known != volume);
        Ok(())
    }
}

/// A path as CSI carries it.
pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// All of the demo's processes, mounts and files.
#[derive(Debug)]
pub(super) struct Servers {
    work: PathBuf,
    host: Linux,
    /// The loop device under the shared directory, where the demo brought its own file system.
    shared: Option<LoopDevice>,
    children: Vec<Child>,
    pub(super) controller: Option<Client>,
    pub(super) servers: BTreeMap<char, Server>,
    /// Volumes and snapshots that exist.
    pub(super) volumes: Vec<String>,
    pub(super) snapshots: Vec<String>,
}

impl Servers {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let work = tempfile::Builder::new()
            .prefix("fairlead-demo.")
            .tempdir_in(directory)
            .map_err(|error| Error::io(format!("make a directory in {}", directory.display()), error))?
            // Removed by `clean_up`, which looks for mounts first; a TempDir would not.
            .keep();
        Ok(Self {
            work,
            host: Linux::new(),
            shared: None,
            children: Vec::new(),
            controller: None,
            servers: BTreeMap::new(),
            volumes: Vec::new(),
            snapshots: Vec::new(),
        })
    }

    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    fn shared_directory(&self) -> PathBuf {
        self.work.join("shared")
    }

    /// Makes the shared directory. A snapshot of a volume in use needs reflinks, so a file system without them gets an
    /// XFS of the demo's own on top.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        let missing = self.host.missing_tools(&[FsType::Xfs]);
        if !missing.is_empty() {
            return Err(Error::precondition(format!("tools are missing: {}", missing.join(", "))));
        }
        let shared = self.shared_directory();
        self.host.make_directory(&shared).await?;
        if can_reflink(&shared)? {
            return Ok(());
        }
        let image = self.work.join("shared.img");
        let file = fs::File::create(&image).map_err(|error| Error::io("make the shared image", error))?;
        file.set_len(SHARED_SIZE).map_err(|error| Error::io("size the shared image", error))?;
        let path = self.shared.insert(loopdev::attach(&image, false, "fairlead-demo")?).path.clone();
        self.host.format(&self.host.device(&path).await?, FsType::Xfs).await?;
        self.host.mount(&path, &shared, FsType::Xfs, &[]).await
    }

    /// Starts the controller and servers A and B, and waits until each answers.
    pub(super) async fn start(&mut self) -> Result<()> {
        let controller = self.spawn("controller", "controller").await?;
        self.controller = Some(controller);
        for letter in ['a', 'b'] {
            let client = self.spawn("node", &format!("server-{letter}")).await?;
            let info = client.node().node_get_info(csi::NodeGetInfoRequest {}).await;
            let node_id = info.map_err(|status| refused("NodeGetInfo", &status))?.into_inner().node_id;
            let home = self.work.join(format!("server-{letter}"));
            self.servers.insert(letter, Server { client, node_id, home, used: Vec::new() });
        }
        Ok(())
    }

    async fn spawn(&mut self, command: &str, name: &str) -> Result<Client> {
        let home = self.work.join(name);
        self.host.make_directory(&home).await?;
        let socket = home.join("csi.sock");
        let config = home.join("config.yaml");
        let yaml = format!(
            "endpoint: unix://{}\nhttp: off\nlog: {{level: info, format: json}}\nnode: {{name: {name}, fileSystems: [xfs]}}\n\
             backends:\n  here:\n    kind: file\n    directory: {}\n",
            socket.display(),
            self.shared_directory().display()
        );
        fs::write(&config, yaml).map_err(|error| Error::io(format!("write {}", config.display()), error))?;
        let log = home.join("log");
        let log =
            fs::File::create(&log).map_err(|error| Error::io(format!("make {}", log.display()), error))?;
        let this =
            std::env::current_exe().map_err(|error| Error::io("find this program's own file", error))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "this program itself, as a server that runs on; no tool with a deadline"
        )]
        let child = Command::new(this)
            .args([command, "--config"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            // Ctrl-C in a terminal goes to the whole group; the servers must outlive it for the clean-up.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::io(format!("start `fairlead {command}`"), error))?;
        self.children.push(child);
        Client::dial_within(&socket, PATIENCE).await
    }

    /// The controller's client.
    pub(super) fn controller(&self) -> Result<&Client> {
        self.controller.as_ref().ok_or_else(|| Error::internal("the controller was not started"))
    }

    pub(super) fn server(&mut self, letter: char) -> Result<&mut Server> {
        self.servers
            .get_mut(&letter)
            .ok_or_else(|| Error::internal(format!("server {letter} was not started")))
    }

    /// Takes everything down in reverse order. Goes on after a failure, and reports the first one.
    pub(super) async fn clean_up(&mut self) -> Result<()> {
        let mut faults = Vec::new();
        for server in self.servers.values_mut() {
            for volume in server.used.clone() {
                faults.extend(server.release(&volume).await.err());
            }
        }
        if let Some(client) = &self.controller {
            let mut controller = client.controller();
            for volume in std::mem::take(&mut self.volumes) {
                let detach =
                    csi::ControllerUnpublishVolumeRequest { volume_id: volume.clone(), ..Default::default() };
                let detached = controller.controller_unpublish_volume(detach).await;
                faults.extend(detached.err().map(|status| refused("ControllerUnpublishVolume", &status)));
                let delete = csi::DeleteVolumeRequest { volume_id: volume, ..Default::default() };
                faults.extend(
                    controller
                        .delete_volume(delete)
                        .await
                        .err()
                        .map(|status| refused("DeleteVolume", &status)),
                );
            }
            for snapshot_id in std::mem::take(&mut self.snapshots) {
                let delete = csi::DeleteSnapshotRequest { snapshot_id, ..Default::default() };
                let deleted = controller.delete_snapshot(delete).await;
                faults.extend(deleted.err().map(|status| refused("DeleteSnapshot", &status)));
            }
        }
        for child in &mut self.children {
            faults.extend(stop(child).await.err());
        }
        faults.extend(self.host.unmount(&self.shared_directory()).await.err());
        if let Some(device) = self.shared.take() {
            faults.extend(loopdev::detach(&device, PATIENCE).err());
        }
        if faults.is_empty() {
            faults.extend(tree::remove(&self.work).err());
        }
        match faults.into_iter().next() {
            Some(fault) => Err(fault.with("left", self.work.display())),
            None => Ok(()),
        }
    }
}

/// Whether files of this directory can share blocks.
fn can_reflink(directory: &Path) -> Result<bool> {
    let (from, to) = (directory.join("from"), directory.join("to"));
    let fault = |error| Error::io(format!("try a reflink in {}", directory.display()), error);
    fs::write(&from, [1; 4096]).map_err(fault)?;
    let can = files::reflink(&fs::File::open(&from).map_err(fault)?, &fs::File::create(&to).map_err(fault)?);
    files::remove(&from)?;
    files::remove(&to)?;
    can
}

/// Asks a process to end, and waits.
async fn stop(child: &mut Child) -> Result<()> {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM)
        .map_err(|error| Error::io("stop a server", error.into()))?;
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(ended) => ended.map(|_| ()).map_err(|error| Error::io("wait for a server", error)),
        Err(_) => child.kill().await.map_err(|error| Error::io("kill a server", error)),
    }
}
