//! The real binary, as its users start and stop it. Needs no root: it serves the controller alone.

#![allow(clippy::disallowed_methods, reason = "a test starts the binary itself, without a shell between")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/call.rs"]
mod call;
#[path = "common/process.rs"]
mod process;

use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use call::Call;
use process::{PATIENCE, Process};

fn fairlead(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn output(arguments: &[&str]) -> Output {
    fairlead(arguments).output().unwrap()
}

/// A running driver with its own directory.
struct Driver {
    process: Process,
    directory: tempfile::TempDir,
}

impl Deref for Driver {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Driver {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
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
        let config = directory.path().join("c.yaml");
        std::fs::write(&config, text).unwrap();
        let mut command = fairlead(&["controller", "--config", config.to_str().unwrap()]);
        let process = Process::start(&mut command, &directory.path().join("log"));
        process.wait_for("serving CSI");
        Self { process, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn begin_call(&self) -> Call {
        Call::begin(&self.path("s"))
    }
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
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(text.starts_with("ok\n") && text.contains("\n  kubelet none\n"), "{text}");
    let offered = "\n  advertised snapshots, group snapshots, clones, growth in use\n";
    assert!(text.ends_with(offered), "{text}");
    let good = output(&["check-config", "--config", name, "--kubelet-dir", "/var/lib/kubelet"]);
    assert!(String::from_utf8(good.stdout).unwrap().contains("\n  kubelet /var/lib/kubelet\n"));
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
    assert!(driver.http("/healthz").starts_with("HTTP/1.1 200"), "nobody should hurry it");
    assert!(driver.is_running(), "it waits for the call");
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
    let config = driver.path("c.yaml");
    let mut command = fairlead(&["controller", "--config", config.to_str().unwrap()]);
    driver.process = Process::start(&mut command, &driver.path("log"));
    driver.wait_for("serving CSI");
    driver.begin_call().finish();
}

#[test]
fn health_is_whether_the_socket_answers() {
    let driver = Driver::start("", |_| {});
    let calls: Vec<_> = (0..200).map(|_| driver.begin_call()).collect();
    assert!(driver.http("/healthz").starts_with("HTTP/1.1 200"), "under load");
    drop(calls);
    std::fs::remove_file(driver.path("s")).unwrap();
    let page = driver.http("/healthz");
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("nobody answers on"), "{page}");
    // Somebody takes the connection and says nothing, as a process does that hangs.
    let _mute = UnixListener::bind(driver.path("s")).unwrap();
    let page = driver.http("/healthz");
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("no answer on"), "{page}");
    assert!(driver.http("/readyz").starts_with("HTTP/1.1 200"));
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
