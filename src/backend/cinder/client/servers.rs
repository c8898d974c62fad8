//! Servers, and the volumes that they have.

use std::time::Duration;

use serde_json::json;

use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{InstanceAction, Server, ServerAttachment};
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Need};

/// For volumes that several servers can have.
const SHARED: Need = Need::Exactly(Microversion(2, 60));
/// With the flavour's properties in the server.
const SERVER: Need = Need::UpTo(Microversion(2, 47));
/// Nova answers an attach only when its turn has come: behind another one on the same server this takes long.
const ATTACH: Duration = Duration::from_secs(120);

impl Client {
    /// A server.
    ///
    /// # Errors
    /// `NotFound`, also for one of another project.
    pub async fn server(&self, id: &str) -> Result<Server> {
        self.read(&call(Method::GET, "get server", &["servers", id]).need(SERVER), "server").await
    }

    /// The volumes that Nova has on its list for a server; those on their way are among them.
    ///
    /// # Errors
    /// `NotFound` for the server.
    pub async fn server_volumes(&self, server: &str) -> Result<Vec<ServerAttachment>> {
        let call = call(Method::GET, "list server's volumes", &["servers", server, ATTACHMENTS]);
        self.read(&call, "volumeAttachments").await
    }

    /// Begins to attach a volume; a failure after this answer is told by nobody. `shared`: the volume's type lets several
    /// servers have it. Never sent twice by itself. Answers what Nova put on the server's list, where it says so (not from
    /// 2.101 on).
    ///
    /// # Errors
    /// `NotFound` for server or volume; `FailedPrecondition` for the volume's state; `Busy` for the server's;
    /// `ResourceExhausted` where the server has all the disks that it can have.
    pub async fn attach_volume(
        &self,
        server: &str,
        volume: &str,
        shared: bool,
    ) -> Result<Option<ServerAttachment>> {
        let body = json!({"volumeAttachment": {"volumeId": self.dialect().id(volume)}});
        let call = call(Method::POST, "attach volume", &["servers", server, ATTACHMENTS]);
        let call = if shared { call.need(SHARED) } else { call };
        let answer = self.send(&call.body(body).within(ATTACH)).await?;
        Ok(super::take(&answer, "volumeAttachment").ok())
    }

    /// Begins to detach a volume; it is detached once neither Cinder nor Nova has it on the server.
    ///
    /// # Errors
    /// `NotFound` where Nova does not have it on the server, or not the server; `Busy` for the server's state.
    pub async fn detach_volume(&self, server: &str, volume: &str) -> Result<()> {
        let call = call(Method::DELETE, "detach volume", &["servers", server, ATTACHMENTS, volume]);
        self.send(&call.within(ATTACH)).await.map(drop)
    }

    /// What was done with a server lately, newest first.
    ///
    /// # Errors
    /// `NotFound` for the server.
    pub async fn server_actions(&self, server: &str) -> Result<Vec<InstanceAction>> {
        let call = call(Method::GET, "list server's actions", &["servers", server, "os-instance-actions"]);
        self.read(&call, "instanceActions").await
    }
}

const ATTACHMENTS: &str = "os-volume_attachments";

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Compute, method, operation, path)
}
