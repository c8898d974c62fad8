//! Raw fields to typed ones, within the limits of the CSI specification ("Size Limits").
//!
//! Callers check the fields of a request in the order id, target (node, name, path), capability, and look nothing up
//! before all of them are checked. A text that is too long is refused here, so that none is echoed at length.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::backend::Page;
use crate::error::{Error, Result};
use crate::proto::csi;
use crate::proto::csi::volume_capability::AccessType;
use crate::proto::csi::volume_capability::access_mode::Mode;
use crate::volume::{
    Access, AccessKind, AccessMode, FsType, MountFlags, Parameters, SizeRange, Topology, TopologyRequirement,
};

/// The longest string, in bytes.
const MAX_STRING: usize = 128;
/// The longest node id, in bytes.
const MAX_NODE_ID: usize = 256;
/// The longest path, in bytes (PATH_MAX of Linux, less its NUL). CSI sets no upper limit.
const MAX_PATH: usize = 4095;
/// The largest map, and the most of mount flags, in bytes.
const MAX_MAP: usize = 4096;

fn at_most<'a>(text: &'a str, field: &str, max: usize) -> Result<&'a str> {
    if text.len() > max {
        return Err(Error::invalid(format!("{field} has {} bytes: at most {max} are allowed", text.len())));
    }
    Ok(text)
}

/// The refusal of a request without a field that it must have.
pub(super) fn missing(field: &str) -> Error {
    Error::invalid(format!("{field} is missing"))
}

fn required<'a>(text: &'a str, field: &str, max: usize) -> Result<&'a str> {
    if text.is_empty() {
        return Err(missing(field));
    }
    at_most(text, field, max)
}

/// An id that must be given. Whether it names anything is not for this room to say.
pub(super) fn id<'a>(text: &'a str, field: &str) -> Result<&'a str> {
    required(text, field, MAX_STRING)
}

/// Ids of which at least one must be given.
pub(super) fn ids<'a>(texts: &'a [String], field: &str) -> Result<Vec<&'a str>> {
    if texts.is_empty() {
        return Err(Error::invalid(format!("{field} is missing: at least one is needed")));
    }
    texts.iter().map(|text| id(text, field)).collect()
}

/// A node's id that must be given.
pub(super) fn node_id(text: &str) -> Result<&str> {
    required(text, "node_id", MAX_NODE_ID)
}

/// A node's id, where none means all nodes.
pub(super) fn optional_node_id(text: &str) -> Result<Option<&str>> {
    at_most(text, "node_id", MAX_NODE_ID).map(|text| (!text.is_empty()).then_some(text))
}

/// An id of a filter, where none means all.
pub(super) fn optional_id<'a>(text: &'a str, field: &str) -> Result<Option<&'a str>> {
    at_most(text, field, MAX_STRING).map(|text| (!text.is_empty()).then_some(text))
}

/// The name of an object that is ordered: any Unicode without control characters.
pub(super) fn name(text: &str) -> Result<&str> {
    let text = required(text, "name", MAX_STRING)?;
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(Error::invalid(format!("name {text:?} holds the control character {bad:?}"))),
        None => Ok(text),
    }
}

/// An id of something that is to be taken away: `None` where it cannot be one of ours, so that there is nothing to do.
pub(super) fn known<T>(id: Result<T>) -> Result<Option<T>> {
    match id {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A path at which something will be made or taken away: absolute, and without any part that leads elsewhere.
pub(super) fn path(text: &str, field: &str) -> Result<PathBuf> {
    let path = Path::new(required(text, field, MAX_PATH)?);
    if !sound(path) {
        return Err(Error::invalid(format!("{field} {text:?} is no absolute path without '..' and NUL")));
    }
    Ok(path.to_owned())
}

/// A path at which a volume is looked for. Any text may be asked about: a volume is not at a path that cannot be one.
///
/// # Errors
/// `InvalidArgument` where it is missing; the inner one, to be answered after all other fields, is `NotFound`.
pub(super) fn looked_for(text: &str, field: &str) -> Result<Result<PathBuf>> {
    let text = required(text, field, MAX_PATH)?;
    let path = Path::new(text);
    Ok(if sound(path) {
        Ok(path.to_owned())
    } else {
        Err(Error::not_found(format!(
            "the volume is not at {field} {text:?}, which is no plain absolute path"
        )))
    })
}

fn sound(path: &Path) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain) && !path.as_os_str().as_encoded_bytes().contains(&0)
}

/// A size where a size must be named.
pub(super) fn required_range(range: Option<csi::CapacityRange>) -> Result<SizeRange> {
    match range {
        None | Some(csi::CapacityRange { required_bytes: 0, limit_bytes: 0 }) => {
            Err(Error::invalid("capacity_range is missing: give required_bytes or limit_bytes"))
        }
        Some(_) => self::range(range),
    }
}

/// A size; none is any size.
pub(super) fn range(range: Option<csi::CapacityRange>) -> Result<SizeRange> {
    range.map_or_else(|| Ok(SizeRange::default()), |r| SizeRange::new(r.required_bytes, r.limit_bytes))
}

/// A map of parameters.
pub(super) fn parameters(map: BTreeMap<String, String>, field: &str) -> Result<Parameters> {
    bounded(&map, field)?;
    Ok(Parameters(map))
}

/// Refuses a map that is too large.
pub(super) fn bounded(map: &BTreeMap<String, String>, field: &str) -> Result<()> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_MAP {
        return Err(Error::invalid(format!("{field} has {size} bytes: at most {MAX_MAP} are allowed")));
    }
    Ok(())
}

/// The part of a listing that is asked for.
pub(super) fn page(max_entries: i32, starting_token: String) -> Result<Page> {
    let max = usize::try_from(max_entries)
        .map_err(|_| Error::invalid(format!("max_entries is negative: {max_entries}")))?;
    at_most(&starting_token, "starting_token", MAX_MAP)?;
    Ok(Page { max: (max > 0).then_some(max), token: (!starting_token.is_empty()).then_some(starting_token) })
}

/// One place.
pub(super) fn topology(topology: csi::Topology) -> Result<Topology> {
    bounded(&topology.segments, "topology segments")?;
    Ok(Topology(topology.segments))
}

/// From where a volume must be reachable.
pub(super) fn requirement(requirement: Option<csi::TopologyRequirement>) -> Result<TopologyRequirement> {
    let csi::TopologyRequirement { requisite, preferred } = requirement.unwrap_or_default();
    Ok(TopologyRequirement {
        requisite: requisite.into_iter().map(topology).collect::<Result<_>>()?,
        preferred: preferred.into_iter().map(topology).collect::<Result<_>>()?,
    })
}

/// At least one way of use.
pub(super) fn required_capabilities(capabilities: Vec<csi::VolumeCapability>) -> Result<Vec<Access>> {
    if capabilities.is_empty() {
        return Err(Error::invalid("volume_capabilities is missing: at least one is needed"));
    }
    self::capabilities(capabilities)
}

/// Ways of use.
pub(super) fn capabilities(capabilities: Vec<csi::VolumeCapability>) -> Result<Vec<Access>> {
    capabilities.into_iter().map(access).collect()
}

/// The way of use that must be given.
pub(super) fn required_capability(capability: Option<csi::VolumeCapability>) -> Result<Access> {
    access(capability.ok_or_else(|| missing("volume_capability"))?)
}

/// Why the driver cannot make the file system that is asked for; `None` where it can, or none is asked for.
pub(super) fn unmade(capability: &csi::VolumeCapability) -> Option<String> {
    match &capability.access_type {
        Some(AccessType::Mount(mount)) => {
            let fs = at_most(&mount.fs_type, "fs_type", MAX_STRING).and_then(str::parse::<FsType>);
            fs.err().map(|error| error.to_string())
        }
        _ => None,
    }
}

fn access(capability: csi::VolumeCapability) -> Result<Access> {
    let kind = match capability.access_type {
        None => return Err(Error::invalid("volume_capability has no access_type: give block or mount")),
        Some(AccessType::Block(_)) => AccessKind::Block,
        Some(AccessType::Mount(mount)) => {
            let fs = at_most(&mount.fs_type, "fs_type", MAX_STRING)?.parse()?;
            AccessKind::Mount { fs, flags: flags(mount.mount_flags)? }
        }
    };
    let mode = capability
        .access_mode
        .ok_or_else(|| Error::invalid("volume_capability has no access_mode"))
        .and_then(|mode| access_mode(mode.mode))?;
    Ok(Access { kind, mode })
}

/// Flags may hold secrets, so what is wrong with one is told without it.
fn flags(flags: Vec<String>) -> Result<MountFlags> {
    let size: usize = flags.iter().map(String::len).sum();
    if size > MAX_MAP {
        return Err(Error::invalid(format!("mount_flags have {size} bytes: at most {MAX_MAP} are allowed")));
    }
    if flags.iter().any(|flag| flag.contains('\0')) {
        return Err(Error::invalid("a mount flag holds a NUL"));
    }
    Ok(MountFlags::new(flags))
}

fn access_mode(number: i32) -> Result<AccessMode> {
    match Mode::try_from(number) {
        Ok(Mode::SingleNodeWriter) => Ok(AccessMode::SingleNodeWriter),
        Ok(Mode::SingleNodeReaderOnly) => Ok(AccessMode::SingleNodeReaderOnly),
        Ok(Mode::MultiNodeReaderOnly) => Ok(AccessMode::MultiNodeReaderOnly),
        Ok(Mode::MultiNodeSingleWriter) => Ok(AccessMode::MultiNodeSingleWriter),
        Ok(Mode::MultiNodeMultiWriter) => Ok(AccessMode::MultiNodeMultiWriter),
        Ok(Mode::SingleNodeSingleWriter) => Ok(AccessMode::SingleNodeSingleWriter),
        Ok(Mode::SingleNodeMultiWriter) => Ok(AccessMode::SingleNodeMultiWriter),
        Ok(Mode::Unknown) | Err(_) => {
            Err(Error::invalid(format!("access mode {number} is none that the CSI specification names")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn paths_that_lead_elsewhere_are_refused_or_hold_no_volume() {
        let long = format!("/{}", "x".repeat(5000));
        for text in ["relative/path", "/a/../b", "/..", "/a\0b", "..", "~", " /a"] {
            assert_eq!(path(text, "target_path").unwrap_err().kind(), Kind::InvalidArgument, "{text:?}");
            assert!(looked_for(text, "volume_path").unwrap().unwrap_err().is_not_found(), "{text:?}");
        }
        for text in ["", long.as_str()] {
            assert_eq!(path(text, "p").unwrap_err().kind(), Kind::InvalidArgument);
            assert_eq!(looked_for(text, "p").unwrap_err().kind(), Kind::InvalidArgument);
        }
        for text in ["/", "/a b/ü", "/a/./b", "/a//b/", "/a..b/..c"] {
            assert_eq!(path(text, "p").unwrap(), Path::new(text), "{text}");
        }
    }

    #[test]
    fn names_may_hold_anything_but_control_characters() {
        for text in ["My Volume", "日本語", &"X".repeat(128), "..", "a/b"] {
            assert_eq!(name(text).unwrap(), text);
        }
        for text in ["", "a\0", "a\nb", &"X".repeat(129)] {
            assert_eq!(name(text).unwrap_err().kind(), Kind::InvalidArgument, "{text:?}");
        }
    }

    #[test]
    fn flags_are_bounded_and_never_echoed() {
        for bad in [vec!["secret=hunter2\0".to_owned()], vec![format!("hunter2{}", "x".repeat(4096))]] {
            assert!(!flags(bad).unwrap_err().to_string().contains("hunter2"));
        }
    }

    #[test]
    fn maps_and_pages_are_bounded() {
        let map = BTreeMap::from([("k".to_owned(), "v".repeat(4096))]);
        assert_eq!(parameters(map, "parameters").unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(page(-1, String::new()).unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(page(0, String::new()).unwrap(), Page::default());
        assert_eq!(page(3, "t".into()).unwrap(), Page { max: Some(3), token: Some("t".into()) });
    }
}
