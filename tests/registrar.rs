//! The real node binary and a kubelet played by the test. Needs root: the kubelet's directory is a shared mount in a
//! mount namespace of its own.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "a test starts the binary itself")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/call.rs"]
mod call;
#[path = "common/process.rs"]
mod process;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use fairlead::client::Client;
use fairlead::proto::csi::NodeGetInfoRequest;
use fairlead::proto::pluginregistration::registration_client::RegistrationClient;
use fairlead::proto::pluginregistration::{InfoRequest, PluginInfo, RegistrationStatus};
use hyper_util::rt::TokioIo;
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use call::Call;
use process::{PATIENCE, Process};

const DRIVER: &str = "csi.fairlead.dev";

fn registered(value: u8) -> String {
    format!("\nfairlead_kubelet_registered{{driver=\"{DRIVER}\"}} {value}\n")
}

/// A machine with a kubelet's directory.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test makes mount namespaces: run it as root");
        let machine = Self(tempfile::tempdir().unwrap());
        for name in ["data", "kubelet/pods", "kubelet/plugins"] {
            std::fs::create_dir_all(machine.path(name)).unwrap();
        }
        std::fs::create_dir(machine.path("kubelet/plugins_registry")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn endpoint(&self, name: &str) -> PathBuf {
        self.path(&format!("kubelet/plugins/{name}/csi.sock"))
    }

    fn registration(&self) -> PathBuf {
        self.path(&format!("kubelet/plugins_registry/{DRIVER}-reg.sock"))
    }

    /// `fairlead <role>` with its CSI socket in `plugins/<name>`, where the kubelet's directory is mounted so.
    fn command(&self, role: &str, name: &str, propagation: &str) -> Command {
        self.command_of(role, name, propagation, &["data"])
    }

    /// The same with back ends of these directories, and of their names.
    fn command_of(&self, role: &str, name: &str, propagation: &str, backends: &[&str]) -> Command {
        let config = self.path(&format!("{name}.yaml"));
        let root = self.0.path().display();
        let text = format!(
            "endpoint: unix://{}\nhttp: 127.0.0.1:0\nnode: {{name: worker, kubeletDir: {root}/kubelet}}\n\
             backends:\n",
            self.endpoint(name).display()
        );
        let backends =
            backends.iter().map(|name| format!("  {name}: {{kind: file, directory: {root}/{name}}}\n"));
        let text = text + &backends.collect::<String>();
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" \"$0\" && mount --make-$1 \"$0\" && shift && exec \"$@\"";
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(self.path("kubelet"))
            .args([propagation, env!("CARGO_BIN_EXE_fairlead"), role, "--config"])
            .arg(config);
        command
    }

    fn start(&self) -> Process {
        let mut command = self.command("node", "one", "shared");
        let process = Process::start(&mut command, &self.path("one.log"));
        process.wait_for("waiting for the kubelet to register the driver");
        process
    }

    /// Starts a process that must end by itself; tells its exit code and what it logged.
    fn fail(&self, name: &str, propagation: &str) -> (Option<i32>, String) {
        let mut command = self.command("node", name, propagation);
        let mut process = Process::start(&mut command, &self.path(&format!("{name}.failed.log")));
        (process.end(), process.log())
    }
}

/// What the kubelet does with a registration socket that it finds.
struct Kubelet(RegistrationClient<Channel>);

impl Kubelet {
    async fn find(socket: &Path) -> Self {
        let path = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://kubelet").connect_with_connector(connect).await.unwrap();
        Self(RegistrationClient::new(channel))
    }

    async fn ask(&mut self) -> PluginInfo {
        self.0.get_info(InfoRequest {}).await.unwrap().into_inner()
    }

    async fn notify(&mut self, error: Option<&str>) {
        let status = RegistrationStatus {
            plugin_registered: error.is_none(),
            error: error.unwrap_or_default().to_owned(),
        };
        self.0.notify_registration_status(status).await.unwrap();
    }
}

#[tokio::test]
async fn the_kubelet_registers_the_driver() {
    let machine = Machine::new();
    let process = machine.start();
    assert_eq!(std::fs::symlink_metadata(machine.registration()).unwrap().mode() & 0o777, 0o600);
    let page = process.http("/readyz");
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("kubelet: has not registered the driver yet"),
        "{page}"
    );
    assert!(process.http("/metrics").contains(&registered(0)));

    let mut kubelet = Kubelet::find(&machine.registration()).await;
    let info = kubelet.ask().await;
    let endpoint = machine.endpoint("one").display().to_string();
    let wanted = PluginInfo {
        r#type: "CSIPlugin".to_owned(),
        name: DRIVER.to_owned(),
        endpoint,
        supported_versions: vec!["1.0.0".to_owned()],
    };
    assert_eq!(info, wanted);
    let client = Client::dial(Path::new(&info.endpoint)).await.unwrap();
    let node = client.node().node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert!(node.node_id.starts_with("worker"), "{node:?}");
    kubelet.notify(None).await;
    process.wait_for("the kubelet has registered the driver");
    let page = process.http("/readyz");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("kubelet: ready"), "{page}");
    assert!(process.http("/metrics").contains(&registered(1)));
}

#[tokio::test]
async fn a_registration_that_fails_is_told_and_tried_again() {
    let machine = Machine::new();
    let process = machine.start();
    let mut kubelet = Kubelet::find(&machine.registration()).await;
    let reason = "RegisterPlugin error -- plugin validation failed with err: no";
    kubelet.notify(Some(reason)).await;
    let page = process.http("/readyz");
    assert!(page.starts_with("HTTP/1.1 503") && page.contains(reason), "{page}");
    assert!(process.log().contains(reason), "{}", process.log());
    assert!(process.http("/metrics").contains(&registered(0)));
    kubelet.ask().await;
    kubelet.notify(None).await;
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
    // A kubelet that started again, and now fails.
    Kubelet::find(&machine.registration()).await.notify(Some("node not found")).await;
    assert!(process.http("/readyz").contains("node not found"));
}

#[tokio::test]
async fn a_registration_socket_that_was_removed_is_made_again() {
    let machine = Machine::new();
    let process = machine.start();
    let socket = machine.registration();
    Kubelet::find(&socket).await.notify(None).await;
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
    // The whole directory goes and comes back, as when the kubelet is installed anew.
    std::fs::remove_file(&socket).unwrap();
    std::fs::remove_dir(socket.parent().unwrap()).unwrap();
    process.wait_for_http("/readyz", "kubelet: cannot register the driver: cannot open");
    assert!(process.http("/metrics").contains(&registered(0)));
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    let start = Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < PATIENCE, "{}", process.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    process.wait_for_http("/readyz", "kubelet: has not registered the driver since");
    let mut kubelet = Kubelet::find(&socket).await;
    assert_eq!(kubelet.ask().await.name, DRIVER);
    kubelet.notify(None).await;
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_back_end_that_comes_late_is_told_to_the_kubelet() {
    let machine = Machine::new();
    let mut command = machine.command_of("node", "one", "shared", &["data", "late"]);
    let process = Process::start(&mut command, &machine.path("one.log"));
    process.wait_for("waiting for the kubelet to register the driver");
    let segments = async || {
        let client = Client::dial(&machine.endpoint("one")).await.unwrap();
        let node = client.node().node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
        let topology = node.accessible_topology.unwrap_or_default();
        topology
            .segments
            .into_keys()
            .map(|key| key.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    Kubelet::find(&machine.registration()).await.notify(None).await;
    assert_eq!(segments().await, ["data"]);
    assert!(process.log().contains("this node is told of without it"), "{}", process.log());
    std::fs::create_dir(machine.path("late")).unwrap();
    process.wait_for("registering anew");
    process.wait_for_http("/readyz", "kubelet: has not registered the driver since");
    Kubelet::find(&machine.registration()).await.notify(None).await;
    assert_eq!(segments().await, ["data", "late"]);
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_registration_ends_last_when_all_is_finished() {
    let machine = Machine::new();
    let mut process = machine.start();
    let call = Call::begin(&machine.endpoint("one"));
    process.signal(Signal::SIGTERM);
    process.wait_for("asked to end");
    process.wait_for_http("/readyz", "process: is ending");
    assert!(machine.registration().exists(), "registered while a call is answered");
    call.finish();
    assert_eq!(process.end(), Some(0), "{}", process.log());
    assert!(!machine.registration().exists() && !machine.endpoint("one").exists());
}

#[tokio::test]
async fn the_sockets_of_a_killed_driver_are_taken_over() {
    let machine = Machine::new();
    let mut process = machine.start();
    process.signal(Signal::SIGKILL);
    assert_eq!(process.end(), None);
    assert!(machine.registration().exists() && machine.endpoint("one").exists());
    let process = machine.start();
    let mut kubelet = Kubelet::find(&machine.registration()).await;
    assert_eq!(kubelet.ask().await.name, DRIVER);
    kubelet.notify(None).await;
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_second_driver_of_the_same_name_is_refused() {
    let machine = Machine::new();
    let process = machine.start();
    let inode = std::fs::symlink_metadata(machine.registration()).unwrap().ino();
    for (name, taken) in [("one", machine.endpoint("one")), ("two", machine.registration())] {
        let (code, log) = machine.fail(name, "shared");
        assert_eq!(code, Some(1), "{log}");
        let line = format!(
            "fairlead: a process already serves {}: stop it, or give it another \"driverName\" and \"endpoint\": \
             two drivers with the same name, {DRIVER}, cannot be on one node\n",
            taken.display()
        );
        assert!(log.ends_with(&line), "{log}");
    }
    assert!(!machine.endpoint("two").exists(), "what was opened first is removed");
    assert_eq!(std::fs::symlink_metadata(machine.registration()).unwrap().ino(), inode);
    Kubelet::find(&machine.registration()).await.notify(None).await;
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_machine_on_which_no_pod_could_get_its_volume_is_refused() {
    let machine = Machine::new();
    for propagation in ["private", "slave"] {
        let (code, log) = machine.fail("one", propagation);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("kubelet/pods would not reach the kubelet"), "{log}");
        assert!(log.trim_end().ends_with("mountPropagation: Bidirectional"), "{log}");
    }
    std::fs::remove_dir(machine.path("kubelet/pods")).unwrap();
    std::fs::remove_dir(machine.path("kubelet/plugins_registry")).unwrap();
    let (code, log) = machine.fail("one", "shared");
    assert_eq!(code, Some(1), "{log}");
    let line = format!(
        "the kubelet's directory {} lacks pods, plugins_registry: ",
        machine.path("kubelet").display()
    );
    assert!(log.contains(&line), "{log}");
}

#[test]
fn a_controller_does_not_register() {
    let machine = Machine::new();
    // Only a node makes this directory.
    std::fs::create_dir(machine.path("kubelet/plugins/one")).unwrap();
    let mut command = machine.command("controller", "one", "private");
    let process = Process::start(&mut command, &machine.path("one.log"));
    process.wait_for("serving CSI");
    assert!(process.http("/readyz").starts_with("HTTP/1.1 200"));
    assert!(!machine.registration().exists());
    assert!(!process.http("/metrics").contains("fairlead_kubelet_registered{"));
}
