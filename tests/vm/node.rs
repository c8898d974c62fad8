//! The driver's node in the machine, as the kubelet sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fairlead::client::Client;
use fairlead::proto::csi;
use fairlead::volume::{Attachment, Bytes, Connection, Content};
use tokio::net::{TcpStream, UnixListener};
use tonic::Status;

use crate::machine::Machine;

const HOME: &str = "/var/lib/kubelet";

pub struct Node<'a> {
    pub machine: &'a Machine,
    client: Client,
}

/// What is staged.
#[derive(Clone, Debug)]
pub struct Volume {
    pub id: String,
    pub content: Content,
    pub size: Bytes,
    pub device: Option<String>,
    /// How many disks the cloud had, where its disks say nothing.
    pub disks: Option<u32>,
    pub capability: csi::VolumeCapability,
}

impl Volume {
    pub fn new(id: &str, mebibytes: u64) -> Self {
        Self {
            id: id.to_owned(),
            content: Content::New,
            size: Bytes::mib(mebibytes),
            device: None,
            disks: None,
            capability: mount("ext4"),
        }
    }

    fn handle(&self) -> String {
        format!("cloud/{}", self.id)
    }

    pub fn staging(&self) -> String {
        format!("{HOME}/{}/globalmount", self.id)
    }

    pub fn target(&self) -> String {
        format!("{HOME}/{}/mount", self.id)
    }

    fn context(&self) -> BTreeMap<String, String> {
        let attachment = Attachment {
            nonce: format!("attachment-of-{}", self.id),
            size: self.size,
            content: self.content,
            readonly: false,
            connection: match self.disks {
                None => Connection::Disk { serial: self.id.clone(), device: self.device.clone() },
                Some(disks) => Connection::Nameless { volume: self.id.clone(), disks },
            },
        };
        attachment.to_context().unwrap()
    }
}

pub fn mount(fs: &str) -> csi::VolumeCapability {
    use csi::volume_capability::access_mode::Mode;
    use csi::volume_capability::{AccessMode, AccessType, MountVolume};
    csi::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume { fs_type: fs.into(), ..Default::default() })),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
    }
}

impl<'a> Node<'a> {
    /// Starts the driver in the machine, anew where it runs already. `settings` are lines of the back end's section
    /// `node`.
    pub async fn start(machine: &'a Machine, settings: &str) -> Self {
        Self::start_in(machine, "openstack", settings).await
    }

    /// The same in another kind of cloud.
    pub async fn start_in(machine: &'a Machine, dialect: &str, settings: &str) -> Self {
        machine.run(&format!(
            "killall -q fairlead || true; while pidof fairlead; do sleep 0.1; done; rm -f /run/csi/socket\n\
             cat > /etc/fairlead.yaml <<'END'\n\
             endpoint: unix:///run/csi/socket\n\
             http: off\n\
             log: {{level: debug}}\n\
             node: {{name: machine, fileSystems: [ext4, xfs]}}\n\
             backends:\n  cloud:\n    kind: cinder\n    dialect: {dialect}\n    node:\n{settings}\n\
             END\n\
             (setsid /fairlead node --config /etc/fairlead.yaml >>/run/node.log 2>&1 &)\n\
             for i in $(seq 300); do [ -S /run/csi/socket ] && exit 0; sleep 0.1; done; cat /run/node.log; exit 1"
        ));
        let socket = forward(machine.csi);
        let client = Client::dial_within(&socket, Duration::from_secs(20)).await;
        Self {
            machine,
            client: client
                .unwrap_or_else(|error| panic!("{error:?}\n{}", machine.run("tail -40 /run/node.log"))),
        }
    }

    pub async fn info(&self) -> Result<csi::NodeGetInfoResponse, Status> {
        let request = csi::NodeGetInfoRequest::default();
        self.client.node().node_get_info(request).await.map(tonic::Response::into_inner)
    }

    pub async fn stage(&self, volume: &Volume) -> Result<(), Status> {
        self.machine.run(&format!("mkdir -p {}", volume.staging()));
        self.stage_only(volume).await
    }

    /// Without the directory, which must be there already.
    pub async fn stage_only(&self, volume: &Volume) -> Result<(), Status> {
        let request = csi::NodeStageVolumeRequest {
            volume_id: volume.handle(),
            publish_context: volume.context(),
            staging_target_path: volume.staging(),
            volume_capability: Some(volume.capability.clone()),
            ..Default::default()
        };
        self.client.node().node_stage_volume(request).await.map(drop)
    }

    pub async fn publish(&self, volume: &Volume) -> Result<(), Status> {
        let request = csi::NodePublishVolumeRequest {
            volume_id: volume.handle(),
            publish_context: volume.context(),
            staging_target_path: volume.staging(),
            target_path: volume.target(),
            volume_capability: Some(volume.capability.clone()),
            ..Default::default()
        };
        self.client.node().node_publish_volume(request).await.map(drop)
    }

    pub async fn unpublish(&self, volume: &Volume) -> Result<(), Status> {
        let request =
            csi::NodeUnpublishVolumeRequest { volume_id: volume.handle(), target_path: volume.target() };
        self.client.node().node_unpublish_volume(request).await.map(drop)
    }

    pub async fn unstage(&self, volume: &Volume) -> Result<(), Status> {
        let request = csi::NodeUnstageVolumeRequest {
            volume_id: volume.handle(),
            staging_target_path: volume.staging(),
        };
        self.client.node().node_unstage_volume(request).await.map(drop)
    }

    pub async fn expand(&self, volume: &Volume, mebibytes: i64) -> Result<i64, Status> {
        let request = csi::NodeExpandVolumeRequest {
            volume_id: volume.handle(),
            volume_path: volume.target(),
            staging_target_path: volume.staging(),
            capacity_range: Some(csi::CapacityRange { required_bytes: mebibytes << 20, limit_bytes: 0 }),
            volume_capability: Some(volume.capability.clone()),
            ..Default::default()
        };
        Ok(self.client.node().node_expand_volume(request).await?.into_inner().capacity_bytes)
    }

    /// The reasons of the faults that are told.
    pub async fn health(&self, volume: &Volume) -> Result<String, Status> {
        let request = csi::NodeGetVolumeHealthRequest { volume_id: volume.handle(), ..Default::default() };
        Ok(format!("{:?}", self.client.node().node_get_volume_health(request).await?.into_inner()))
    }

    /// All the way up, to a file system that can be written to.
    pub async fn bring_up(&self, volume: &Volume) {
        self.stage(volume).await.unwrap_or_else(|status| self.fail("stage", &status));
        self.publish(volume).await.unwrap_or_else(|status| self.fail("publish", &status));
    }

    /// All the way down.
    pub async fn take_down(&self, volume: &Volume) {
        self.unpublish(volume).await.unwrap_or_else(|status| self.fail("unpublish", &status));
        self.unstage(volume).await.unwrap_or_else(|status| self.fail("unstage", &status));
    }

    fn fail(&self, what: &str, status: &Status) -> ! {
        panic!("{what}: {status:?}\n{}", self.machine.run("tail -30 /run/node.log; dmesg | tail -20"))
    }
}

/// A socket here that leads to the driver's in the machine. It lasts as long as the runtime.
fn forward(port: u16) -> PathBuf {
    let directory = tempfile::Builder::new().prefix("fairlead-vm.").tempdir().unwrap();
    let path = directory.path().join("csi");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let _directory = directory;
        while let Ok((mut here, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)).await {
                    // The end of a connection shows at both of its ends.
                    drop(tokio::io::copy_bidirectional(&mut here, &mut there).await);
                }
            });
        }
    });
    path
}
