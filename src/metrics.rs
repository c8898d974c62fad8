//! Every metric that the driver exports: names, labels, units. `docs/metrics.md` is the same table for people.
//!
//! | metric | labels | unit |
//! |---|---|---|
//! | `fairlead_rpc_seconds` (histogram, with `_count`) | `rpc`, `code` | seconds |
//! | `fairlead_rpcs_in_flight` | `rpc` | calls |
//! | `fairlead_operations_in_flight` | `phase` | flights |
//! | `fairlead_oldest_operation_seconds` | `phase` | seconds in that phase |
//! | `fairlead_backend_seconds` (histogram, with `_count`) | `backend`, `call`, `result` | seconds |
//! | `fairlead_backend_ready` | `backend` | 1 or 0 |
//! | `fairlead_cloud_seconds` (histogram, with `_count`) | `backend`, `service`, `call`, `result` | seconds |
//! | `fairlead_credentials_reload_failed` | `backend` | 1 while changed credentials are bad and those before them stay |
//! | `fairlead_connected_devices` | `backend` | devices on this node |
//! | `fairlead_kubelet_registered` | `driver` | 1 or 0 |
//! | `fairlead_config_reload_failed` | | 1 while the file is bad and the settings before it stay |
//! | `fairlead_build_info` | `version` | 1 |
//!
//! Labels come from closed sets (RPC names, gRPC codes, phases, the driver's name, configured back ends), so their number is bounded.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a call that a warm cache answers to an attach that takes minutes, in seconds.
const BUCKETS: [f64; 14] =
    [0.000_25, 0.001, 0.004, 0.016, 0.064, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 600.0];

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

/// Labels of a finished RPC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunningLabels {
    rpc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    backend: String,
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CloudLabels {
    backend: String,
    service: &'static str,
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriverLabels {
    driver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// Of a metric that is there only where it means something.
type NoLabels = [(&'static str, &'static str); 0];

/// The driver's metrics. One per process, shared by `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rpcs: Family<RpcLabels, Histogram, fn() -> Histogram>,
    running: Family<RunningLabels, Gauge>,
    phases: Family<PhaseLabels, Gauge>,
    oldest: Family<PhaseLabels, Gauge<f64, AtomicU64>>,
    calls: Family<CallLabels, Histogram, fn() -> Histogram>,
    ready: Family<BackendLabels, Gauge>,
    cloud: Family<CloudLabels, Histogram, fn() -> Histogram>,
    credentials_failed: Family<BackendLabels, Gauge>,
    devices: Family<BackendLabels, Gauge>,
    registered: Family<DriverLabels, Gauge>,
    reload_failed: Gauge,
    kubernetes: Family<NoLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("fairlead");
        let rpcs: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(histogram as fn() -> Histogram);
        let calls: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(histogram as fn() -> Histogram);
        let cloud: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(histogram as fn() -> Histogram);
        let metrics = Self {
            rpcs: rpcs.clone(),
            running: Family::default(),
            phases: Family::default(),
            oldest: Family::default(),
            calls: calls.clone(),
            ready: Family::default(),
            cloud: cloud.clone(),
            credentials_failed: Family::default(),
            devices: Family::default(),
            registered: Family::default(),
            reload_failed: Gauge::default(),
            kubernetes: Family::default(),
            registry: Registry::default(),
        };
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("rpc_seconds", "CSI calls by RPC and gRPC code", rpcs);
        registry.register("rpcs_in_flight", "CSI calls being answered", metrics.running.clone());
        registry.register("operations_in_flight", "Operations under way by phase", metrics.phases.clone());
        registry.register("oldest_operation_seconds", "Longest time in a phase", metrics.oldest.clone());
        registry.register("backend_seconds", "Back-end calls by call and result", calls);
        registry.register("backend_ready", "Whether the back end can be used", metrics.ready.clone());
        registry.register("cloud_seconds", "Requests on the wire by service, call and result", cloud);
        let failed = metrics.credentials_failed.clone();
        registry.register("credentials_reload_failed", "Whether changed credentials are bad", failed);
        registry.register("connected_devices", "Devices connected on this node", metrics.devices.clone());
        let registered = metrics.registered.clone();
        registry.register("kubelet_registered", "Whether the kubelet has registered the driver", registered);
        let reload_failed = metrics.reload_failed.clone();
        registry.register("config_reload_failed", "Whether the changed configuration is bad", reload_failed);
        let kubernetes = metrics.kubernetes.clone();
        registry.register("kubernetes_reachable", "Whether the Kubernetes API answers", kubernetes);
        registry.register("build_info", "The version that runs", build);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts a call in; [`Metrics::rpc_done`] counts it out.
    pub fn rpc_started(&self, rpc: &'static str) {
        self.running.get_or_create(&RunningLabels { rpc }).inc();
    }

    /// Counts a call out, with its gRPC code's name.
    pub fn rpc_done(&self, rpc: &'static str, code: &'static str, took: Duration) {
        self.running.get_or_create(&RunningLabels { rpc }).dec();
        self.rpcs.get_or_create(&RpcLabels { rpc, code }).observe(took.as_secs_f64());
    }

    /// Counts a call to a back end, with `ok` or the error's kind.
    pub fn backend_call(&self, backend: &str, call: &'static str, result: &'static str, took: Duration) {
        let labels = CallLabels { backend: backend.to_owned(), call, result };
        self.calls.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Tells whether a back end can be used.
    pub fn backend_ready(&self, backend: &str, ready: bool) {
        self.ready.get_or_create(&BackendLabels { backend: backend.to_owned() }).set(i64::from(ready));
    }

    /// Counts a request that went out to a cloud, repetitions too, with the class of its status or what was lost.
    pub fn cloud_call(
        &self,
        backend: &str,
        service: &'static str,
        call: &'static str,
        result: &'static str,
        took: Duration,
    ) {
        let labels = CloudLabels { backend: backend.to_owned(), service, call, result };
        self.cloud.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Tells whether a back end's credentials, changed while the process runs, are bad.
    pub fn credentials_reload_failed(&self, backend: &str, failed: bool) {
        let labels = BackendLabels { backend: backend.to_owned() };
        self.credentials_failed.get_or_create(&labels).set(i64::from(failed));
    }

    /// Tells how many devices of a back end this node has connected: counts one in (`true`) or out.
    pub fn device(&self, backend: &str, connected: bool) {
        let gauge = self.devices.get_or_create_owned(&BackendLabels { backend: backend.to_owned() });
        if connected {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    /// Tells whether the kubelet has registered the driver of this name. A process that does not register never tells
    /// it, so that its page does not have it.
    pub fn kubelet_registered(&self, driver: &str, registered: bool) {
        let labels = DriverLabels { driver: driver.to_owned() };
        self.registered.get_or_create(&labels).set(i64::from(registered));
    }

    /// Tells whether the configuration file, changed while the process runs, is bad.
    pub fn config_reload_failed(&self, failed: bool) {
        self.reload_failed.set(i64::from(failed));
    }

    /// Tells whether the Kubernetes API answered when it was last asked. Not called where it is not used.
    pub fn kubernetes_reachable(&self, reachable: bool) {
        self.kubernetes.get_or_create(&[]).set(i64::from(reachable));
    }

    /// Replaces the picture of what is under way: (phase, longest age, number).
    pub fn flights(&self, flights: impl IntoIterator<Item = (&'static str, Duration)>) {
        self.phases.clear();
        self.oldest.clear();
        for (phase, age) in flights {
            self.phases.get_or_create(&PhaseLabels { phase }).inc();
            let oldest = self.oldest.get_or_create(&PhaseLabels { phase });
            if oldest.get() < age.as_secs_f64() {
                oldest.set(age.as_secs_f64());
            }
        }
    }

    /// All of them in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            // Formatting into a String fails only where a collector does; say so in the page itself.
            text.clear();
            writeln!(text, "# cannot encode: {error}").unwrap_or_default();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_metric_of_the_table() {
        let metrics = Metrics::default();
        metrics.rpc_started("CreateVolume");
        metrics.rpc_done("CreateVolume", "OK", Duration::from_millis(3));
        metrics.backend_call("here", "create", "ok", Duration::from_millis(2));
        metrics.backend_ready("here", true);
        metrics.cloud_call("east", "volume", "get volume", "2xx", Duration::from_millis(9));
        metrics.credentials_reload_failed("east", true);
        metrics.device("here", true);
        metrics.flights([("copy", Duration::from_secs(2)), ("copy", Duration::from_secs(5))]);
        metrics.config_reload_failed(true);
        metrics.kubelet_registered("csi.fairlead.dev", true);
        assert!(!metrics.encode().contains("fairlead_kubernetes_reachable{}"), "it is not used so far");
        metrics.kubernetes_reachable(true);
        let page = metrics.encode();
        for line in [
            r#"fairlead_rpc_seconds_count{rpc="CreateVolume",code="OK"} 1"#,
            r#"fairlead_rpcs_in_flight{rpc="CreateVolume"} 0"#,
            r#"fairlead_operations_in_flight{phase="copy"} 2"#,
            r#"fairlead_oldest_operation_seconds{phase="copy"} 5.0"#,
            r#"fairlead_backend_seconds_count{backend="here",call="create",result="ok"} 1"#,
            r#"fairlead_backend_ready{backend="here"} 1"#,
            r#"fairlead_cloud_seconds_count{backend="east",service="volume",call="get volume",result="2xx"} 1"#,
            r#"fairlead_credentials_reload_failed{backend="east"} 1"#,
            r#"fairlead_connected_devices{backend="here"} 1"#,
            r#"fairlead_kubelet_registered{driver="csi.fairlead.dev"} 1"#,
            "fairlead_config_reload_failed 1",
            "fairlead_kubernetes_reachable{} 1",
            r#"fairlead_build_info{version=""#,
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
    }
}
