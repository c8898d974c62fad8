//! Real `fairlead` processes in a directory of their own, cleaned up whatever happens.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test code, of which each test takes the part that it needs"
)]

#[path = "logs.rs"]
pub mod logs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fairlead::client::Client;

/// The driver's own binary, as cargo built it for this test.
const BINARY: &str = env!("CARGO_BIN_EXE_fairlead");
const PATIENCE: Duration = Duration::from_secs(10);

/// A temporary directory with the volumes' directory in it. Dropping it unmounts, detaches and removes all below it.
#[derive(Debug)]
pub struct Lab {
    pub root: PathBuf,
}

impl Lab {
    /// # Panics
    /// Without root, loudly: these tests mount.
    pub fn new(name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test mounts file systems: run it as root");
        let root = tempfile::Builder::new().prefix(&format!("fairlead-{name}.")).tempdir().unwrap().keep();
        fs::create_dir(root.join("volumes")).unwrap();
        Self { root }
    }

    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Starts `fairlead <command>` as server `name`, with the environment variables given, and waits until it answers.
    pub async fn start(&self, command: &str, name: &str, environment: &[(&str, &str)]) -> Driver {
        let here = format!("here: {{kind: file, directory: {}}}", self.volumes().display());
        self.start_with(command, name, environment, &here).await
    }

    /// The same with another back end, as a line of YAML.
    pub async fn start_with(
        &self,
        command: &str,
        name: &str,
        environment: &[(&str, &str)],
        backend: &str,
    ) -> Driver {
        let home = self.root.join(name);
        fs::create_dir_all(&home).unwrap();
        let (socket, config) = (home.join("csi.sock"), home.join("config.yaml"));
        let yaml = format!(
            "endpoint: unix://{}\nhttp: off\nlog: {{level: debug, format: json}}\nnode: {{name: {name}}}\n\
             backends:\n  {backend}\n",
            socket.display(),
        );
        fs::write(&config, yaml).unwrap();
        let log = fs::File::options().create(true).append(true).open(home.join("log")).unwrap();
        let child = spawn(command, &config, environment, log);
        let mut driver = Driver { child, socket, client: None, log: home.join("log") };
        match Client::dial_within(&driver.socket, PATIENCE).await {
            Ok(client) => driver.client = Some(client),
            Err(error) => panic!("{error:?}\n{}", driver.log()),
        }
        driver
    }
}

#[allow(clippy::disallowed_methods, reason = "the program under test")]
fn spawn(command: &str, config: &Path, environment: &[(&str, &str)], log: fs::File) -> Child {
    Command::new(BINARY)
        .args([command, "--config"])
        .arg(config)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A running driver. Dropping it kills it.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    pub socket: PathBuf,
    client: Option<Client>,
    log: PathBuf,
}

impl Driver {
    pub fn client(&self) -> Client {
        self.client.clone().expect("started")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
        logs::keep(&self.log);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for mount in mounts_below(&self.root).into_iter().rev() {
            if let Err(error) = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH) {
                eprintln!("cannot unmount {}: {error}", mount.display());
            }
        }
        for (device, image) in loops_below(&self.root) {
            if let Err(error) = detach(&device) {
                eprintln!("cannot detach {} from {}: {error}", device.display(), image.display());
            }
        }
        if mounts_below(&self.root).is_empty() {
            // Nothing is mounted below, so this cannot reach a volume.
            fairlead::host::tree::remove(&self.root).unwrap_or_else(|error| eprintln!("{error:?}"));
        }
    }
}

/// Mount points below a directory, in the order of mounting.
pub fn mounts_below(root: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(root)).collect()
}

/// Loop devices whose image lies below a directory (also a deleted one).
pub fn loops_below(root: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        if let Ok(image) = fs::read_to_string(entry.path().join("loop/backing_file"))
            && Path::new(image.trim()).starts_with(root)
        {
            found.push((Path::new("/dev").join(entry.file_name()), PathBuf::from(image.trim())));
        }
    }
    found
}

#[allow(clippy::disallowed_methods, reason = "a test's own clean-up")]
fn detach(device: &Path) -> std::io::Result<()> {
    let status = Command::new("losetup").arg("--detach").arg(device).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}
