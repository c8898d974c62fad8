//! What the pods hold in memory, and how many requests the API server has answered.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;

use crate::report::Report;

async fn text(client: &Client, path: &str) -> String {
    client.request_text(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
}

/// A kubelet's summary, as far as it is of interest here.
#[derive(Deserialize)]
struct Summary {
    pods: Vec<PodStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    #[serde(default)]
    containers: Vec<ContainerStats>,
}

#[derive(Deserialize)]
struct PodRef {
    name: String,
}

#[derive(Deserialize)]
struct ContainerStats {
    name: String,
    memory: Option<Memory>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
    rss_bytes: Option<u64>,
}

/// A row for every container of the driver's pods, as the kubelet counts it: the greatest of all replicas.
pub async fn memory(client: &Client, driver: &str, when: &str, report: &mut Report) {
    let mut rows: Vec<(String, u64, u64)> = Vec::new();
    let chosen = ListParams::default()
        .labels(&format!("app.kubernetes.io/name=fairlead,fairlead.dev/driver={driver}"));
    let pods = Api::<k8s_openapi::api::core::v1::Pod>::all(client.clone()).list(&chosen).await.unwrap();
    for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap() {
        let page = text(client, &format!("/api/v1/nodes/{}/proxy/stats/summary", node.name_any())).await;
        let summary: Summary = serde_json::from_str(&page).unwrap();
        for stats in summary.pods {
            let Some(pod) = pods.iter().find(|pod| pod.name_any() == stats.pod_ref.name) else { continue };
            let part = pod.labels().get("app.kubernetes.io/component").cloned().unwrap_or_default();
            for ContainerStats { name, memory } in stats.containers {
                let Some(Memory { working_set_bytes: Some(set), rss_bytes: Some(rss) }) = memory else {
                    continue;
                };
                let name = format!("{part} pod, {name}");
                match rows.iter_mut().find(|row| row.0 == name) {
                    Some(row) => (row.1, row.2) = (row.1.max(set), row.2.max(rss)),
                    None => rows.push((name, set, rss)),
                }
            }
        }
    }
    rows.sort();
    #[allow(clippy::cast_precision_loss, reason = "mebibytes for people")]
    for (name, set, rss) in rows {
        report.row(format!("{name}: working set {when}"), set as f64 / f64::from(1 << 20), "MiB", "");
        report.row(format!("{name}: of it no file's pages"), rss as f64 / f64::from(1 << 20), "MiB", "");
    }
}

/// Requests that the API server has answered so far, by whomever.
pub struct Requests {
    total: f64,
    at: Instant,
}

/// Requests during some time.
pub struct Spent {
    count: f64,
    during: Duration,
}

impl Requests {
    pub async fn now(client: &Client) -> Self {
        let page = text(client, "/metrics").await;
        let lines = page.lines().filter(|line| line.starts_with("apiserver_request_total{"));
        let total = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        Self { total, at: Instant::now() }
    }

    pub fn until(&self, later: &Self) -> Spent {
        Spent { count: later.total - self.total, during: later.at - self.at }
    }
}

impl Spent {
    pub fn count(&self) -> f64 {
        self.count
    }

    pub fn rate(&self) -> f64 {
        self.count / self.during.as_secs_f64()
    }
}
