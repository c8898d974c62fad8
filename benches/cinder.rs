//! `make bench-cinder`: what the volumes of a real OpenStack cost: requests at the wire, and the time that is lost between
//! the cloud's end of an operation, as its log tells it, and the answer. Prints a table, writes
//! `bench-cinder-results.json`. Asserts no figure.
//!
//! `FAIRLEAD_OPENSTACK` names the directory with the cloud's `clouds.yaml` and logs, else it is where `make openstack-up`
//! puts them. `FAIRLEAD_OPENSTACK_SERVERS` names the servers of the project csi to attach to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops at the first fault and prints"
)]

#[path = "common/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fairlead::backend::cinder::{CinderBackend, CinderConfig, IDENTITY};
use fairlead::backend::{AttachOrder, Backend, DetachOrder, VolumeOrder};
use fairlead::metrics::Metrics;
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NativeId, NodeId, Owner, Parameters,
    SizeRange, TopologyRequirement,
};
use futures_util::{StreamExt as _, stream};
use report::{Report, ms, percentile};

/// A step of a volume's life.
const STEPS: [&str; 5] = ["create", "attach", "attach again", "detach", "delete"];
/// What the cloud logs once Cinder has a volume attached or free: from then on the answer could be given.
const ATTACHED: &str = "/action returned with HTTP 204";
const FREED: &str = " returned with HTTP 200";

struct Lab {
    directory: PathBuf,
    backend: CinderBackend,
    metrics: Arc<Metrics>,
    nodes: Vec<NodeId>,
}

#[allow(clippy::disallowed_methods, reason = "a bench is told by the environment what to run against")]
async fn lab() -> Lab {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = variable("HOME").unwrap_or_default();
    let cache = variable("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
    let directory =
        variable("FAIRLEAD_OPENSTACK").map_or_else(|| cache.join("fairlead/openstack/run"), PathBuf::from);
    let servers = variable("FAIRLEAD_OPENSTACK_SERVERS").expect("FAIRLEAD_OPENSTACK_SERVERS names no server");
    let nodes = servers.split_whitespace().map(|server| {
        NodeId::new(&format!("node-{server}"), [(IDENTITY.to_owned(), server.to_owned())].into()).unwrap()
    });
    let source = CinderConfig::clouds(&directory.join("clouds.yaml"), Some("csi".to_owned()));
    let config = CinderConfig {
        cluster: format!("bench-{}", std::process::id()),
        name_prefix: "att-bench-".to_owned(),
        ..CinderConfig::new(source)
    };
    let metrics = Arc::new(Metrics::default());
    let backend = CinderBackend::open("bench", config, Arc::clone(&metrics)).await.unwrap();
    Lab { nodes: nodes.collect(), directory, backend, metrics }
}

/// What one step of one volume took.
struct Sample {
    took: Duration,
    ended: SystemTime,
    /// The attachment that it made or ended.
    attachment: String,
}

impl Lab {
    /// The requests so far.
    fn requests(&self) -> u64 {
        let page = self.metrics.encode();
        let lines = page.lines().filter(|line| line.starts_with("fairlead_cloud_seconds_count{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    fn attach(&self, volume: &NativeId, turn: usize) -> AttachOrder {
        let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
        let access = Access { kind, mode: AccessMode::SingleNodeWriter };
        let node = self.nodes[turn % self.nodes.len()].clone();
        AttachOrder { volume: volume.clone(), node, access, readonly: false }
    }

    /// All volumes through one step, `at_once` at a time.
    async fn step(&self, step: &str, volumes: &mut Vec<Volume>, at_once: usize) -> Vec<Sample> {
        let done = stream::iter(volumes.drain(..).enumerate())
            .map(|(turn, volume)| self.one(step, turn, volume))
            .buffer_unordered(at_once)
            .collect::<Vec<_>>()
            .await;
        let (moved, samples): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        *volumes = moved;
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        samples
    }

    async fn one(&self, step: &str, turn: usize, mut volume: Volume) -> (Volume, Sample) {
        let began = Instant::now();
        match step {
            "create" => volume.id = Some(self.backend.create(&order(&volume.name)).await.unwrap().id),
            "attach" | "attach again" => {
                let order = self.attach(volume.id.as_ref().unwrap(), turn);
                volume.attachment = self.backend.attach(&order).await.unwrap().nonce;
            }
            "detach" => {
                let order = self.attach(volume.id.as_ref().unwrap(), turn);
                let order = DetachOrder { volume: order.volume, node: Some(order.node), fence: None };
                self.backend.detach(&order).await.unwrap();
            }
            _ => self.backend.delete(volume.id.as_ref().unwrap()).await.unwrap(),
        }
        let sample =
            Sample { took: began.elapsed(), ended: SystemTime::now(), attachment: volume.attachment.clone() };
        (volume, sample)
    }

    /// When the cloud's log has the last line about each attachment that ends like this.
    fn ends(&self, ending: &str) -> BTreeMap<String, SystemTime> {
        let log = fs::read(self.directory.join("log/cinder-api.log")).unwrap();
        let log = String::from_utf8_lossy(&log);
        let mut ends = BTreeMap::new();
        for line in log.lines().filter(|line| line.ends_with(ending)) {
            let Some((_, rest)) = line.split_once("/attachments/") else { continue };
            let Some((id, rest)) = rest.split_at_checked(36) else { continue };
            let time = line.get(..23).and_then(|text| text.parse::<jiff::civil::DateTime>().ok());
            if let (true, Some(time)) = (rest == ending, time) {
                let there = time.to_zoned(jiff::tz::TimeZone::system()).unwrap();
                ends.insert(id.to_owned(), SystemTime::from(there.timestamp()));
            }
        }
        ends
    }

    fn lost(&self, ending: &str, samples: &[Sample]) -> Vec<Duration> {
        let ends = self.ends(ending);
        let lost = samples.iter().filter_map(|sample| {
            let end = ends.get(&sample.attachment)?;
            // The log tells milliseconds.
            Some(sample.ended.duration_since(*end).unwrap_or_default())
        });
        lost.collect()
    }
}

#[derive(Clone, Default)]
struct Volume {
    name: String,
    id: Option<NativeId>,
    attachment: String,
}

fn order(name: &str) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(1)),
        source: None,
        access: Vec::new(),
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "requests for people")]
async fn life(lab: &Lab, report: &mut Report, count: usize, at_once: usize) {
    let stamp = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let mut volumes: Vec<_> =
        (0..count).map(|n| Volume { name: format!("{stamp}-{n:03}"), ..Volume::default() }).collect();
    let title = format!("{count} volumes, {at_once} at once");
    let mut whole = 0.0;
    for step in STEPS {
        let (before, began) = (lab.requests(), Instant::now());
        let samples = lab.step(step, &mut volumes, at_once).await;
        let requests = (lab.requests() - before) as f64 / count as f64;
        whole += if step == "attach again" { 0.0 } else { requests };
        let aim = match (step, at_once) {
            ("attach", 1) => "<= 4",
            ("attach", _) => "<= 1.5",
            ("attach again", _) => "1",
            _ => "",
        };
        report.row(format!("{title}: {step}, requests each"), requests, "", aim);
        let mut took: Vec<_> = samples.iter().map(|sample| sample.took).collect();
        report.row(format!("{title}: {step}, p50"), ms(percentile(&mut took, 50)), "ms", "");
        report.row(format!("{title}: {step}, all"), ms(began.elapsed()), "ms", "");
        let ending = match step {
            "attach" => ATTACHED,
            "detach" => FREED,
            _ => continue,
        };
        let mut lost = lab.lost(ending, &samples);
        assert_eq!(lost.len(), count, "the cloud's log does not tell of every {step}");
        let (p50, p95) = (ms(percentile(&mut lost, 50)), ms(percentile(&mut lost, 95)));
        report.row(format!("{title}: {step}, lost p50"), p50, "ms", if at_once == 1 { "<= 150" } else { "" });
        report.row(format!("{title}: {step}, lost p95"), p95, "ms", if at_once == 1 { "" } else { "<= 400" });
    }
    report.row(
        format!("{title}: a whole life, requests"),
        whole,
        "",
        if at_once == 1 { "<= 12" } else { "<= 7" },
    );
}

#[allow(clippy::cast_precision_loss, reason = "requests for people")]
fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lab = lab().await;
        let mut report = Report::default();
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        let load = load.split(' ').next().unwrap().parse().unwrap();
        report.row("load of this machine before", load, "", "");
        for (count, at_once) in [(10, 1), (10, 10), (90, 30)] {
            life(&lab, &mut report, count, at_once).await;
        }
        let before = lab.requests();
        tokio::time::sleep(Duration::from_secs(10)).await;
        report.row("requests in 10 idle seconds", (lab.requests() - before) as f64, "", "0");
        fs::write("bench-cinder-results.json", format!("{:#}\n", report.json())).unwrap();
    });
}
