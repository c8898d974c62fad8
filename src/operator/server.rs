//! Servers: which volumes one has.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::operator::facts::{self, Listed};
use crate::operator::{Operator, Report};
use crate::volume::NodeId;

/// A server, with what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerFacts {
    node: String,
    volumes: Vec<Listed>,
    /// Volumes that its kubelet has in use; `None` where that cannot be told.
    in_use: Option<Vec<String>>,
}

impl Operator {
    /// Tells of a server by its Node's name or its whole node id.
    pub(super) async fn inspect_server(&self, name: &str) -> Result<Report> {
        let asked: NodeId = name.parse()?;
        let node = match &self.records {
            Some(records) => records.servers().await?.remove(asked.name()).unwrap_or_else(|| asked.clone()),
            None => asked.clone(),
        };
        let in_use = match &self.records {
            Some(records) => records.in_use().await?.ours.remove(asked.name()),
            None => None,
        };
        let claims = self.claims().await?;
        let volumes: Vec<_> = self
            .volumes(None)
            .await?
            .iter()
            .filter(|found| found.item.attached.iter().any(|holder| holder.is_server_of(&node)))
            .map(|found| Listed::new(found, &claims))
            .collect();
        if volumes.is_empty() && in_use.is_none() && self.records.is_some() {
            return Err(Error::not_found(format!(
                "{name} is neither a Node of the cluster nor a server that has a volume: name a Node, or give the \
                 whole node id of its CSINode object"
            )));
        }
        let facts = ServerFacts {
            node: node.to_string(),
            in_use: in_use.map(|handles| handles.into_iter().collect()),
            volumes,
        };
        let mut text = format!("server {}: {} volumes\n", facts.node, facts.volumes.len());
        text.push_str(&facts::listing(&facts.volumes));
        if let Some(handles) = &facts.in_use {
            let shown = if handles.is_empty() { "none".to_owned() } else { handles.join(", ") };
            text.push_str(&format!("in use by its kubelet: {shown}\n"));
        }
        Report::new(&facts, text)
    }
}
