//! A `fairlead` process as its users see it: its log, its pages, its end.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code, of which each test takes the part that it needs"
)]

#[path = "logs.rs"]
mod logs;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far more than anything here takes; a test that waits so long fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running process; killed when the test is over, however it ends.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and only its status is left to be taken.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        logs::keep(&self.log);
    }
}

impl Process {
    /// Starts it with a log file of its own, in JSON.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log: log.to_owned() }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no {text:?} in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end; tells the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn http(&self, path: &str) -> String {
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

    pub fn wait_for_http(&self, path: &str, text: &str) {
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
}
