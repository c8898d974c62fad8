//! A simulated OpenStack in this process, with as many volumes as one likes.

use std::time::{Duration, UNIX_EPOCH};

use cloudsim::state::{Caller, VolumeWish};
use cloudsim::{Config, Sim};
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::{Rate, Rates};
use fairlead::volume::NodeId;
use tempfile::TempDir;

use crate::lab;
use crate::life::{Cloud, Sample, Step, Traffic};

const SERVERS: usize = 10;
/// What is measured is how long is waited, not how many requests a second are allowed: this cloud is faster than any.
const FREE: Rate = Rate { per_second: 10_000.0, burst: 10_000 };

/// How old the volumes are that nobody asks for.
const DAY: Duration = Duration::from_secs(86_400);

pub struct Simulated {
    sim: Sim,
    backend: CinderBackend,
    nodes: Vec<NodeId>,
    /// Its credentials, which the driver watches.
    _directory: TempDir,
}

impl Simulated {
    /// One with this many volumes that nobody asks for.
    pub async fn start(idle: usize) -> Self {
        let sim = Sim::start(Config::openstack()).await.unwrap();
        let servers: Vec<_> = (0..SERVERS).map(|n| sim.add_server("csi", &format!("worker-{n}"))).collect();
        fill(&sim, idle);
        let directory = tempfile::tempdir().unwrap();
        let clouds = directory.path().join("clouds.yaml");
        std::fs::write(&clouds, sim.clouds_yaml()).unwrap();
        let (backend, _) = lab::open(&clouds, Rates { read: FREE, write: FREE }).await;
        // The work on the idle ones ends first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for volume in sim.cloud().volumes.iter_mut() {
            volume.created -= DAY;
            volume.updated = volume.updated.map(|updated| updated - DAY);
        }
        Self { nodes: lab::nodes(servers.iter().map(String::as_str)), sim, backend, _directory: directory }
    }
}

fn fill(sim: &Sim, idle: usize) {
    let mut cloud = sim.cloud();
    let project = cloud.config.project("csi").unwrap().id.clone();
    let asker = Caller { project, ..Caller::default() };
    for n in 0..idle {
        let wish = VolumeWish { name: Some(format!("idle-{n}")), size: Some(1), ..VolumeWish::default() };
        cloud.create_volume(&asker, wish).unwrap();
    }
}

impl Cloud for Simulated {
    fn backend(&self) -> &CinderBackend {
        &self.backend
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn traffic(&self) -> Traffic {
        let counts = self.sim.counts();
        let requests = counts.values().map(|count| count.requests).sum();
        Traffic { requests, bytes: Some(counts.values().map(|count| count.sent).sum()) }
    }

    /// A volume's last change is the end of the cloud's work.
    fn lost(&self, step: Step, samples: &[Sample]) -> Option<Vec<Duration>> {
        if !matches!(step, Step::Create | Step::Attach | Step::Detach) {
            return None;
        }
        let cloud = self.sim.cloud();
        let lost = samples.iter().map(|sample| {
            let volume = cloud.volumes.get(sample.volume.as_str()).unwrap();
            let end = UNIX_EPOCH + volume.updated.unwrap();
            // The cloud's clock and this one are not the same.
            sample.ended.duration_since(end).unwrap_or_default()
        });
        Some(lost.collect())
    }
}
