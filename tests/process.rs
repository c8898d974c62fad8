//! The real binary, as its users start and stop it. Needs no root: it serves the controller alone.

#![allow(clippy::disallowed_methods, reason = "a test starts the binary itself, without a shell between")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than anything here takes; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn fairlead(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn output(arguments: &[&str]) -> Output {
    fairlead(arguments).output().unwrap()
}

/// A running driver with its own directory; killed when the test is over, however it ends.
struct Driver {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and only its status is left to be taken.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

impl Driver {
    /// Starts the controller with these lines beside the usual ones, and waits until it serves.
    fn start(lines: &str, prepare: impl FnOnce(&std::path::Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let data = directory.path().join("data");
        if !data.exists() {
            std::fs::create_dir(data).unwrap();
        }
        let root = directory.path().display();
        let text = format!(
            "endpoint: unix://{root}/s\nhttp: 127.0.0.1:0\n{lines}\nbackends: {{here: {{kind: file, directory: {root}/data}}}}\n"
        );
        std::fs::write(directory.path().join("c.yaml"), text).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let config = directory.path().join("c.yaml");
        let child = fairlead(&["controller", "--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let driver = Self { child, directory };
        driver.wait_for("serving CSI");
        driver
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no {text:?} in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end; tells the exit code.
    fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn http(&self, path: &str) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving metrics and health")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    fn wait_for_http(&self, path: &str, text: &str) {
        let start = Instant::now();
        loop {
            let page = self.http(path);
            if page.contains(text) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no {text:?} in {page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Begins a call whose request is not finished until [`Call::finish`].
    fn begin_call(&self) -> Call {
        let mut connection = UnixStream::connect(self.path("s")).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/csi.v1.Identity/Probe"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal header field without indexing and without Huffman coding (RFC 7541, section 6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        bytes.extend(frame(1, 4, 1, &block));
        // A ping behind the headers: its answer says that they were read.
        bytes.extend(frame(6, 0, 0, &[7; 8]));
        connection.write_all(&bytes).unwrap();
        let mut call = Call(connection);
        while call.next() != (6, 1) {}
        call
    }
}

struct Call(UnixStream);

impl Call {
    /// Type and flags of the next frame.
    fn next(&mut self) -> (u8, u8) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        self.0.read_exact(&mut vec![0; length]).unwrap();
        (head[3], head[4])
    }

    /// Ends the request and waits for the trailers of the answer.
    fn finish(mut self) {
        self.0.write_all(&frame(0, 1, 1, &[0; 5])).unwrap();
        loop {
            match self.next() {
                (1, flags) if flags & 1 == 1 => return,
                (3, _) => panic!("the call was reset"),
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn version_usage_and_config_have_their_exit_codes() {
    let version = output(&["version"]);
    assert_eq!(version.status.code(), Some(0));
    let text = String::from_utf8(version.stdout).unwrap();
    assert!(text.starts_with(concat!("fairlead ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert_eq!(output(&["--help"]).status.code(), Some(0));
    assert_eq!(output(&[]).status.code(), Some(64));
    assert_eq!(output(&["node", "--nonsense"]).status.code(), Some(64));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    let name = file.to_str().unwrap();
    std::fs::write(&file, "htp: off\nbackends: {here: {kind: file, directory: data}}\n").unwrap();
    for arguments in
        [&["check-config", name][..], &["check-config", "--config", name], &["node", "--config", name]]
    {
        let bad = output(arguments);
        assert_eq!(bad.status.code(), Some(2));
        let text = String::from_utf8(bad.stderr).unwrap();
        assert!(
            text.contains(&format!("{name}:1:1: the key \"htp\" is not known (did you mean \"http\"?)")),
            "{text}"
        );
        assert!(
            text.contains(&format!("{name}:2:42: \"backends.here.directory\": \"data\" is no absolute path")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    std::fs::write(&file, "backends: {here: {kind: file, directory: /data}}\n").unwrap();
    let good = output(&["check-config", name]);
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8(good.stdout).unwrap().starts_with("ok\n"));
    let by_variable = fairlead(&["check-config"]).env("FAIRLEAD_CONFIG", name).output().unwrap();
    assert_eq!(by_variable.status.code(), Some(0));
}

#[test]
fn it_serves_and_ends_in_order() {
    let mut driver = Driver::start("gracePeriod: 10", |_| {});
    assert_eq!(std::fs::symlink_metadata(driver.path("s")).unwrap().mode() & 0o777, 0o600);
    assert!(driver.http("/healthz").starts_with("HTTP/1.1 200"));
    assert!(driver.http("/readyz").starts_with("HTTP/1.1 200"), "{}", driver.http("/readyz"));
    assert!(driver.http("/metrics").contains("fairlead_backend_ready{backend=\"here\"} 1"));
    driver.begin_call().finish();
    driver.signal(Signal::SIGTERM);
    assert_eq!(driver.end(), Some(0), "{}", driver.log());
    assert!(!driver.path("s").exists(), "the socket is gone");
}

#[test]
fn a_running_call_is_answered_after_sigterm_while_new_ones_are_not_taken() {
    let mut driver = Driver::start("gracePeriod: 15", |_| {});
    let call = driver.begin_call();
    driver.signal(Signal::SIGTERM);
    driver.wait_for("asked to end");
    let start = Instant::now();
    while UnixStream::connect(driver.path("s")).is_ok() {
        assert!(start.elapsed() < PATIENCE, "it still takes connections");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(driver.http("/readyz").contains("process: is ending"));
    assert!(driver.child.try_wait().unwrap().is_none(), "it waits for the call");
    call.finish();
    assert_eq!(driver.end(), Some(0), "{}", driver.log());
}

#[test]
fn the_grace_period_bounds_the_wait() {
    let mut driver = Driver::start("gracePeriod: 1", |_| {});
    let _call = driver.begin_call();
    let start = Instant::now();
    driver.signal(Signal::SIGTERM);
    assert_eq!(driver.end(), Some(1));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert!(driver.log().contains("ended early because the grace period is over"), "{}", driver.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut driver = Driver::start("gracePeriod: 1h", |_| {});
    let _call = driver.begin_call();
    driver.signal(Signal::SIGTERM);
    driver.wait_for("asked to end");
    driver.signal(Signal::SIGINT);
    assert_eq!(driver.end(), Some(1));
    assert!(driver.log().contains("ended early because a second signal came"), "{}", driver.log());
}

#[test]
fn a_second_driver_on_the_same_socket_is_refused() {
    let driver = Driver::start("", |_| {});
    let config = driver.path("c.yaml");
    let second = output(&["controller", "--config", config.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("a process already serves"), "{text}");
    driver.begin_call().finish();
}

#[test]
fn a_killed_driver_s_socket_is_taken_over() {
    let mut driver = Driver::start("", |_| {});
    driver.signal(Signal::SIGKILL);
    assert_eq!(driver.end(), None);
    assert!(driver.path("s").exists());
    let log = std::fs::File::create(driver.path("log")).unwrap();
    let config = driver.path("c.yaml");
    driver.child =
        fairlead(&["controller", "--config", config.to_str().unwrap()]).stderr(log).spawn().unwrap();
    driver.wait_for("serving CSI");
    driver.begin_call().finish();
}

#[test]
fn a_back_end_that_is_not_ready_is_told_and_tried_again() {
    // A file where the directory should be.
    let driver = Driver::start("", |root| std::fs::write(root.join("data"), "x").unwrap());
    let page = driver.http("/readyz");
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("back end here: "), "{page}");
    assert!(driver.http("/healthz").starts_with("HTTP/1.1 200"));
    assert!(driver.http("/metrics").contains("fairlead_backend_ready{backend=\"here\"} 0"));
    std::fs::remove_file(driver.path("data")).unwrap();
    std::fs::create_dir(driver.path("data")).unwrap();
    driver.wait_for_http("/readyz", "back end here: ready");
    driver.wait_for_http("/metrics", "fairlead_backend_ready{backend=\"here\"} 1");
}

#[test]
fn the_log_level_changes_by_file_and_a_bad_file_changes_nothing() {
    let driver = Driver::start("", |_| {});
    let file = driver.path("c.yaml");
    let first = std::fs::read_to_string(&file).unwrap();
    // As a mounted ConfigMap does: another file takes the name. No signal: it is found by looking.
    let swap = |text: &str| {
        std::fs::write(driver.path("new"), text).unwrap();
        std::fs::rename(driver.path("new"), &file).unwrap();
    };
    swap(&format!("{first}log: {{level: debug}}\ngracePeriod: 7\n"));
    driver.wait_for("the log level is changed");
    driver.wait_for("these settings need a restart");
    assert!(driver.log().contains("\"keys\":\"gracePeriod\""), "{}", driver.log());
    swap(&format!("{first}log: {{level: loud, form: 1}}\n"));
    driver.signal(Signal::SIGHUP);
    driver.wait_for("the configuration that was good stays in force");
    let log = driver.log();
    assert!(log.contains("is no log level") && log.contains("log.form"), "{log}");
    assert!(driver.http("/metrics").contains("fairlead_config_reload_failed 1"));
    swap(&first);
    driver.signal(Signal::SIGHUP);
    driver.wait_for_http("/metrics", "fairlead_config_reload_failed 0");
}

#[test]
fn probe_asks_a_running_driver_whether_it_is_ready() {
    // A file where the directory should be.
    let driver = Driver::start("", |root| std::fs::write(root.join("data"), "x").unwrap());
    let log = driver.log();
    let line = log.lines().find(|line| line.contains("serving metrics and health")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let address = line["address"].as_str().unwrap();
    let refused = output(&["probe", address]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && text.contains("not ready: back end here: "), "{text}");
    std::fs::remove_file(driver.path("data")).unwrap();
    std::fs::create_dir(driver.path("data")).unwrap();
    driver.wait_for_http("/readyz", "back end here: ready");
    let ready = output(&["probe", address]);
    let text = String::from_utf8(ready.stdout).unwrap();
    assert!(ready.status.code() == Some(0) && text.contains("back end here: ready\n"), "{text}");
    assert_eq!(output(&["probe", "nowhere"]).status.code(), Some(1));
}
