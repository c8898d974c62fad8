//! The controller with a Kubernetes API beside it, or without: what its state means for the process.

#![allow(clippy::disallowed_methods, reason = "a test starts the binary itself, without a shell between")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/call.rs"]
mod call;
#[path = "common/process.rs"]
mod process;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use call::Call;
use process::Process;

/// A controller with these keys under `kubernetes`, not yet started, with a directory of its own. It believes that it
/// runs in a pod, to which no token was given.
fn controller(keys: &str) -> (TempDir, Command) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let command = controller_of(&directory, keys, "{kind: file, directory: OURS/data}");
    (directory, command)
}

/// The same with this back end, in this directory (`OURS`).
fn controller_of(directory: &TempDir, keys: &str, backend: &str) -> Command {
    let root = directory.path().display().to_string();
    std::fs::write(directory.path().join("token"), "opensesame").unwrap();
    let text = format!(
        "endpoint: unix://OURS/s\nhttp: 127.0.0.1:0\nkubernetes: {{{keys}}}\nbackends: {{here: {backend}}}\n"
    );
    let text = text.replace("OURS", &root);
    let config = directory.path().join("c.yaml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command.args(["controller", "--config"]).arg(config).env_clear();
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", "1");
    command
}

/// The same, serving.
fn serving(keys: &str) -> (TempDir, Process) {
    let (directory, mut command) = controller(keys);
    let process = Process::start(&mut command, &directory.path().join("log"));
    process.wait_for("serving CSI");
    Call::begin(&directory.path().join("s")).finish();
    (directory, process)
}

/// An API server that knows one object, the CSIDriver, for as long as the test runs.
fn api_server(attach_required: Arc<AtomicBool>) -> SocketAddr {
    api_server_with(attach_required, Arc::default())
}

/// The same, which takes events of the pod storage/controller-1 and keeps them.
fn api_server_with(attach_required: Arc<AtomicBool>, events: Arc<Mutex<Vec<Value>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.contains("Bearer opensesame"), "{head}");
            let body = if head.starts_with("POST /api/v1/namespaces/storage/events") {
                let length = head.to_lowercase();
                let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let mut event = vec![0; length.parse().unwrap()];
                connection.read_exact(&mut event).unwrap();
                events.lock().unwrap().push(serde_json::from_slice(&event).unwrap());
                String::from_utf8(event).unwrap()
            } else {
                assert!(
                    head.starts_with("GET /apis/storage.k8s.io/v1/csidrivers/csi.fairlead.dev"),
                    "{head}"
                );
                let required = attach_required.load(Ordering::SeqCst);
                json!({"metadata": {"name": "csi.fairlead.dev"}, "spec": {"attachRequired": required}})
                    .to_string()
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_wrong_driver_object_makes_it_not_ready_until_it_is_right() {
    let attach_required = Arc::new(AtomicBool::new(false));
    let address = api_server(Arc::clone(&attach_required));
    let (_directory, driver) = serving(&format!("server: \"http://{address}\", credentials: OURS"));
    let page = driver.http("/readyz");
    let wanted = "kubernetes: the CSIDriver object csi.fairlead.dev has spec.attachRequired: expected true, found false";
    assert!(page.starts_with("HTTP/1.1 503") && page.contains(wanted), "{page}");
    assert!(driver.http("/metrics").contains("fairlead_kubernetes_reachable{} 1"));
    attach_required.store(true, Ordering::SeqCst);
    driver.wait_for_http("/readyz", "HTTP/1.1 200");
    assert!(!driver.log().contains("opensesame"), "{}", driver.log());
}

#[test]
fn an_api_server_that_is_down_matters_only_where_it_is_required() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (enabled, status, line) in [
        ("auto", "HTTP/1.1 200", "kubernetes: ready"),
        ("true", "HTTP/1.1 503", "kubernetes: the API server cannot be reached"),
    ] {
        let keys = format!("enabled: {enabled}, server: \"http://{gone}\", credentials: OURS");
        let (_directory, driver) = serving(&keys);
        let page = driver.http("/readyz");
        assert!(page.starts_with(status) && page.contains(line), "{enabled}: {page}");
        assert!(driver.http("/metrics").contains("fairlead_kubernetes_reachable{} 0"), "{enabled}");
        assert!(driver.log().contains("Connection refused"), "{}", driver.log());
    }
}

#[test]
fn without_credentials_the_api_is_left_alone_unless_it_is_required() {
    let own = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert!(!own.exists(), "this test needs a machine that is no pod");
    let (_directory, driver) = serving("enabled: auto");
    assert!(driver.log().contains("the Kubernetes API is not used"), "{}", driver.log());
    assert!(!driver.http("/readyz").contains("kubernetes"), "{}", driver.http("/readyz"));
    assert!(!driver.http("/metrics").contains("fairlead_kubernetes_reachable{}"));
    for (keys, pod, wanted) in [
        (
            "enabled: true",
            true,
            "serviceaccount/token cannot be read (a pod has it where automountServiceAccountToken is true)",
        ),
        ("enabled: true", false, "this process runs in no pod"),
        ("credentials: /no/such", true, "/no/such/token cannot be read"),
    ] {
        let (_directory, mut command) = controller(keys);
        if !pod {
            command.env_remove("KUBERNETES_SERVICE_HOST");
        }
        let refused = command.output().unwrap();
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && text.contains(wanted), "{keys}: {text}");
    }
}

#[test]
fn changed_credentials_that_are_bad_are_told_on_the_own_pod_and_harm_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime.block_on(cloudsim::Sim::start(cloudsim::Config::openstack())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let clouds = directory.path().join("clouds.yaml");
    std::fs::write(&clouds, sim.clouds_yaml()).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let address = api_server_with(Arc::new(AtomicBool::new(true)), Arc::clone(&events));
    let keys = format!("server: \"http://{address}\", credentials: OURS");
    let mut command =
        controller_of(&directory, &keys, "{kind: cinder, cloudsFile: OURS/clouds.yaml, cloud: csi}");
    let pod = [("POD_NAMESPACE", "storage"), ("POD_NAME", "controller-1"), ("POD_UID", "u-1")];
    let driver = Process::start(command.envs(pod), &directory.path().join("log"));
    driver.wait_for("serving CSI");
    driver.wait_for_http("/readyz", "HTTP/1.1 200");
    std::fs::write(&clouds, sim.clouds_yaml().replace(cloudsim::PASSWORD, "a-mistyped-password")).unwrap();
    driver.wait_for_http("/metrics", "fairlead_credentials_reload_failed{backend=\"here\"} 1");
    let start = Instant::now();
    while events.lock().unwrap().is_empty() {
        assert!(start.elapsed() < process::PATIENCE, "no event:\n{}", driver.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let event = events.lock().unwrap()[0].clone();
    let about = json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "storage", "name": "controller-1", "uid": "u-1",
    });
    assert_eq!((&event["involvedObject"], &event["reason"]), (&about, &json!("CredentialsReloadFailed")));
    let message = event["message"].as_str().unwrap();
    assert!(message.starts_with("back end here: changed credentials are bad, and those before them stay: "));
    assert!(driver.http("/readyz").starts_with("HTTP/1.1 200"), "{}", driver.http("/readyz"));
    for secret in [cloudsim::PASSWORD, "a-mistyped-password", "opensesame"] {
        assert!(!event.to_string().contains(secret) && !driver.log().contains(secret), "{secret}: {event}");
    }
}
