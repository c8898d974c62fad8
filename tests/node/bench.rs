//! A node, a back end and a kubelet's directory in a temporary place, all taken away at the end, also after a panic.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fairlead::backend::file::{FileBackend, FileConfig, FileConnector};
use fairlead::backend::{AttachOrder, Backend, Connector, DetachOrder, VolumeOrder};
use fairlead::host::{Host, Linux};
use fairlead::metrics::Metrics;
use fairlead::node::{Node, NodeConfig, Publish, Stage};
use fairlead::volume::{
    Access, AccessKind, AccessMode, BackendName, Bytes, Content, FsType, MountFlags, NodeId, Owner,
    Parameters, SizeRange, Source, Topology, TopologyRequirement, VolumeId,
};
use tempfile::TempDir;

/// Enough for every file system.
pub const SIZE: Bytes = Bytes::mib(320);

/// loop(4).
const LOOP_CLR_FD: nix::libc::Ioctl = 0x4C01;

pub struct Bench {
    /// Absent in a process that works in another's bench: that one cleans up.
    owned: Option<TempDir>,
    root: PathBuf,
    backend: FileBackend,
    pub node: Node,
}

pub fn mount(fs: FsType, flags: &[&str]) -> AccessKind {
    AccessKind::Mount { fs, flags: MountFlags::new(flags.iter().map(|flag| (*flag).to_owned()).collect()) }
}

/// Whether this process may grow a mounted ext4.
pub fn has_sys_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> 24 & 1 == 1
}

fn name() -> BackendName {
    "here".parse().unwrap()
}

impl Bench {
    pub async fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests mount file systems: run them as root");
        let owned = tempfile::tempdir().unwrap();
        let root = owned.path().to_owned();
        let mut bench = Self::within(root).await;
        bench.owned = Some(owned);
        bench
    }

    /// Another process in the same bench.
    pub async fn within(root: PathBuf) -> Self {
        for part in ["staging", "pods"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        let config = FileConfig::new(root.join("images"));
        fs::create_dir_all(&config.directory).unwrap();
        let backend = FileBackend::open(config).await.unwrap();
        let node = Self::server(&root, "worker-1").await;
        Self { owned: None, root, backend, node }
    }

    async fn server(root: &Path, server: &str) -> Node {
        let connector: Arc<dyn Connector> = Arc::new(Self::connector(root, server));
        let host: Arc<dyn Host> = Arc::new(Linux::new());
        assert_eq!(host.missing_tools(&FsType::ALL), Vec::<String>::new(), "these tests need every tool");
        let config = NodeConfig {
            name: server.into(),
            topology: Topology::default(),
            max_volumes: None,
            foreign: None,
        };
        let connectors = BTreeMap::from([(name(), connector)]);
        let node = Node::new(config, host, connectors, Arc::new(Metrics::default()));
        node.info().await.unwrap();
        node
    }

    fn connector(root: &Path, server: &str) -> FileConnector {
        FileConnector::new(FileConfig::new(root.join("images")), name(), server.into())
    }

    /// A second node, which sees the same images.
    pub async fn other_node(&self) -> Node {
        Self::server(&self.root, "worker-2").await
    }

    /// What the back end's record says of a volume's content.
    pub async fn content(&self, volume: &VolumeId) -> Content {
        Self::connector(&self.root, "worker-1").content(&volume.native).await.unwrap().unwrap()
    }

    /// Records that a volume's mkfs has begun.
    pub async fn mark_formatting(&self, volume: &VolumeId) {
        Self::connector(&self.root, "worker-1").mark_formatting(&volume.native).await.unwrap();
    }

    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Shows the kubelet's directories a second time, with propagation, as where they lie on a disk of their own. Mounts
    /// of the bench's own: three.
    pub fn second_view(&self) {
        use nix::mount::{MsFlags, mount};
        let (view, none) = (self.directory().join("view"), None::<&str>);
        fs::create_dir(&view).unwrap();
        mount(Some(self.directory()), self.directory(), none, MsFlags::MS_BIND, none).unwrap();
        mount(none, self.directory(), none, MsFlags::MS_SHARED, none).unwrap();
        mount(Some(self.directory()), &view, none, MsFlags::MS_BIND, none).unwrap();
    }

    pub fn staging(&self, volume: &str) -> PathBuf {
        let path = self.directory().join("staging").join(volume);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn image(&self, stage: &Stage) -> PathBuf {
        self.directory().join("images/volumes").join(format!("{}.img", stage.volume.native))
    }

    pub fn access(&self, kind: AccessKind) -> Access {
        Access { kind, mode: AccessMode::SingleNodeMultiWriter }
    }

    pub async fn create(&self, volume: &str, size: Bytes, source: Option<Source>) {
        let order = VolumeOrder {
            name: volume.into(),
            size: SizeRange::at_least(size),
            source,
            access: vec![self.access(AccessKind::Block)],
            parameters: Parameters::default(),
            mutable: Parameters::default(),
            topology: TopologyRequirement::default(),
            owner: Owner::default(),
        };
        self.backend.create(&order).await.unwrap();
    }

    pub async fn attach(&self, volume: &str, kind: AccessKind, readonly: bool) -> Stage {
        self.attach_to("worker-1", volume, kind, readonly).await
    }

    pub async fn attach_to(&self, server: &str, volume: &str, kind: AccessKind, readonly: bool) -> Stage {
        let access = self.access(kind);
        let node = NodeId::new(server, BTreeMap::new()).unwrap();
        let order = AttachOrder { volume: volume.parse().unwrap(), node, access: access.clone(), readonly };
        let attachment = self.backend.attach(&order).await.unwrap();
        let volume = VolumeId::new(name(), order.volume);
        let path = self.staging(volume.native.as_str());
        Stage { volume, attachment, path, access }
    }

    /// A new volume, attached, with its staging directory.
    pub async fn volume(&self, volume: &str, kind: AccessKind) -> Stage {
        self.create(volume, SIZE, None).await;
        self.attach(volume, kind, false).await
    }

    pub async fn detach(&self, volume: &VolumeId) {
        let order = DetachOrder { volume: volume.native.clone(), node: None, fence: None };
        self.backend.detach(&order).await.unwrap();
    }

    pub async fn expand(&self, volume: &VolumeId, size: SizeRange) {
        self.backend.expand(&volume.native, size).await.unwrap();
    }

    pub async fn remove(&self, volume: &VolumeId) {
        self.detach(volume).await;
        self.backend.delete(&volume.native).await.unwrap();
    }

    pub fn publish(&self, stage: &Stage, target: &str) -> Publish {
        Publish {
            volume: stage.volume.clone(),
            staging: stage.path.clone(),
            target: self.directory().join("pods").join(target),
            access: stage.access.clone(),
            readonly: false,
        }
    }

    /// Lets the kernel believe that it met a fault in the volume's ext4.
    pub fn abort(&self, stage: &Stage) {
        let (_, source) = self.table().into_iter().find(|(target, _)| *target == stage.path).unwrap();
        let device = Path::new(&source).file_name().unwrap();
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(trigger, "a test of the health report").unwrap();
    }

    /// Mounts below the directory: target and source.
    fn table(&self) -> Vec<(PathBuf, String)> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let parse = |line: &str| {
            let target = PathBuf::from(line.split(' ').nth(4)?);
            let source = line.split(" - ").nth(1)?.split(' ').nth(1)?.to_owned();
            target.starts_with(self.directory()).then_some((target, source))
        };
        table.lines().filter_map(parse).collect()
    }

    pub fn mounts(&self) -> usize {
        self.table().len()
    }

    /// The loop devices that show a file below the directory.
    fn devices(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap());
        let ours = |path: &PathBuf| {
            let file = fs::read_to_string(path.join("loop/backing_file")).unwrap_or_default();
            Path::new(&file).starts_with(self.directory())
        };
        let paths = entries.map(|entry| entry.path()).filter(ours);
        paths.map(|path| Path::new("/dev").join(path.file_name().unwrap())).collect()
    }

    /// The one loop device that is bound, in sysfs.
    pub fn device(&self) -> PathBuf {
        let devices = self.devices();
        assert_eq!(devices.len(), 1);
        Path::new("/sys/block").join(devices[0].file_name().unwrap())
    }

    /// How many loop devices are bound. One that was let go of still shows for a moment while another test looks at it.
    pub fn loops(&self) -> usize {
        let mut least = self.devices().len();
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            least = least.min(self.devices().len());
        }
        least
    }
}

impl Drop for Bench {
    #[allow(
        clippy::disallowed_methods,
        reason = "losetup detaches what a failed test left, by the device's name"
    )]
    fn drop(&mut self) {
        if self.owned.is_none() {
            return;
        }
        // Looked up first: without the mounts of a second view, the kernel tells the images' paths otherwise.
        let devices = self.devices();
        for (target, _) in self.table().into_iter().rev() {
            if let Err(errno) = nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH) {
                eprintln!("{} stays mounted: {errno}", target.display());
            }
        }
        for device in devices {
            let Ok(file) = fs::File::open(&device) else { continue };
            // SAFETY: the descriptor is open and LOOP_CLR_FD takes no argument. No command is started for this: a fork
            // would hold the devices and mounts of the tests beside this one for a moment.
            if unsafe { nix::libc::ioctl(file.as_raw_fd(), LOOP_CLR_FD, 0) } != 0 {
                eprintln!("{} stays: {}", device.display(), std::io::Error::last_os_error());
            }
        }
        if self.mounts() > 0
            && let Some(directory) = self.owned.take()
        {
            // A tree that holds a mount must not be removed.
            eprintln!("{} is left: something is still mounted in it", directory.keep().display());
        }
    }
}
