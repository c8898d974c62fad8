//! `make bench-cluster`: what a volume's life costs on a real cluster, from the order to the running pod and back. Prints a
//! table, writes `bench-cluster-results.json`. Asserts no figure.
//!
//! Every pod gets a claim of its own. Watches say when the API server tells of each step; the driver's log says how long
//! its own calls took. So what is seen is what a user waits for, and what of it is the driver's. Of another driver, whose
//! class is named by `FAIRLEAD_BENCH_CLASS`, the first is measured alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops at the first fault and prints"
)]

mod calls;
mod cost;
mod lives;
mod marks;
#[path = "../common/report.rs"]
mod report;

use std::fs;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, Client};

use calls::Calls;
use cost::Requests;
use lives::Site;
use marks::Marks;
use report::{Report, ms, percentile};

/// Lives at once, and how many all together.
const RUNS: [(usize, usize); 3] = [(1, 20), (10, 50), (50, 100)];
/// How long the cluster is watched doing nothing, to know what it does anyway.
const IDLE: Duration = Duration::from_secs(20);

/// The parts of a life up to the running pod, as the API server tells them: name, and how long it took.
type Seen = (&'static str, fn(&Marks) -> Option<Duration>);

const SEEN: [Seen; 5] = [
    ("claim and pod made, node chosen", |m| m.chosen?.duration_since(m.began?).ok()),
    ("provisioned", |m| m.bound?.duration_since(m.chosen?).ok()),
    ("pod bound to the node", |m| m.scheduled?.duration_since(m.bound?).ok()),
    ("attached", |m| m.attached?.duration_since(m.scheduled?).ok()),
    ("attached to running", |m| m.running?.duration_since(m.attached?).ok()),
];

/// What of the last part the driver's log tells.
type Told = (&'static str, fn(&Marks, &Calls) -> Option<Duration>);

const TOLD: [Told; 3] = [
    ("of it: kubelet begins to stage", |m, c| c.stage?.begin.duration_since(m.attached?).ok()),
    ("of it: staged and published", |_, c| c.publish?.end.duration_since(c.stage?.begin).ok()),
    ("of it: container started", |m, c| m.running?.duration_since(c.publish?.end).ok()),
];

#[allow(clippy::disallowed_methods, reason = "the bench's own settings")]
fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main]
async fn main() {
    let client = Client::try_default().await.expect("a cluster: set KUBECONFIG");
    let class = setting("FAIRLEAD_BENCH_CLASS", "fairlead-ext4");
    let driver =
        Api::<StorageClass>::all(client.clone()).get(&class).await.expect("the StorageClass").provisioner;
    let image = setting("FAIRLEAD_E2E_IMAGE", "busybox");
    let site = Site::make(client.clone(), class, image).await;
    let mut report = Report::default();
    println!("driver {driver}, class {}, pods run {}\n", site.class, site.image);
    cost::memory(&client, &driver, "before", &mut report).await;
    let before = Requests::now(&client).await;
    tokio::time::sleep(IDLE).await;
    let idle = before.until(&Requests::now(&client).await);
    report.row("API server: requests when idle", idle.rate(), "1/s", "");
    for (at_once, count) in RUNS {
        let before = Requests::now(&client).await;
        let start = SystemTime::now();
        let (marks, own) = site.live(at_once, count).await;
        let took = start.elapsed().unwrap();
        let spent = before.until(&Requests::now(&client).await);
        let calls = calls::read(&client, &driver, start).await;
        tell(&mut report, at_once, &marks, calls.as_deref());
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let lives = count as f64;
        report.row(format!("{at_once:>2} at once: whole lives"), lives / took.as_secs_f64(), "1/s", "");
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let requests = spent.count() - idle.rate() * took.as_secs_f64() - own as f64;
        report.row(format!("{at_once:>2} at once: API requests of everybody"), requests / lives, "/life", "");
    }
    cost::memory(&client, &driver, "after", &mut report).await;
    site.remove().await;
    fs::write("bench-cluster-results.json", format!("{:#}\n", report.json())).unwrap();
}

fn tell(report: &mut Report, at_once: usize, lives: &[Marks], calls: Option<&[Calls]>) {
    let mut row = |name: &str, mut samples: Vec<Duration>| {
        assert_eq!(samples.len(), lives.len(), "{name}: not seen of every life");
        report.row(format!("{at_once:>2} at once: {name}, p50"), ms(percentile(&mut samples, 50)), "ms", "");
        report.row(format!("{at_once:>2} at once: {name}, p99"), ms(percentile(&mut samples, 99)), "ms", "");
    };
    row("ORDER TO RUNNING POD", lives.iter().filter_map(Marks::whole).collect());
    for (name, part) in SEEN {
        row(name, lives.iter().filter_map(part).collect());
    }
    let Some(calls) = calls else { return };
    let lives: Vec<_> = lives.iter().map(|marks| (marks, Calls::of(calls, marks))).collect();
    for (name, part) in TOLD {
        row(name, lives.iter().filter_map(|(marks, calls)| part(marks, calls)).collect());
    }
    row("the driver's own calls", lives.iter().map(|(_, calls)| calls.own).collect());
    let mut shares: Vec<f64> = lives
        .iter()
        .filter_map(|(marks, calls)| Some(100.0 * calls.own.as_secs_f64() / marks.whole()?.as_secs_f64()))
        .collect();
    shares.sort_by(f64::total_cmp);
    report.row(
        format!("{at_once:>2} at once: the driver's share, p50"),
        shares[shares.len() / 2],
        "%",
        "<= 10",
    );
}
