//! What is exported over iSCSI.

use std::collections::{BTreeMap, BTreeSet};

use super::sessions::Session;
use super::{Cluster, Kind, Object, Refusal, Result, Rights};

/// Who may log in.
#[derive(Clone, Debug, Default)]
pub struct Initiator {
    /// Its name.
    pub name: String,
    /// For CHAP.
    pub username: String,
    /// For CHAP.
    pub secret: String,
    /// From where.
    pub nets: Vec<String>,
    /// What it may log in to.
    pub exports: Vec<Export>,
}

/// What an initiator may log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Over which portals.
    pub group: String,
    /// The target's name.
    pub target: String,
}

/// Portals that belong together.
#[derive(Clone, Debug, Default)]
pub struct PortalGroup {
    /// Its name.
    pub name: String,
    /// Floating addresses with their prefixes.
    pub networks: Vec<(String, u64)>,
    /// Controller, address, port.
    pub portals: Vec<(u64, String, u64)>,
}

/// A volume that can be logged in to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The volume's number.
    pub volume: u64,
}

/// The configuration.
#[derive(Clone, Debug, Default)]
pub struct Iscsi {
    /// What names of targets begin with.
    pub base: String,
    /// By number.
    pub initiators: BTreeMap<u64, Initiator>,
    /// By number.
    pub groups: BTreeMap<u64, PortalGroup>,
    /// By number.
    pub targets: BTreeMap<u64, Target>,
    /// Who is logged in.
    pub sessions: Vec<Session>,
    /// Controllers that do not answer when they are asked for their sessions.
    pub silent: BTreeSet<u64>,
    next: u64,
}

fn missing<T>(what: &str, name: &str) -> Result<T> {
    Err(Refusal::missing(format!("iSCSI {what} '{name}' does not exist")))
}

fn exists<T>(what: &str, name: &str) -> Result<T> {
    Err(Refusal::exists(format!("iSCSI {what} '{name}' already exists")))
}

impl Iscsi {
    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn group(&mut self, name: &str) -> Result<&mut PortalGroup> {
        match self.groups.values_mut().find(|group| group.name == name) {
            Some(group) => Ok(group),
            None => missing("portal group", name),
        }
    }

    fn initiator(&mut self, name: &str) -> Result<&mut Initiator> {
        match self.initiators.values_mut().find(|one| one.name == name) {
            Some(one) => Ok(one),
            None => missing("initiator", name),
        }
    }

    pub(super) fn target(&self, volume: u64) -> Result<&Target> {
        match self.targets.values().find(|one| one.volume == volume) {
            Some(one) => Ok(one),
            None => missing("target for volume", &volume.to_string()),
        }
    }

    fn portal(&self, ip: &str) -> bool {
        self.groups.values().any(|group| group.portals.iter().any(|(_, known, _)| known == ip))
    }

    /// The initiators that may log in to a target.
    pub fn allowed(&self, target: &str) -> Vec<&str> {
        let may = |one: &&Initiator| one.exports.iter().any(|export| export.target == target);
        self.initiators.values().filter(may).map(|one| one.name.as_str()).collect()
    }
}

/// What the target of a volume is called: names of iSCSI have small letters, digits, `-`, `.` and `:` alone.
fn target_name(base: &str, volume: &Object) -> String {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    match &volume.name {
        Some(name) if name.chars().all(sound) => format!("{base}:{name}"),
        _ => format!("{base}:{}", volume.global_id),
    }
}

/// The texts of a command, by their names.
pub(crate) type Words<'a> = &'a BTreeMap<String, String>;

impl Cluster {
    /// Carries out commands in their order: all of them or none.
    ///
    /// # Errors
    /// Why none is carried out.
    pub fn configure_iscsi(&mut self, commands: &[(String, BTreeMap<String, String>)]) -> Result<()> {
        let mut iscsi = self.iscsi.clone();
        for (command, words) in commands {
            self.command(&mut iscsi, command, words)?;
        }
        self.iscsi = iscsi;
        self.end_sessions();
        self.note_exports();
        self.changed();
        Ok(())
    }

    /// Volumes, and initiators that may log in to their targets.
    pub fn exports(&self) -> impl Iterator<Item = (&Object, &str)> {
        self.iscsi.targets.values().flat_map(|target| {
            let allowed = self.iscsi.allowed(&target.name).into_iter();
            allowed.map(|initiator| (&self.objects[&target.volume], initiator))
        })
    }

    /// Notes the volumes that several can write to, at least one of them over iSCSI.
    pub(super) fn note_exports(&mut self) {
        for target in self.iscsi.targets.values() {
            let allowed = self.iscsi.allowed(&target.name);
            let range = self.attachments.range((target.volume, 0)..=(target.volume, u16::MAX));
            let writers = range.filter(|(_, one)| one.rights == Rights::Rw).count();
            if !allowed.is_empty() && allowed.len() + writers > 1 {
                let initiators = allowed.into_iter().map(str::to_owned).collect();
                self.ledger.exported.push((self.objects[&target.volume].called(), initiators, writers));
            }
        }
    }

    fn command(&self, iscsi: &mut Iscsi, command: &str, words: Words<'_>) -> Result<()> {
        let word = |key: &str| {
            words.get(key).cloned().ok_or_else(|| Refusal::invalid(format!("{command}: no {key} specified")))
        };
        // The vendor's types know names here, and no global ids.
        let volume = || match word("volumeName")? {
            id if id.starts_with('~') => {
                Err(Refusal::invalid(format!("{command}: invalid volumeName '{id}'")))
            }
            name => self.find(&name, Kind::Volume),
        };
        let number = |key: &str, usual: u64| match words.get(key) {
            Some(text) => {
                text.parse().map_err(|_| Refusal::invalid(format!("{command}: invalid {key} '{text}'")))
            }
            None => Ok(usual),
        };
        match command {
            "setBaseName" => iscsi.base = word("name")?,
            "createPortalGroup" => {
                let name = word("name")?;
                if iscsi.group(&name).is_ok() {
                    return exists("portal group", &name);
                }
                let at = iscsi.number();
                iscsi.groups.insert(at, PortalGroup { name, ..PortalGroup::default() });
            }
            "deletePortalGroup" => {
                let name = word("name")?;
                iscsi.group(&name)?;
                iscsi.groups.retain(|_, group| group.name != name);
            }
            "portalGroupAddNetwork" => {
                let net = word("net")?;
                let (address, prefix) = net.split_once('/').unwrap_or((&net, "32"));
                let prefix = prefix.parse().map_err(|_| Refusal::invalid(format!("Invalid net '{net}'")))?;
                iscsi.group(&word("portalGroup")?)?.networks.push((address.to_owned(), prefix));
            }
            "createPortal" => {
                let ip = word("ip")?;
                if iscsi.portal(&ip) {
                    return exists("portal", &ip);
                }
                let portal = (number("controller", 0)?, ip, number("port", 3260)?);
                iscsi.group(&word("portalGroup")?)?.portals.push(portal);
            }
            "deletePortal" => {
                let ip = word("ip")?;
                if !iscsi.portal(&ip) {
                    return missing("portal", &ip);
                }
                for group in iscsi.groups.values_mut() {
                    group.portals.retain(|(_, known, _)| *known != ip);
                }
            }
            "createTarget" => {
                let id = volume()?;
                if iscsi.target(id).is_ok() {
                    return exists("target for volume", &word("volumeName")?);
                }
                let name = target_name(&iscsi.base, &self.objects[&id]);
                let at = iscsi.number();
                iscsi.targets.insert(at, Target { name, volume: id });
            }
            "deleteTarget" => {
                let id = volume()?;
                let name = iscsi.target(id)?.name.clone();
                if !iscsi.allowed(&name).is_empty() {
                    return Err(Refusal::invalid(format!("Target '{name}' is exported")));
                }
                iscsi.targets.retain(|_, target| target.volume != id);
            }
            "createInitiator" => {
                let name = word("name")?;
                if iscsi.initiator(&name).is_ok() {
                    return exists("initiator", &name);
                }
                let (username, secret) = (word("username")?, word("secret")?);
                let at = iscsi.number();
                iscsi.initiators.insert(at, Initiator { name, username, secret, ..Initiator::default() });
            }
            "deleteInitiator" => {
                let name = word("name")?;
                iscsi.initiator(&name)?;
                iscsi.initiators.retain(|_, one| one.name != name);
            }
            "initiatorAddNetwork" => iscsi.initiator(&word("initiator")?)?.nets.push(word("net")?),
            "export" | "exportDelete" => {
                let target = iscsi.target(volume()?)?.name.clone();
                let export = Export { group: word("portalGroup")?, target };
                iscsi.group(&export.group)?;
                let initiator = iscsi.initiator(&word("initiator")?)?;
                let known = initiator.exports.contains(&export);
                match (command, known) {
                    ("export", false) => initiator.exports.push(export),
                    ("export", true) => return exists("export of", &export.target),
                    (_, true) => initiator.exports.retain(|one| *one != export),
                    (_, false) => return missing("export of", &export.target),
                }
            }
            other => return Err(Refusal::invalid(format!("Unknown command '{other}'"))),
        }
        Ok(())
    }
}
