//! `cloud.conf` of the Kubernetes cloud provider for OpenStack, which drivers before this one read. Keys that are not
//! known are passed over, as they always were.

use std::path::{Path, PathBuf};

use crate::document::{Fault, Faults, Place};

use super::ini::{self, Section};
use super::keys::Keys;
use super::{Choice, Heritage, clouds, with_text};

/// The keys of `[Global]`, and what they are in `clouds.yaml`.
const KEYS: [(&str, &str); 24] = [
    ("auth-url", "auth_url"),
    ("username", "username"),
    ("user-id", "user_id"),
    ("password", "password"),
    ("tenant-id", "project_id"),
    ("tenant-name", "project_name"),
    ("trust-id", "trust_id"),
    ("domain-id", "domain_id"),
    ("domain-name", "domain_name"),
    ("tenant-domain-id", "project_domain_id"),
    ("tenant-domain-name", "project_domain_name"),
    ("user-domain-id", "user_domain_id"),
    ("user-domain-name", "user_domain_name"),
    ("region", "region_name"),
    ("os-endpoint-type", "interface"),
    ("ca-file", "cacert"),
    ("cert-file", "cert"),
    ("key-file", "key"),
    ("token", "token"),
    ("application-credential-id", "application_credential_id"),
    ("application-credential-name", "application_credential_name"),
    ("application-credential-secret", "application_credential_secret"),
    // The user to whom something was entrusted is the one who logs in.
    ("trustee-id", "user_id"),
    ("trustee-password", "password"),
];
/// Where `clouds.yaml` is when nothing else is said.
const CLOUDS_FILE: &str = "/etc/openstack/clouds.yaml";

/// A file's sections.
struct Read {
    file: PathBuf,
    sections: Vec<Section>,
}

/// Reads the `[Global]` section of a cloud from all files.
pub(super) fn read(
    files: &[PathBuf],
    cloud: Option<&str>,
    choice: &Choice,
    faults: &mut Vec<Fault>,
) -> Option<Keys> {
    let mut heritage = Heritage::default();
    let parse = |file: &PathBuf| {
        let sections = with_text(file, faults, |text, found| {
            let sections = ini::parse(text, found);
            inherit(&mut heritage, &sections, found);
            Some(sections)
        })?;
        Some(Read { file: file.clone(), sections })
    };
    let read: Vec<_> = files.iter().filter_map(parse).collect();
    let last = read.last()?;
    let name = match choose(&read, cloud) {
        Ok(name) => name,
        Err(text) => {
            faults.push(Fault { place: Place::Other(last.file.display().to_string()), text });
            return None;
        }
    };
    let mut keys: Option<Keys> = None;
    let mut delegate = Delegate::default();
    for Read { file, sections } in &read {
        for section in sections.iter().filter(|section| section.name == "global" && section.sub == name) {
            let above = section_keys(file, section, &mut delegate);
            match &mut keys {
                Some(keys) => keys.overlay(above),
                None => keys = Some(above),
            }
        }
    }
    let mut own = keys?;
    own.heritage = heritage;
    if !delegate.wanted {
        return Some(own);
    }
    let file = delegate.file.unwrap_or_else(|| CLOUDS_FILE.into());
    let mut keys = clouds::read(&file, delegate.cloud.as_deref(), choice, faults)?;
    keys.overlay(own);
    Some(keys)
}

/// Where the file hands over to a `clouds.yaml`.
#[derive(Default)]
struct Delegate {
    wanted: bool,
    file: Option<PathBuf>,
    cloud: Option<String>,
}

/// The name of the section to take.
fn choose(read: &[Read], cloud: Option<&str>) -> Result<Option<String>, String> {
    let sections = read.iter().flat_map(|read| &read.sections).filter(|section| section.name == "global");
    let names: Vec<_> = sections.map(|section| section.sub.clone()).collect();
    let shown = || {
        let show = |name: &Option<String>| match name {
            Some(name) => format!("[Global {name:?}]"),
            None => "[Global]".to_owned(),
        };
        names.iter().map(show).collect::<Vec<_>>().join(", ")
    };
    match cloud {
        _ if names.is_empty() => Err("there is no [Global] section".to_owned()),
        Some(name) => names
            .iter()
            .find(|known| known.as_deref() == Some(name))
            .cloned()
            .ok_or_else(|| format!("there is no section [Global {name:?}]: there are {}", shown())),
        None if names.contains(&None) => Ok(None),
        None if names.iter().all(|name| Some(name) == names.first()) => {
            Ok(names.into_iter().next().flatten())
        }
        None => Err(format!("there are several clouds, {}: name one", shown())),
    }
}

fn section_keys(file: &Path, section: &Section, delegate: &mut Delegate) -> Keys {
    let place = |at| Place::File(file.display().to_string(), at);
    let mut keys = Keys::new(place(section.at));
    for entry in &section.entries {
        match (entry.key.as_str(), KEYS.iter().find(|(key, _)| *key == entry.key)) {
            ("use-clouds", _) => delegate.wanted = truth(&entry.value),
            ("clouds-file", _) => {
                delegate.file = Some(entry.value.clone().into()).filter(|_| !entry.value.is_empty());
            }
            ("cloud", _) => {
                delegate.cloud = Some(entry.value.clone()).filter(|name| !name.is_empty());
            }
            ("tls-insecure", _) if truth(&entry.value) => keys.set("verify", "false", place(entry.at)),
            ("tls-insecure", _) | (_, None) => {}
            (_, Some((_, key))) => keys.set(key, entry.value.clone(), place(entry.at)),
        }
    }
    keys
}

/// What gcfg takes for true.
fn truth(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

/// Takes over the settings of the driver before this one that have a meaning here.
fn inherit(heritage: &mut Heritage, sections: &[Section], faults: &Faults) {
    for entry in sections.iter().filter(|section| section.name == "blockstorage").flat_map(|s| &s.entries) {
        match entry.key.as_str() {
            "node-volume-attach-limit" => match entry.value.parse() {
                Ok(limit @ 1..=256) => heritage.per_server = Some(limit),
                _ => faults.add(
                    entry.at,
                    format!(
                        "node-volume-attach-limit is {:?}: a number from 1 to 256 is needed",
                        entry.value
                    ),
                ),
            },
            "ignore-volume-az" => heritage.ignore_volume_az = truth(&entry.value),
            _ => {}
        }
    }
}
