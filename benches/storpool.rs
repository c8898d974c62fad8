//! `make bench-storpool`: what attaching costs on a simulated StorPool whose every answer takes 5 ms: requests for each
//! volume, and time beside the cluster's own. Prints a table, writes `bench-storpool-results.json`. Asserts no figure.
//! Numbers after `--` say how many are attached at once, instead of 1, 30 and 200.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops at the first fault and prints"
)]

#[path = "common/report.rs"]
mod report;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead::backend::storpool::client::Client;
use fairlead::backend::storpool::{StorpoolBackend, StorpoolConfig};
use fairlead::backend::{AttachOrder, Backend, DetachOrder, VolumeOrder};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, TopologyRequirement,
};
use report::{Report, ms, percentile};
use storpoolsim::{Config, Sim};
use tokio::sync::Semaphore;

/// Volumes that are attached and detached.
const VOLUMES: usize = 1000;
/// Nodes that get them.
const NODES: usize = 20;
/// What each answer of the cluster takes.
const ANSWER: Duration = Duration::from_millis(5);
fn node(n: usize) -> NodeId {
    let client = n % NODES + 1;
    format!("node-{client};storpool=d.n.{client}").parse().unwrap()
}

fn order(name: String) -> VolumeOrder {
    VolumeOrder {
        name,
        size: SizeRange::at_least(Bytes::gib(1)),
        source: None,
        access: Vec::new(),
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

/// Does something with each volume, so many at once, and tells how long each took.
async fn each<F>(volumes: &[NativeId], at_once: usize, work: impl Fn(usize, NativeId) -> F) -> Vec<Duration>
where
    F: Future<Output = ()> + Send + 'static,
{
    let gate = Arc::new(Semaphore::new(at_once));
    let mut tasks = Vec::new();
    for (n, volume) in volumes.iter().enumerate() {
        let place = Arc::clone(&gate).acquire_owned().await.unwrap();
        let work = work(n, volume.clone());
        tasks.push(tokio::spawn(async move {
            let began = Instant::now();
            work.await;
            drop(place);
            began.elapsed()
        }));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.push(task.await.unwrap());
    }
    took
}

#[allow(clippy::cast_precision_loss, reason = "requests for people")]
async fn measure(
    report: &mut Report,
    sim: &Sim,
    backend: &Arc<StorpoolBackend>,
    volumes: &[NativeId],
    at_once: usize,
) {
    let title = format!("{} volumes, {at_once} at once", volumes.len());
    let bulk = at_once > 1;
    for step in ["attach", "detach"] {
        let short = answer(sim).await;
        sim.forget_counts();
        let began = Instant::now();
        let mut took = each(volumes, at_once, |n, volume| {
            let backend = Arc::clone(backend);
            async move {
                let node = node(n);
                if step == "detach" {
                    backend.detach(&DetachOrder { volume, node: Some(node), fence: None }).await.unwrap();
                    return;
                }
                let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
                let access = Access { kind, mode: AccessMode::SingleNodeWriter };
                backend.attach(&AttachOrder { volume, node, access, readonly: false }).await.unwrap();
            }
        })
        .await;
        let whole = began.elapsed();
        let aim = if bulk && step == "attach" { "<= 0.1" } else { "" };
        report.row(
            format!("{title}: {step}, requests each"),
            sim.requests() as f64 / volumes.len() as f64,
            "",
            aim,
        );
        for (call, count) in sim.counts() {
            let each = count.requests as f64 / volumes.len() as f64;
            report.row(format!("{title}: {step}, of these {call}"), each, "", "");
        }
        let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        report.row(format!("{title}: {step}, p50"), ms(p50), "ms", "");
        report.row(format!("{title}: {step}, p99"), ms(p99), "ms", "");
        report.row(format!("{title}: {step}, all"), ms(whole), "ms", "");
        if step == "attach" && !bulk {
            // Who has it, the order, who has it now: three answers after one another, two of them with a list, of which half
            // was there when the half of the volumes was attached.
            let own = p50.saturating_sub(short * 2 + answer(sim).await);
            report.row(format!("{title}: {step}, the driver's own part, p50"), ms(own), "ms", "<= 2");
        }
    }
}

/// What one answer takes, with a list of all that is attached now in it, by the same HTTP client.
async fn answer(sim: &Sim) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::open("bare", &config(sim, directory.path()), Arc::default()).unwrap();
    let mut took = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        client.attachments().await.unwrap();
        took.push(began.elapsed());
    }
    percentile(&mut took, 50)
}

fn config(sim: &Sim, directory: &std::path::Path) -> StorpoolConfig {
    let token = directory.join("token");
    fs::write(&token, &sim.cluster().config.token).unwrap();
    StorpoolConfig { template: Some("nvme".to_owned()), ..StorpoolConfig::new(&sim.url(), &token) }
}

#[allow(clippy::cast_precision_loss, reason = "mebibytes for people")]
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() as f64 / 1024.0
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut report = Report::default();
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        report.row("load of this machine before", load.split(' ').next().unwrap().parse().unwrap(), "", "");
        let sim = Sim::start(Config::default()).await.unwrap();
        for client in 1..=u16::try_from(NODES).unwrap() {
            sim.cluster().add_client(client);
        }
        let directory = tempfile::tempdir().unwrap();
        let backend =
            StorpoolBackend::open("fast", config(&sim, directory.path()), Arc::default()).await.unwrap();
        let backend = Arc::new(backend);
        let mut volumes = Vec::new();
        for n in 0..VOLUMES {
            volumes.push(backend.create(&order(format!("v{n}"))).await.unwrap().id);
        }
        {
            let mut cluster = sim.cluster();
            cluster.config.timings.answer = ANSWER;
            cluster.config.timings.confirm = Duration::ZERO;
        }
        report.row("one answer, p50", ms(answer(&sim).await), "ms", "");
        report.row("memory of driver and simulator together, before", resident(), "MiB", "");
        let told: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
        for at_once in if told.is_empty() { vec![1, 30, 200] } else { told } {
            measure(&mut report, &sim, &backend, &volumes, at_once).await;
        }
        report.row("memory of driver and simulator together", resident(), "MiB", "");
        fs::write("bench-storpool-results.json", format!("{:#}\n", report.json())).unwrap();
    });
}
