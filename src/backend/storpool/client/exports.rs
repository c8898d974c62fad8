//! The calls that are about iSCSI. They are made for one cluster.

use serde_json::{Value, json};

use super::{Call, Client, Failure};
use crate::backend::storpool::model::iscsi::{Answer, Iscsi, Session, Sessions};
use crate::error::Result;

/// A change of what is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Makes an initiator known, which may then log in from everywhere, and without a password.
    Initiator(&'a str),
    /// Lets an initiator log in from everywhere.
    Network(&'a str),
    /// Makes a target for a volume.
    Target(&'a str),
    /// Deletes the target of a volume.
    DeleteTarget(&'a str),
    /// Lets an initiator log in.
    Export(Export<'a>),
    /// Lets it do so no more.
    Withdraw(Export<'a>),
}

/// Who may log in to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export<'a> {
    /// Who.
    pub initiator: &'a str,
    /// Over which portals.
    pub group: &'a str,
    /// The volume's name.
    pub volume: &'a str,
}

impl Export<'_> {
    fn to_json(self) -> Value {
        json!({"initiator": self.initiator, "portalGroup": self.group, "volumeName": self.volume})
    }
}

impl Command<'_> {
    fn to_json(&self) -> Vec<Value> {
        match self {
            Self::Initiator(name) => {
                let create = json!({"createInitiator": {"name": name, "username": "", "secret": ""}});
                [vec![create], Self::Network(name).to_json()].concat()
            }
            Self::Network(name) => {
                vec![json!({"initiatorAddNetwork": {"initiator": name, "net": "0.0.0.0/0"}})]
            }
            Self::Target(volume) => vec![json!({"createTarget": {"volumeName": volume}})],
            Self::DeleteTarget(volume) => vec![json!({"deleteTarget": {"volumeName": volume}})],
            Self::Export(export) => vec![json!({"export": export.to_json()})],
            Self::Withdraw(export) => vec![json!({"exportDelete": export.to_json()})],
        }
    }
}

impl Client {
    /// What is exported. The answer has the passwords (CHAP) of all initiators.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn iscsi(&self) -> Result<Iscsi> {
        let call = Call::get("iscsi_config", &["iSCSIConfig"]).confidential();
        self.read::<Answer>(call).await.map(|answer| answer.iscsi)
    }

    /// Changes what is exported: all of it or nothing.
    ///
    /// # Errors
    /// Why it is not changed, or that this is not known.
    pub async fn change_iscsi(&self, commands: &[Command<'_>]) -> Result<(), Failure> {
        let commands: Vec<_> = commands.iter().flat_map(Command::to_json).collect();
        let call = Call::post("change_iscsi", &["iSCSIConfig"], json!({ "commands": commands }));
        self.done(call.confidential()).await
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub async fn iscsi_sessions(&self) -> Result<Vec<Session>> {
        let call = Call::get("iscsi_sessions", &["iSCSISessionsInfo"]);
        self.read::<Sessions>(call).await.map(|answer| answer.sessions)
    }
}
