//! What is exported over iSCSI. Names and secrets of CHAP are not read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;

use super::{Attachment, Rights, or_default};
use crate::error::{Error, Result};

/// What is added to the number of an initiator where numbers of clients stand, which go to 4095, as those of initiators do.
pub const INITIATOR: u16 = 0x8000;
/// Where portal groups are discovered at their networks' addresses: these float, and the controller that answers there
/// sends an initiator on to the one that serves its target.
const PORT: u16 = 3260;

/// The answer to the query.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// The configuration.
    pub iscsi: Iscsi,
}

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Iscsi {
    #[serde(default, deserialize_with = "or_default")]
    initiators: BTreeMap<String, Initiator>,
    #[serde(default, deserialize_with = "or_default")]
    portal_groups: BTreeMap<String, PortalGroup>,
    #[serde(default, deserialize_with = "or_default")]
    targets: BTreeMap<String, Target>,
}

/// Who may log in.
#[derive(Clone, Debug, Deserialize)]
struct Initiator {
    name: String,
    /// From where it may log in; `None`: the cluster does not say.
    #[serde(default)]
    nets: Option<Vec<Value>>,
    #[serde(default, deserialize_with = "or_default")]
    exports: Vec<Export>,
}

/// What an initiator may log in to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    portal_group: String,
    target: String,
}

/// Portals that belong together.
#[derive(Clone, Debug, Deserialize)]
pub struct PortalGroup {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    networks: Vec<Network>,
}

#[derive(Clone, Debug, Deserialize)]
struct Network {
    address: String,
}

/// A volume that can be logged in to.
#[derive(Clone, Debug, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The volume's.
    pub volume: String,
}

/// Who is logged in.
#[derive(Clone, Debug, Deserialize)]
pub struct Sessions {
    /// One entry for each session, and for each controller that does not answer.
    #[serde(default, deserialize_with = "or_default")]
    pub sessions: Vec<Session>,
}

/// That somebody is logged in, or that a controller does not tell.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `ok`, or why the controller tells nothing.
    pub status: String,
    /// The target's name.
    #[serde(default)]
    pub target: Option<String>,
    /// The initiator's name.
    #[serde(default)]
    pub initiator: Option<String>,
}

impl PortalGroup {
    /// Where its targets can be reached, each a path of its own.
    ///
    /// # Errors
    /// `FailedPrecondition` where it has no network, or one that is no address.
    pub fn portals(&self) -> Result<Vec<SocketAddr>> {
        let parse = |network: &Network| {
            let address = network.address.parse::<IpAddr>();
            address.map(|address| SocketAddr::new(address, PORT)).map_err(|_| {
                let text = format!("the portal group {:?} has the network {:?}", self.name, network.address);
                Error::precondition(format!("{text}, which is no address"))
            })
        };
        let portals = self.networks.iter().map(parse).collect::<Result<Vec<_>>>()?;
        match portals.is_empty() {
            true => Err(Error::precondition(format!(
                "the portal group {:?} has no network, so nobody can log in there: give it one (portalGroupAddNetwork)",
                self.name
            ))),
            false => Ok(portals),
        }
    }
}

impl Iscsi {
    /// The portal group of this name.
    ///
    /// # Errors
    /// `FailedPrecondition` naming those that there are.
    pub fn group(&self, name: &str) -> Result<&PortalGroup> {
        let found = self.portal_groups.values().find(|group| group.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.portal_groups.values().map(|group| group.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::precondition(format!(
                "\"iscsi.portalGroup\" is {name:?}, and the cluster has no such portal group: there are {known}"
            ))
        })
    }

    /// The target of a volume.
    #[must_use]
    pub fn target(&self, volume: &str) -> Option<&Target> {
        self.targets.values().find(|target| target.volume == volume)
    }

    /// Whether an initiator is there and may log in from nowhere.
    #[must_use]
    pub fn is_shut_out(&self, initiator: &str) -> bool {
        let no_net = |one: &Initiator| one.nets.as_ref().is_some_and(Vec::is_empty);
        self.initiators.values().any(|one| one.name == initiator && no_net(one))
    }

    /// The portal groups in which an initiator has a target.
    #[must_use]
    pub fn groups_of(&self, initiator: &str, target: &str) -> Vec<&str> {
        let of = self.initiators.values().filter(|one| one.name == initiator);
        let exports = of.flat_map(|one| &one.exports).filter(|export| export.target == target);
        exports.map(|export| export.portal_group.as_str()).collect()
    }

    /// Those who may log in to a target.
    #[must_use]
    pub fn initiators_of(&self, target: &str) -> Vec<&str> {
        let may = |one: &&Initiator| one.exports.iter().any(|export| export.target == target);
        self.initiators.values().filter(may).map(|one| one.name.as_str()).collect()
    }

    /// All initiators, by the numbers that stand for them where numbers of clients stand.
    ///
    /// # Errors
    /// `Internal` for a number that no initiator can have.
    pub fn numbers(&self) -> Result<BTreeMap<u16, String>> {
        let number = |(key, one): (&String, &Initiator)| {
            let number = key.parse::<u16>().ok().filter(|number| *number < INITIATOR);
            let number = number
                .ok_or_else(|| Error::internal(format!("{key:?} is no number of an initiator of iSCSI")))?;
            Ok((INITIATOR | number, one.name.clone()))
        };
        self.initiators.iter().map(number).collect()
    }

    /// What is exported, as what is attached is told: an export is for reading and writing.
    ///
    /// # Errors
    /// As [`Iscsi::numbers`].
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        let mut found = Vec::new();
        for (client, name) in self.numbers()? {
            for target in
                self.targets.values().filter(|target| !self.groups_of(&name, &target.name).is_empty())
            {
                let (volume, rights) = (target.volume.clone(), Rights::Rw);
                found.push(Attachment {
                    volume,
                    snapshot: false,
                    client,
                    cluster_id: None,
                    rights,
                    global_id: None,
                });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Iscsi {
        serde_json::from_str::<Answer>(text).unwrap().iscsi
    }

    #[test]
    fn exports_are_read_as_attachments() {
        let iscsi = read(
            r#"{"iscsi": {"baseName": "iqn.x:b", "initiators": {
                "0": {"name": "iqn.x:a", "username": "u", "secret": "s", "nets": [], "exports": [
                    {"portalGroup": "pg", "target": "iqn.x:b:v"}, {"portalGroup": "other", "target": "iqn.x:b:v"}]},
                "3": {"name": "iqn.x:c", "username": "", "secret": "", "exports": null}},
              "portalGroups": {"1": {"name": "pg", "networks": [{"address": "10.0.0.1", "prefix": 24},
                {"address": "10.1.0.1", "prefix": 24}], "portals": []}},
              "targets": {"7": {"name": "iqn.x:b:v", "volume": "v", "currentControllerId": 1}}}}"#,
        );
        let found = iscsi.attachments().unwrap();
        assert_eq!(found.len(), 1, "two groups, one volume at one initiator");
        assert_eq!((found[0].client, found[0].volume.as_str()), (INITIATOR, "v"));
        assert_eq!(iscsi.numbers().unwrap()[&(INITIATOR | 3)], "iqn.x:c");
        assert_eq!(iscsi.groups_of("iqn.x:a", "iqn.x:b:v"), ["pg", "other"]);
        assert_eq!(iscsi.initiators_of("iqn.x:b:v"), ["iqn.x:a"]);
        let portals: Vec<_> = iscsi.group("pg").unwrap().portals().unwrap();
        assert_eq!(portals, ["10.0.0.1:3260".parse().unwrap(), "10.1.0.1:3260".parse().unwrap()]);
        let error = iscsi.group("gp").unwrap_err().to_string();
        assert!(error.contains("there are pg"), "{error}");
        assert!(!format!("{iscsi:?}").contains("secret"));
        assert!(
            iscsi.is_shut_out("iqn.x:a") && !iscsi.is_shut_out("iqn.x:c") && !iscsi.is_shut_out("iqn.x:d")
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let iscsi = read(
            r#"{"iscsi": {"initiators": {"40000": {"name": "a"}}, "portalGroups": {"1": {"name": "pg"},
                "2": {"name": "x", "networks": [{"address": "example"}]}}}}"#,
        );
        assert!(iscsi.attachments().is_err());
        assert!(iscsi.group("pg").unwrap().portals().unwrap_err().to_string().contains("no network"));
        assert!(iscsi.group("x").unwrap().portals().unwrap_err().to_string().contains("no address"));
        assert!(read(r#"{"iscsi": {}}"#).group("pg").unwrap_err().to_string().contains("there are none"));
    }
}
