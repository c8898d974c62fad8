//! The keys of a back end of kind `storpool`.

use std::time::Duration;

use super::{count, prefix, read_topology, values};
use crate::backend::storpool::config::{IscsiSettings, Prefix, Served, StorpoolConfig};
use crate::document::Faults;
use crate::document::section::Section;

/// The longest that a client may be waited for, in seconds. Sidecars wait for minutes, and no longer.
const LONGEST: u64 = 120;
/// The longest that what is deleted is kept, in seconds: ten years.
const KEPT: u64 = 315_360_000;
/// The highest number of a client.
const CLIENTS: u64 = 0xfff;

/// Reads them. No file is opened here, for a node has no token.
pub(super) fn read(section: &mut Section<'_>, faults: &Faults) -> StorpoolConfig {
    let mut config = StorpoolConfig::default();
    for found in section.texts_or_text("endpoint").unwrap_or_default() {
        match url(found.value) {
            Ok(url) => config.endpoints.push(url),
            Err(text) => section.fault(found.at, format!("{:?}: {text}", section.name("endpoint"))),
        }
    }
    config.token_file = section.parsed("tokenFile", values::absolute).map(|found| found.value);
    config.ca_file = section.parsed("caFile", values::absolute).map(|found| found.value);
    if let Some(found) = section.parsed("confFile", values::absolute) {
        config.conf_file = found.value;
    }
    if let Some(found) = section.number_or_text("multiCluster", values::truth) {
        config.multi_cluster = found.value;
    }
    config.template = section.parsed("template", name).map(|found| found.value);
    if let Some(found) = section.parsed("clusterId", owner) {
        config.cluster = found.value;
    }
    if let Some(found) = section.parsed("namePrefix", Prefix::parse) {
        config.prefix = found.value;
    }
    if let Some(seconds) = count(section, "attachTimeout", LONGEST) {
        config.attach_timeout = Duration::from_secs(seconds);
    }
    config.delete_after = count(section, "deleteAfter", KEPT).map(Duration::from_secs);
    if let Some(mut limits) = section.section("limits") {
        config.per_server =
            count(&mut limits, "perServer", u64::from(u32::MAX)).and_then(|count| u32::try_from(count).ok());
        config.max_volumes = count(&mut limits, "volumes", i64::MAX.cast_unsigned());
        config.max_bytes = limits.number_or_text("bytes", values::room).map(|found| found.value);
        limits.finish();
    }
    config.reach = read_topology(section, "topology", faults);
    config.iscsi = read_iscsi(section);
    if config.iscsi.is_some() && config.multi_cluster {
        let text = format!(
            "{:?} and {:?} do not go together: exports are of one cluster",
            section.name("iscsi"),
            section.name("multiCluster")
        );
        section.fault(section.at(), text);
    }
    read_node(section, &mut config);
    config
}

fn read_iscsi(parent: &mut Section<'_>) -> Option<IscsiSettings> {
    let mut section = parent.section("iscsi")?;
    let group = section.parsed("portalGroup", portal_group);
    let mut settings = IscsiSettings::new(group.as_ref().map_or("", |found| found.value.as_str()));
    if group.is_none() && !section.has("portalGroup") {
        section.fault(
            section.at(),
            format!("{:?} is missing: it names the portal group", section.name("portalGroup")),
        );
    }
    if let Some(found) = section.parsed("nodes", served) {
        settings.nodes = found.value;
    }
    if let Some(found) = section.number_or_text("multipath", values::truth) {
        settings.multipath = found.value;
    }
    if let Some(found) = section.parsed("hostRoot", values::absolute) {
        settings.host_root = found.value;
    }
    section.finish();
    Some(settings)
}

/// A portal group's name, as the API knows them.
fn portal_group(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    match (1..128).contains(&text.len()) && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("{text:?} is no portal group: use 1 to 127 letters, digits, '_', '-', '.' and ':'"))
        }
    }
}

fn served(text: &str) -> Result<Served, String> {
    match text {
        "withoutBlock" => Ok(Served::WithoutBlock),
        "all" => Ok(Served::All),
        _ => Err(format!("{text:?} names no nodes: use withoutBlock or all")),
    }
}

/// The number of a client, from its text.
///
/// # Errors
/// That it is none.
pub(super) fn client(text: &str) -> Result<u16, String> {
    let number = text.parse::<u16>().ok().filter(|number| (1..=CLIENTS).contains(&u64::from(*number)));
    number.ok_or_else(|| format!("{text:?} is no number of a StorPool client: 1 to {CLIENTS}"))
}

fn read_node(parent: &mut Section<'_>, config: &mut StorpoolConfig) {
    let Some(mut section) = parent.section("node") else { return };
    let node = &mut config.node;
    node.client = count(&mut section, "clientId", CLIENTS).and_then(|number| u16::try_from(number).ok());
    node.cluster_id = section.parsed("clusterId", cluster_id).map(|found| found.value);
    if let Some(found) = section.parsed("byId", values::absolute) {
        node.by_id = found.value;
    }
    if let Some(found) = section.parsed("byName", values::absolute) {
        node.by_name = found.value;
    }
    section.finish();
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let sound = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c == '@' || c == '?' || c == '#')
    });
    match sound {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no management address: write http://<host>:81 or https://<host>")),
    }
}

/// A name of StorPool's.
fn name(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match (1..128).contains(&text.len()) && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} is no name in StorPool: use 1 to 127 letters, digits, '_' and '-'")),
    }
}

/// Noted about each volume, so that it is known whose it is. Tags have little room.
fn owner(text: &str) -> Result<String, String> {
    match text.len() {
        1..=32 => prefix(text),
        _ => Err(format!("{text:?} names no cluster: use 1 to 32 characters")),
    }
}

/// Location and cluster.
fn cluster_id(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let parts: Vec<_> = lower.split('.').collect();
    let sound = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match parts.len() == 2 && parts.iter().all(sound) {
        true => Ok(lower.clone()),
        false => Err(format!("{text:?} is no id of a StorPool cluster: SP_CLUSTER_ID is like \"d.n\"")),
    }
}
