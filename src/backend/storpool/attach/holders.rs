//! Who has what: clients, and initiators of iSCSI where there are such.

use std::sync::Arc;

use crate::backend::storpool::client::Client;
use crate::backend::storpool::model::Attachment;
use crate::backend::storpool::nodes::Nodes;
use crate::error::Result;

/// Reads who has what.
#[derive(Clone, Debug)]
pub(in super::super) struct Holders {
    client: Arc<Client>,
    nodes: Nodes,
    iscsi: bool,
}

impl Holders {
    pub(super) fn new(client: &Arc<Client>, nodes: &Nodes, iscsi: bool) -> Self {
        Self { client: Arc::clone(client), nodes: nodes.clone(), iscsi }
    }

    /// All of it.
    ///
    /// # Errors
    /// Why the cluster does not tell.
    pub(super) async fn read(&self) -> Result<Vec<Attachment>> {
        if !self.iscsi {
            return self.client.attachments().await;
        }
        let (table, iscsi) = tokio::join!(self.client.attachments(), self.client.iscsi());
        let (mut table, iscsi) = (table?, iscsi?);
        self.nodes.note(iscsi.numbers()?);
        table.extend(iscsi.attachments()?);
        Ok(table)
    }
}
