//! The keys of the file, in the order of the documentation.

mod cinder;
mod kubernetes;
mod server_id;
mod storpool;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::backend::file::FileConfig;
use crate::document::Faults;
use crate::document::section::{Found, Section, text};
use crate::document::yaml::{Entry, Node};
use crate::node::NodeConfig;
use crate::volume::{BackendName, FsType, NodeId, Topology, nearest};

use self::server_id::ServerIds;
use super::{BackendConfig, Config, Environment, LogConfig, LogFilter, LogFormat, Overrides, twins, values};
use crate::backend::cinder::connector::settings;

const DRIVER_NAME: &str = "csi.fairlead.dev";
const ENDPOINT: &str = "unix:///run/csi/socket";
const ENDPOINT_VARIABLE: &str = "CSI_ENDPOINT";
const HTTP: &str = "127.0.0.1:9810";
const GRACE_SECONDS: u64 = 25;
const NODE_VARIABLE: &str = "NODE_NAME";
/// The kinds of back ends that this build has.
const KINDS: [&str; 3] = ["cinder", "file", "storpool"];
/// The longest name of a cluster, and the longest prefix of names: the cloud's names and notes have at most 255
/// characters.
const MAX_TEXT: usize = 64;

/// Reads all keys. `None` where something that has no default is missing or wrong, which is then among the faults.
pub fn read(
    root: &Node,
    overrides: &Overrides,
    environment: &dyn Environment,
    faults: &Faults,
) -> Option<Config> {
    let mut top = Section::new("", root, faults)?;
    let outside = Outside { environment, faults };
    let driver_name = top.parsed("driverName", values::driver_name).map(|found| found.value);
    let endpoint = top.parsed("endpoint", values::endpoint).map(|found| found.value);
    let endpoint = outside.option("--endpoint", overrides.endpoint.as_deref(), values::endpoint).or(endpoint);
    let endpoint = endpoint.or_else(|| outside.variable(ENDPOINT_VARIABLE, values::endpoint));
    let http = top.parsed("http", values::http).map(|found| found.value);
    let http = outside.option("--http", overrides.http.as_deref(), values::http).or(http);
    let log = log(&mut top, &outside, overrides);
    let grace = top.number_or_text("gracePeriod", values::duration).map(|found| found.value);
    let kubernetes = kubernetes::read(&mut top, &outside);
    let foreign = top.parsed("foreign", backend_name);
    let node = node(&mut top, &outside, overrides, driver_name.as_deref().unwrap_or(DRIVER_NAME));
    let server_ids = ServerIds::read(overrides, &outside);
    let backends = backends(&mut top, &outside, &server_ids);
    if let Some(foreign) = &foreign
        && let Some(backends) = &backends
        && !backends.names.contains(&foreign.value.as_str())
    {
        let names = backends.names.join(", ");
        top.fault(
            foreign.at,
            format!("\"foreign\": no back end is named {:?}: there are {names}", foreign.value.as_str()),
        );
    }
    top.finish();
    Some(Config {
        driver_name: driver_name.unwrap_or_else(|| DRIVER_NAME.to_owned()),
        endpoint: endpoint.or_else(|| values::endpoint(ENDPOINT).ok())?,
        http: http.or_else(|| values::http(HTTP).ok())?,
        log,
        grace_period: grace.unwrap_or(std::time::Duration::from_secs(GRACE_SECONDS)),
        kubernetes,
        node: NodeConfig { foreign: foreign.map(|found| found.value), ..node.config? },
        file_systems: node.file_systems,
        kubelet_dir: node.kubelet_dir,
        backends: backends?.list,
    })
}

/// Values that do not come from the file.
struct Outside<'a> {
    environment: &'a dyn Environment,
    faults: &'a Faults,
}

impl Outside<'_> {
    fn option<T>(
        &self,
        name: &str,
        value: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.judge(format!("option {name}"), parse(value?))
    }

    fn variable<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.judge(format!("environment variable {name}"), parse(&self.environment.variable(name)?))
    }

    fn judge<T>(&self, origin: String, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.faults.add_other(origin, text)).ok()
    }
}

fn log(top: &mut Section<'_>, outside: &Outside<'_>, overrides: &Overrides) -> LogConfig {
    let mut config = LogConfig::default();
    let level = |text: &str| text.parse::<LogFilter>();
    if let Some(mut section) = top.section("log") {
        config.level = section.parsed("level", level).map(|found| found.value).unwrap_or_default();
        let format = |text: &str| match text {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is no format: use auto, text or json")),
        };
        config.format = section.parsed("format", format).map(|found| found.value).unwrap_or_default();
        section.finish();
    }
    if let Some(wanted) = outside.option("--log-level", overrides.log_level.as_deref(), level) {
        config.level = wanted;
    }
    config
}

/// What stands under `node`.
struct NodeSection {
    config: Option<NodeConfig>,
    file_systems: Vec<FsType>,
    kubelet_dir: Option<PathBuf>,
}

fn node(top: &mut Section<'_>, outside: &Outside<'_>, overrides: &Overrides, driver: &str) -> NodeSection {
    let node_name = |text: &str| match NodeId::new(text, BTreeMap::new()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let mut name = None;
    let mut name_given = false;
    let (mut topology, mut max_volumes, mut file_systems) = (Topology::default(), None, FsType::ALL.to_vec());
    let kubelet = |text: &str| values::kubelet_directory(text, driver);
    let mut kubelet_dir = None;
    if let Some(mut section) = top.section("node") {
        let found = section.text("name");
        name_given = found.is_some();
        name = found.and_then(|found| {
            node_name(found.value)
                .map_err(|text| section.fault(found.at, format!("\"node.name\": {text}")))
                .ok()
        });
        topology = read_topology(&mut section, "topology", outside.faults);
        max_volumes =
            count(&mut section, "maxVolumes", u64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok());
        if let Some(list) = read_file_systems(&mut section) {
            file_systems = list;
        }
        kubelet_dir = section.parsed("kubeletDir", kubelet).map(|found| found.value);
        section.finish();
    }
    if let Some(wanted) = outside.option("--node-name", overrides.node_name.as_deref(), node_name) {
        name = Some(wanted);
    } else if !name_given {
        name = outside.variable(NODE_VARIABLE, node_name).or_else(|| {
            if outside.environment.variable(NODE_VARIABLE).is_some() {
                return None; // A bad one is a fault already; another name would hide it.
            }
            let host = outside.environment.host_name();
            let host = host.ok_or_else(|| "cannot be told: set node.name or NODE_NAME".to_owned());
            outside.judge("this machine's host name".to_owned(), host.and_then(|host| node_name(&host)))
        });
    }
    kubelet_dir = outside.option("--kubelet-dir", overrides.kubelet_dir.as_deref(), kubelet).or(kubelet_dir);
    let config = name.map(|name| NodeConfig { name, topology, max_volumes, foreign: None });
    NodeSection { config, file_systems, kubelet_dir }
}

fn read_file_systems(section: &mut Section<'_>) -> Option<Vec<FsType>> {
    let key = section.name("fileSystems");
    let texts = section.texts("fileSystems")?;
    let mut list: Vec<FsType> = Vec::new();
    for Found { value, at } in texts {
        match FsType::ALL.into_iter().find(|fs| fs.as_str() == value) {
            Some(fs) if list.contains(&fs) => section.fault(at, format!("{key:?} has {value} twice")),
            Some(fs) => list.push(fs),
            None => {
                let known: Vec<_> = FsType::ALL.iter().map(|fs| fs.as_str()).collect();
                section.fault(
                    at,
                    format!("{key:?}: {value:?} is not made here: known are {}", known.join(", ")),
                );
            }
        }
    }
    Some(list)
}

fn read_topology(section: &mut Section<'_>, key: &'static str, faults: &Faults) -> Topology {
    let name = section.name(key);
    let mut topology = Topology::default();
    for Entry { key, at, node } in section.entries(key).unwrap_or_default() {
        if let Err(text) = values::topology_key(key) {
            faults.add(*at, format!("{name:?}: {text}"));
        }
        let Some(found) = text(&format!("{name}.{key}"), node, faults) else { continue };
        match values::topology_value(found.value) {
            Ok(()) => {
                topology.0.insert(key.clone(), found.value.to_owned());
            }
            Err(text) => faults.add(found.at, format!("{name:?}: {text}")),
        }
    }
    topology
}

fn count(section: &mut Section<'_>, key: &'static str, max: u64) -> Option<u64> {
    section.number(key, |text| values::count(text, max)).map(|found| found.value)
}

fn backend_name(text: &str) -> Result<BackendName, String> {
    text.parse().map_err(|error: crate::error::Error| error.to_string())
}

/// The back ends that can be used, and the names of all that were meant.
struct Configured<'a> {
    list: Vec<(BackendName, BackendConfig)>,
    names: Vec<&'a str>,
}

fn backends<'a>(
    top: &mut Section<'a>,
    outside: &Outside<'a>,
    server_ids: &ServerIds,
) -> Option<Configured<'a>> {
    let (at, faults) = (top.at(), outside.faults);
    let Some(node) = top.node("backends") else {
        if !top.has("backends") {
            top.fault(at, "\"backends\" is missing: configure at least one back end".to_owned());
        }
        return None;
    };
    let entries = Section::new("backends", node, faults)?.into_entries();
    if entries.is_empty() {
        faults.add(node.at, "\"backends\" is empty: configure at least one back end".to_owned());
    }
    let mut found = Configured { list: Vec::new(), names: Vec::new() };
    for entry in entries {
        found.names.push(&entry.key);
        let name =
            backend_name(&entry.key).map_err(|text| faults.add(entry.at, format!("\"backends\": {text}")));
        let Some(config) = backend(entry, outside, server_ids) else { continue };
        let twin = found.list.iter().find_map(|(name, old)| Some((name, twins::common(old, &config)?)));
        if let Some((twin, what)) = twin {
            let text = format!("the back ends {:?} and {:?} have the same {what}", twin.as_str(), entry.key);
            faults.add(entry.at, format!("{text}: give each its own"));
        }
        if let Ok(name) = name {
            found.list.push((name, config));
        }
    }
    server_ids.finish(&found.names, outside);
    twins::introduce(&mut found.list);
    Some(found)
}

fn backend(entry: &Entry, outside: &Outside<'_>, server_ids: &ServerIds) -> Option<BackendConfig> {
    let faults = outside.faults;
    let mut section = Section::new(&format!("backends.{}", entry.key), &entry.node, faults)?;
    let kind = section.text("kind");
    match kind {
        Some(Found { value: "file", .. }) => {
            let config = file(&mut section, faults);
            section.finish();
            let named = |_: &str| {
                Err::<(), _>("kind file knows servers by their nodes' names: use --node-name".to_owned())
            };
            server_ids.of(&entry.key, outside, named);
            config.map(BackendConfig::File)
        }
        Some(Found { value: "storpool", .. }) => {
            let mut config = storpool::read(&mut section, faults);
            section.finish();
            let told = server_ids.of(&entry.key, outside, storpool::client);
            config.node.client = told.or(config.node.client);
            Some(BackendConfig::Storpool(Box::new(config)))
        }
        Some(Found { value: "cinder", .. }) => {
            let mut config = cinder::read(&mut section, outside);
            section.finish();
            let read = |text: &str| settings::server(config.dialect, text);
            let told = server_ids.of(&entry.key, outside, read);
            config.node.server = told.or(config.node.server);
            Some(BackendConfig::Cinder(Box::new(config)))
        }
        Some(Found { value, at }) => {
            // Which other keys are right depends on the kind, so they are not judged.
            let near =
                nearest(value, KINDS).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
            let known = KINDS.join(", ");
            section.fault(at, format!("kind {value:?} is not built in{near}; known: {known}"));
            None
        }
        None => {
            if !section.has("kind") {
                let known = KINDS.join(", ");
                section.fault(section.at(), format!("{:?} is missing; known: {known}", section.name("kind")));
            }
            None
        }
    }
}

fn file(section: &mut Section<'_>, faults: &Faults) -> Option<FileConfig> {
    let directory = section.parsed("directory", values::absolute).map(|found| found.value);
    if directory.is_none() && !section.has("directory") {
        section.fault(section.at(), format!("{:?} is missing", section.name("directory")));
    }
    let mut config = FileConfig::new(directory.clone().unwrap_or_default());
    if let Some(mut limits) = section.section("limits") {
        config.per_server =
            count(&mut limits, "perServer", u64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok());
        config.max_volumes = count(&mut limits, "volumes", i64::MAX.cast_unsigned());
        config.max_bytes = limits.number_or_text("bytes", values::room).map(|found| found.value);
        limits.finish();
    }
    if let Some(found) = section.number("thinFactor", values::factor) {
        config.thin_factor = found.value;
    }
    config.reach = read_topology(section, "topology", faults);
    directory.map(|_| config)
}

/// What names in a cloud begin with.
fn prefix(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() <= MAX_TEXT && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} has more than {MAX_TEXT} characters or others than letters, digits, '-', '_' and '.'"
        )),
    }
}
