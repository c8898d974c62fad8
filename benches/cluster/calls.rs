//! The driver's own part, from its log: each call says at its end how long it took.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;

use crate::marks::Marks;

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub begin: SystemTime,
    pub end: SystemTime,
}

/// The calls for one volume up to its running pod.
#[derive(Clone, Debug)]
pub struct Calls {
    volume: String,
    pub stage: Option<Call>,
    pub publish: Option<Call>,
    /// How long all of them took together.
    pub own: Duration,
}

/// The order to the running pod; in what comes after it nobody waits for a pod.
const RPCS: [&str; 4] = ["CreateVolume", "ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"];

#[derive(Deserialize)]
struct Line {
    timestamp: jiff::Timestamp,
    message: String,
    seconds: Option<f64>,
    span: Option<Span>,
}

#[derive(Deserialize)]
struct Span {
    rpc: Option<String>,
    order: Option<String>,
    volume: Option<String>,
}

impl Calls {
    /// Those of a life.
    pub fn of(all: &[Self], marks: &Marks) -> Self {
        let volume = marks.volume.as_deref().expect("every life has had a volume");
        all.iter()
            .find(|calls| calls.volume == volume)
            .expect("the driver's log tells of every volume")
            .clone()
    }

    fn add(&mut self, rpc: &str, call: Call) {
        self.own += call.end.duration_since(call.begin).unwrap_or_default();
        match rpc {
            "NodeStageVolume" => self.stage.get_or_insert(call),
            "NodePublishVolume" => self.publish.get_or_insert(call),
            _ => return,
        };
    }
}

/// Reads the logs of all the driver's pods from `start` on; `None` where it is another driver.
pub async fn read(client: &Client, driver: &str, start: SystemTime) -> Option<Vec<Calls>> {
    let chosen = ListParams::default()
        .labels(&format!("app.kubernetes.io/name=fairlead,fairlead.dev/driver={driver}"));
    let since = i64::try_from(start.elapsed().unwrap().as_secs() + 1).unwrap();
    let pods = Api::<Pod>::all(client.clone()).list(&chosen).await.unwrap();
    if pods.items.is_empty() {
        return None;
    }
    let mut calls: Vec<Calls> = Vec::new();
    for pod in pods {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let wanted = LogParams {
            container: Some("fairlead".into()),
            since_seconds: Some(since),
            ..LogParams::default()
        };
        for line in pods.logs(&pod.name_any(), &wanted).await.unwrap().lines() {
            let Ok(Line { timestamp, message, seconds: Some(seconds), span: Some(span) }) =
                serde_json::from_str(line)
            else {
                continue;
            };
            let (Some(rpc), Some(volume)) = (span.rpc, span.order.or(span.volume)) else { continue };
            if message != "answered" || !RPCS.contains(&rpc.as_str()) {
                continue;
            }
            // `<back end>/<name>` where it is an id.
            let volume = volume.rsplit('/').next().unwrap_or_default();
            let at = calls.iter().position(|calls| calls.volume == volume).unwrap_or_else(|| {
                calls.push(Calls {
                    volume: volume.to_owned(),
                    stage: None,
                    publish: None,
                    own: Duration::ZERO,
                });
                calls.len() - 1
            });
            let end = SystemTime::from(timestamp);
            calls[at].add(&rpc, Call { begin: end - Duration::from_secs_f64(seconds), end });
        }
    }
    Some(calls)
}
