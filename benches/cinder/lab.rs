//! A real OpenStack on this machine, whose logs tell when it was done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlead::backend::cinder::config::Rates;
use fairlead::backend::cinder::{CinderBackend, CinderConfig, IDENTITY};
use fairlead::metrics::Metrics;
use fairlead::volume::NodeId;

use crate::life::{Cloud, Sample, Step, Traffic};
use crate::variable;

/// What the cloud logs once Cinder has a volume attached or free: from then on the answer could be given.
const ATTACHED: &str = "/action returned with HTTP 204";
const FREED: &str = " returned with HTTP 200";

pub struct Lab {
    directory: PathBuf,
    backend: CinderBackend,
    metrics: Arc<Metrics>,
    nodes: Vec<NodeId>,
}

/// Servers as nodes.
pub fn nodes<'a>(servers: impl Iterator<Item = &'a str>) -> Vec<NodeId> {
    let node = |server: &str| {
        NodeId::new(&format!("node-{server}"), [(IDENTITY.to_owned(), server.to_owned())].into()).unwrap()
    };
    servers.map(node).collect()
}

/// A driver of the project csi.
pub async fn open(clouds: &Path, rates: Rates) -> (CinderBackend, Arc<Metrics>) {
    let source = CinderConfig::clouds(clouds, Some("csi".to_owned()));
    let config = CinderConfig {
        cluster: format!("bench-{}", std::process::id()),
        name_prefix: "att-bench-".to_owned(),
        rates,
        ..CinderConfig::new(source)
    };
    let metrics = Arc::new(Metrics::default());
    (CinderBackend::open("bench", config, Arc::clone(&metrics)).await.unwrap(), metrics)
}

/// The requests so far, as the driver counts them.
pub fn requests(metrics: &Metrics) -> u64 {
    let page = metrics.encode();
    let lines = page.lines().filter(|line| line.starts_with("fairlead_cloud_seconds_count{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

impl Lab {
    pub async fn open(servers: &str) -> Self {
        let home = variable("HOME").unwrap_or_default();
        let cache = variable("XDG_CACHE_HOME").map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
        let directory = variable("FAIRLEAD_OPENSTACK")
            .map_or_else(|| cache.join("fairlead/openstack/run"), PathBuf::from);
        let (backend, metrics) = open(&directory.join("clouds.yaml"), Rates::default()).await;
        Self { nodes: nodes(servers.split_whitespace()), directory, backend, metrics }
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
}

impl Cloud for Lab {
    fn backend(&self) -> &CinderBackend {
        &self.backend
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn traffic(&self) -> Traffic {
        Traffic { requests: requests(&self.metrics), bytes: None }
    }

    fn lost(&self, step: Step, samples: &[Sample]) -> Option<Vec<Duration>> {
        let ends = match step {
            Step::Attach => self.ends(ATTACHED),
            Step::Detach => self.ends(FREED),
            _ => return None,
        };
        let lost = samples.iter().map(|sample| {
            let end = ends.get(&sample.attachment).expect("the cloud's log does not tell of every volume");
            // The log tells milliseconds.
            sample.ended.duration_since(*end).unwrap_or_default()
        });
        Some(lost.collect())
    }
}
