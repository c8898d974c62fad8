//! `make bench-cinder`: what the volumes of an OpenStack cost: requests, bytes, and the time that is lost between the
//! cloud's end of an operation and the answer. First on a simulated one, empty and with 10,000 volumes that nobody asks
//! for; then on a real one. Prints a table, writes `bench-cinder-results.json`. Asserts no figure.
//!
//! `FAIRLEAD_OPENSTACK_SERVERS` names the servers of the real one's project csi to attach to; without them it is left
//! out. `FAIRLEAD_OPENSTACK` names the directory with its `clouds.yaml` and logs, else it is where `make openstack-up`
//! puts them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops at the first fault and prints"
)]

mod lab;
mod life;
#[path = "../common/report.rs"]
mod report;
mod simulated;

use std::fs;
use std::time::Duration;

use lab::Lab;
use life::{Bench, Cloud as _};
use report::Report;
use simulated::Simulated;

/// How many volumes, and how many of them at once.
const LIVES: [(usize, usize); 3] = [(10, 1), (10, 10), (100, 30)];
/// The project's limit in the real OpenStack is 100 volumes, some of which others may have.
const REAL_LIVES: [(usize, usize); 3] = [(10, 1), (10, 10), (90, 30)];
/// Volumes in the simulated project that nobody asks for.
const IDLE: [usize; 2] = [0, 10_000];

#[allow(clippy::disallowed_methods, reason = "a bench is told by the environment what to run against")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut report = Report::default();
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        let load = load.split(' ').next().unwrap().parse().unwrap();
        report.row("load of this machine before", load, "", "");
        for idle in IDLE {
            let bench = Bench::new(format!("simulated, {idle} idle"), Simulated::start(idle).await);
            bench.lives(&mut report, &LIVES).await;
        }
        match variable("FAIRLEAD_OPENSTACK_SERVERS") {
            Some(servers) => {
                let bench = Bench::new("real".to_owned(), Lab::open(&servers).await);
                bench.lives(&mut report, &REAL_LIVES).await;
                quiet(&bench, &mut report).await;
            }
            None => println!("LEFT OUT: the real OpenStack: FAIRLEAD_OPENSTACK_SERVERS names no server"),
        }
        fs::write("bench-cinder-results.json", format!("{:#}\n", report.json())).unwrap();
    });
}

/// What is asked while nothing is wanted.
#[allow(clippy::cast_precision_loss, reason = "requests for people")]
async fn quiet(bench: &Bench<Lab>, report: &mut Report) {
    let before = bench.cloud.traffic();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let requests = bench.cloud.traffic().requests - before.requests;
    report.row("real: requests in 10 idle seconds", requests as f64, "", "0");
}
