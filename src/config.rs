//! The settings: one YAML file, options of the command line and a few variables of the environment.
//!
//! Everything is read and judged before anything starts. All faults are reported at once with their places; nothing
//! unknown is passed over. `docs/configuration.md` is the same for people. The environment is read in this module
//! alone. Secrets are never in the file itself: a setting that needs one names a file.

mod schema;
mod twins;
mod values;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backend::cinder::config::CinderConfig;
use crate::backend::file::FileConfig;
use crate::backend::storpool::StorpoolConfig;
use crate::document::{self, yaml};
use crate::node::NodeConfig;
use crate::volume::{BackendName, FsType};

pub use crate::document::{Fault, Faults, Place, Position, read};
pub use values::{Level, LogFilter};

/// Where the file is when nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/fairlead/config.yaml";
/// The variable that names the file.
pub const FILE_VARIABLE: &str = "FAIRLEAD_CONFIG";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged. The one setting that takes effect without a restart.
    pub level: LogFilter,
    /// How it is written.
    pub format: LogFormat,
}

/// Settings of a back end, by its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendConfig {
    /// Image files in a directory that every server sees.
    File(FileConfig),
    /// A cloud with OpenStack's block storage.
    Cinder(Box<CinderConfig>),
    /// A StorPool cluster.
    Storpool(Box<StorpoolConfig>),
}

impl BackendConfig {
    /// The kind's name in the file.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Cinder(_) => "cinder",
            Self::Storpool(_) => "storpool",
        }
    }
}

/// Where the Kubernetes API is, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesAccess {
    /// The API server's URL: scheme, host and port.
    pub server: String,
    /// A directory with the file `token` and, for https, `ca.crt`, as a pod has it for its service account.
    pub credentials: PathBuf,
    /// Whether the file names either, rather than the pod that this process happens to be in.
    pub named: bool,
}

/// The pod that a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its unique id: others may have had the name.
    pub uid: String,
}

/// Whether the controller asks the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Whether it must.
    pub required: bool,
    /// Whether the operator says that it must not: that there is no cluster.
    pub refused: bool,
    /// How it can; `None`: not at all, or it is not meant to.
    pub access: Option<KubernetesAccess>,
    /// The pod that this process is in, where it was told.
    pub pod: Option<Pod>,
}

/// All settings of one process, judged and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The CSI driver's name.
    pub driver_name: String,
    /// The CSI socket's absolute path.
    pub endpoint: PathBuf,
    /// Where metrics and health are served; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// The log.
    pub log: LogConfig,
    /// How long running operations may take to finish after the order to end.
    pub grace_period: Duration,
    /// The Kubernetes API. The node never asks it.
    pub kubernetes: KubernetesConfig,
    /// The node's own settings, with the back end that takes over foreign handles.
    pub node: NodeConfig,
    /// The file systems that this node must be able to make.
    pub file_systems: Vec<FsType>,
    /// The directory of the kubelet with which the node registers; `None`: with none.
    pub kubelet_dir: Option<PathBuf>,
    /// The back ends, at least one.
    pub backends: Vec<(BackendName, BackendConfig)>,
}

impl Config {
    /// What may be wrong with it, and cannot be told from it alone. Each is a text for an operator.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        twins::doubts(&self.backends)
    }

    /// The settings, apart from the log level, in which `other` differs: by the keys of the file.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let mut compare = |key, same: bool| {
            if !same {
                keys.push(key);
            }
        };
        compare("driverName", self.driver_name == other.driver_name);
        compare("endpoint", self.endpoint == other.endpoint);
        compare("http", self.http == other.http);
        compare("log.format", self.log.format == other.log.format);
        compare("gracePeriod", self.grace_period == other.grace_period);
        compare("kubernetes", self.kubernetes == other.kubernetes);
        compare("foreign", self.node.foreign == other.node.foreign);
        let node = |config: &Self| NodeConfig { foreign: None, ..config.node.clone() };
        let same = node(self) == node(other) && self.file_systems == other.file_systems;
        compare("node", same && self.kubelet_dir == other.kubelet_dir);
        compare("backends", self.backends == other.backends);
        keys
    }
}

/// Options of the command line that stand above the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--http`.
    pub http: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--node-name`.
    pub node_name: Option<String>,
    /// `--kubelet-dir`.
    pub kubelet_dir: Option<String>,
    /// `--server-id`, each `<back end>=<id>`.
    pub server_ids: Vec<String>,
}

/// What the settings may learn from outside the file.
pub trait Environment: Send + Sync {
    /// A variable's value; `None` where it is not set or empty.
    fn variable(&self, name: &str) -> Option<String>;

    /// This machine's name.
    fn host_name(&self) -> Option<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn host_name(&self) -> Option<String> {
        let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(text.trim().to_owned()).filter(|name| !name.is_empty())
    }
}

/// The file to read: what the option says, else what the environment says, else [`DEFAULT_FILE`].
#[must_use]
pub fn file(option: Option<PathBuf>, environment: &dyn Environment) -> PathBuf {
    option
        .or_else(|| environment.variable(FILE_VARIABLE).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

/// Reads and judges the settings.
///
/// # Errors
/// Every fault there is, in the order of the file.
pub fn load(path: &Path, overrides: &Overrides, environment: &dyn Environment) -> Result<Config, Vec<Fault>> {
    let faults = Faults::new(path.display().to_string());
    match read(path) {
        Ok(bytes) => judge(&bytes, faults, overrides, environment),
        Err(text) => {
            faults.add_whole(text);
            Err(faults.into_sorted())
        }
    }
}

/// Judges settings that were read from `name`.
///
/// # Errors
/// Every fault there is, in the order of the file.
pub fn parse(
    name: &str,
    bytes: &[u8],
    overrides: &Overrides,
    environment: &dyn Environment,
) -> Result<Config, Vec<Fault>> {
    judge(bytes, Faults::new(name.to_owned()), overrides, environment)
}

fn judge(
    bytes: &[u8],
    faults: Faults,
    overrides: &Overrides,
    environment: &dyn Environment,
) -> Result<Config, Vec<Fault>> {
    let config = document::text(bytes, &faults).and_then(|text| {
        let root = yaml::parse(text, &faults);
        if root.is_none() && faults.is_empty() {
            faults.add_whole("is empty: at least \"backends\" is needed".to_owned());
        }
        schema::read(&root?, overrides, environment, &faults)
    });
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults.into_sorted()),
    }
}
