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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use call::Call;
use process::Process;

/// A controller with these keys under `kubernetes`, not yet started, with a directory of its own. It believes that it
/// runs in a pod, to which no token was given.
fn controller(keys: &str) -> (TempDir, Command) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    std::fs::write(directory.path().join("token"), "opensesame").unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let keys = keys.replace("OURS", &root.to_string());
    let text = format!(
        "endpoint: unix://{root}/s\nhttp: 127.0.0.1:0\nkubernetes: {{{keys}}}\n\
         backends: {{here: {{kind: file, directory: {root}/data}}}}\n"
    );
    let config = directory.path().join("c.yaml");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command.args(["controller", "--config"]).arg(config).env_clear();
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", "1");
    (directory, command)
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
            assert!(head.starts_with("GET /apis/storage.k8s.io/v1/csidrivers/csi.fairlead.dev"), "{head}");
            assert!(head.contains("Bearer opensesame"), "{head}");
            let required = attach_required.load(Ordering::SeqCst);
            let body = format!(
                "{{\"metadata\":{{\"name\":\"csi.fairlead.dev\"}},\"spec\":{{\"attachRequired\":{required}}}}}"
            );
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
