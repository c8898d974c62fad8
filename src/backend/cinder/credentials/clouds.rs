//! `clouds.yaml`, with `secure.yaml` above it and the profiles of `clouds-public.yaml` below, as openstacksdk has them.

use std::path::{Path, PathBuf};

use crate::document::yaml::{self, Entry, Node, Value};
use crate::document::{Fault, Faults, Place};

use super::keys::{AUTH, CLOUD, Keys};
use super::{Choice, with_text};

const SECURE: &str = "secure.yaml";
const PUBLIC: &str = "clouds-public.yaml";

/// The file and those beside it.
pub(super) fn files(file: &Path) -> Vec<PathBuf> {
    vec![file.to_owned(), file.with_file_name(SECURE), file.with_file_name(PUBLIC)]
}

/// Reads the entry of a cloud; of the only one, where `cloud` is none.
pub(super) fn read(
    file: &Path,
    cloud: Option<&str>,
    choice: &Choice,
    faults: &mut Vec<Fault>,
) -> Option<Keys> {
    let (own, name, profile) = with_text(file, faults, |text, found| {
        let root = yaml::parse(text, found);
        let Some(root) = root else {
            if found.is_empty() {
                found.add_whole("is empty: it needs \"clouds\" with at least one entry".to_owned());
            }
            return None;
        };
        let entry = choose(&root, cloud, found)?;
        let keys = entry_keys(file, entry, choice, found)?;
        Some((keys, entry.key.clone(), profile(entry, found)))
    })?;
    let mut keys = match profile {
        Some((profile, place)) => public(file, &profile, &place, choice, faults)?,
        None => Keys::new(own.place.clone()),
    };
    keys.place = own.place.clone();
    keys.overlay(own);
    let secure = file.with_file_name(SECURE);
    if secure.exists() {
        let above = with_text(&secure, faults, |text, found| {
            let root = yaml::parse(text, found)?;
            let clouds = mapping(&root, "clouds", found)?;
            entry_keys(&secure, clouds.iter().find(|entry| entry.key == name)?, choice, found)
        });
        if let Some(above) = above {
            keys.overlay(above);
        }
    }
    Some(keys)
}

fn choose<'a>(root: &'a Node, cloud: Option<&str>, faults: &Faults) -> Option<&'a Entry> {
    let Some(clouds) = mapping(root, "clouds", faults) else {
        if faults.is_empty() {
            faults.add(root.at, "\"clouds\" is missing".to_owned());
        }
        return None;
    };
    let names: Vec<_> = clouds.iter().map(|entry| entry.key.as_str()).collect();
    match (cloud, clouds) {
        (_, []) => {
            faults.add(root.at, "\"clouds\" is empty: give it an entry".to_owned());
            None
        }
        (None, [only]) => Some(only),
        (None, _) => {
            let text = format!("there are several clouds, {}: name one", names.join(", "));
            faults.add(root.at, text);
            None
        }
        (Some(name), _) => clouds.iter().find(|entry| entry.key == name).or_else(|| {
            let text = format!("no cloud is named {name:?}: there are {}", names.join(", "));
            faults.add(root.at, text);
            None
        }),
    }
}

/// The entry's profile, and where it is named.
fn profile(entry: &Entry, faults: &Faults) -> Option<(String, Place)> {
    let Value::Mapping(entries) = &entry.node.value else { return None };
    let named = entries.iter().find(|entry| matches!(entry.key.as_str(), "profile" | "cloud"))?;
    let name = scalar(named, faults)?;
    Some((name.to_owned(), faults.place(named.at)))
}

/// What the profile of this name says.
fn public(
    file: &Path,
    profile: &str,
    place: &Place,
    choice: &Choice,
    faults: &mut Vec<Fault>,
) -> Option<Keys> {
    let public = file.with_file_name(PUBLIC);
    let found = match public.exists() {
        true => with_text(&public, faults, |text, found| {
            let root = yaml::parse(text, found)?;
            let clouds = mapping(&root, "public-clouds", found)?;
            let entry = clouds.iter().find(|entry| entry.key == profile);
            Some(entry.and_then(|entry| entry_keys(&public, entry, choice, found)))
        })?,
        false => None,
    };
    if found.is_none() {
        let text =
            format!("the profile {profile:?} is not in {}: write its settings out here", public.display());
        faults.push(Fault { place: place.clone(), text });
    }
    found
}

/// The entries of the mapping under a key.
fn mapping<'a>(root: &'a Node, key: &str, faults: &Faults) -> Option<&'a [Entry]> {
    let Value::Mapping(entries) = &root.value else {
        faults.add(root.at, format!("a mapping with {key:?} is needed here"));
        return None;
    };
    let found = entries.iter().find(|entry| entry.key == key)?;
    match &found.node.value {
        Value::Mapping(entries) => Some(entries),
        _ if found.node.is_null() => Some(&[]),
        _ => {
            faults.add(found.node.at, format!("{key:?} must be a mapping"));
            None
        }
    }
}

fn entry_keys(file: &Path, entry: &Entry, choice: &Choice, faults: &Faults) -> Option<Keys> {
    let mut keys = Keys::new(Place::File(file.display().to_string(), entry.at));
    let Value::Mapping(entries) = &entry.node.value else {
        faults.add(entry.at, format!("the cloud {:?} must be a mapping", entry.key));
        return None;
    };
    let mut take = |entries: &[Entry], known: &[&'static str]| {
        for entry in entries {
            let Some(key) = known.iter().find(|key| **key == entry.key) else { continue };
            if let Some(value) = scalar(entry, faults) {
                keys.set(key, value, faults.place(entry.node.at));
            }
        }
    };
    take(entries, &CLOUD);
    if let Some(auth) = entries.iter().find(|entry| entry.key == "auth") {
        match &auth.node.value {
            Value::Mapping(entries) => take(entries, &AUTH),
            _ if auth.node.is_null() => {}
            _ => faults.add(auth.node.at, "\"auth\" must be a mapping".to_owned()),
        }
    }
    if let Some(regions) = entries.iter().find(|entry| entry.key == "regions") {
        region(&mut keys, regions, choice, faults);
    }
    Some(keys)
}

/// The region, where the entry lists those that there are.
fn region(keys: &mut Keys, regions: &Entry, choice: &Choice, faults: &Faults) {
    let Value::Sequence(items) = &regions.node.value else {
        faults.add(regions.node.at, "\"regions\" must be a list".to_owned());
        return;
    };
    let names: Vec<_> = items.iter().filter_map(|item| region_name(item, faults)).collect();
    let wanted = choice.region.clone().or_else(|| keys.text("region_name"));
    match (wanted, names.as_slice()) {
        (Some(wanted), names) if !names.is_empty() && !names.contains(&wanted.as_str()) => {
            let text =
                format!("the region {wanted:?} is not among \"regions\": there are {}", names.join(", "));
            faults.add(regions.at, text);
        }
        (None, [only]) => keys.set("region_name", *only, faults.place(regions.at)),
        (None, [_, _, ..]) => {
            faults.add(regions.at, format!("there are several regions, {}: name one", names.join(", ")));
        }
        _ => {}
    }
}

/// A region stands as its name, or as a mapping with the name and values of its own.
fn region_name<'a>(item: &'a Node, faults: &Faults) -> Option<&'a str> {
    let name = match &item.value {
        Value::Scalar { text, .. } => Some(text.as_str()),
        Value::Mapping(entries) => {
            entries.iter().find(|entry| entry.key == "name").and_then(|entry| scalar(entry, faults))
        }
        Value::Sequence(_) => None,
    };
    if name.is_none() {
        faults.add(item.at, "a region must be a name, or a mapping with \"name\"".to_owned());
    }
    name
}

/// A single value, also one that YAML takes for a number: a password may be one. Never quoted.
fn scalar<'a>(entry: &'a Entry, faults: &Faults) -> Option<&'a str> {
    match &entry.node.value {
        Value::Scalar { .. } if entry.node.is_null() => None,
        Value::Scalar { text, .. } => Some(text),
        Value::Sequence(_) | Value::Mapping(_) => {
            faults.add(entry.node.at, format!("{:?} must be one value", entry.key));
            None
        }
    }
}
