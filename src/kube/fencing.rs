//! Whether a server that holds a volume is certainly off, as the cluster knows it.
//!
//! Kubernetes detaches by force after six minutes where a kubelet is silent. That proves nothing: the server may be cut
//! off and writing. Two statements are taken for a proof, because somebody made them knowing the machine: the taint
//! `node.kubernetes.io/out-of-service`, by which an administrator says that it is switched off, and the deletion of its
//! Node, by which an administrator or the cloud's controller says that it is gone.
//!
//! | Node of that name | the server that it is | answer |
//! |---|---|---|
//! | without the taint | | no proof |
//! | tainted, Ready is `True` or `False` | | no proof: its kubelet is alive |
//! | tainted, silent | the registered one | **out of service** |
//! | tainted, silent | another is registered | no proof: the taint is about the other one |
//! | tainted, silent | none is registered, or by less than was asked; attached to since this Node was made | **out of service** |
//! | tainted, silent | the same; attached to before this Node was made, or no record | no proof: perhaps another one |
//! | there is none | by the record; no other Node is the same machine | **deleted** |
//! | there is none | registered under another Node's name | no proof: it is alive there |
//! | there is none | by the record, another; or no record | no proof: perhaps that is no Node's name |
//! | the API server does not say | | an error |
//!
//! *Silent* is a Node whose condition Ready is `Unknown`, or that has none. `False` is what a living kubelet writes, of a
//! container runtime that is down or a network that is not there: the containers may run on and write. One that is shut
//! down in good order writes it too, as its last word, and is silent within a minute; who asks for the detach asks again.
//!
//! *Registered* is what the CSINode says that belongs to this very Node (by uid). The *record* is the VolumeAttachment,
//! which has the node id of the time and stays until the detach is done. It is needed where the name alone would decide:
//! a driver may be configured with names that are not those of the Nodes, and then no Node of that name is no wonder.
//! That a Node made anew under the same name is another server now does not prove that the former one is off: its
//! identity may have been changed in place.
//!
//! Everything is read from the API server at the moment of need. A watch would know it sooner, but not better: a cache
//! may be old, and the taint taken back; so the last question would be this one all the same. Asking costs one request
//! where there is no taint, and nothing while servers let go by themselves.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::CSINode;

use super::api::ApiServer;
use super::attachment::{self, Record};
use super::server::{self, Match};
use crate::backend::FencingProof;
use crate::controller::Fencing;
use crate::error::Result;
use crate::volume::{NodeId, VolumeId};

/// The taint (`TaintNodeOutOfService` in Kubernetes' API). Its effect does not matter, as to Kubernetes itself.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// One question.
pub(super) struct Question<'a> {
    pub(super) api: &'a ApiServer,
    pub(super) driver: &'a str,
    pub(super) volume: &'a VolumeId,
    pub(super) server: &'a NodeId,
}

impl Question<'_> {
    /// The answer.
    ///
    /// # Errors
    /// Where the API server did not say.
    pub(super) async fn answer(&self) -> Result<Fencing> {
        match self.api.get::<Node>(self.server.name()).await? {
            Some(node) => self.of_node(&node).await,
            None => self.of_no_node().await,
        }
    }

    async fn of_node(&self, node: &Node) -> Result<Fencing> {
        let name = self.server.name();
        if !is_tainted(node) {
            return unproven(format!(
                "Node {name} is there without the taint {OUT_OF_SERVICE}, which it needs where its server is switched off"
            ));
        }
        if let Some(ready) = reported(node) {
            return unproven(format!(
                "Node {name} has the taint {OUT_OF_SERVICE}, but its kubelet still reports, Ready={ready}: switch the \
                 server off; within a minute its Node is Ready=Unknown, and the volume can go"
            ));
        }
        let belongs = |found: &CSINode| {
            let mut owners = found.metadata.owner_references.iter().flatten();
            owners.any(|owner| Some(&owner.uid) == node.metadata.uid.as_ref())
        };
        let found = self.api.get::<CSINode>(name).await?.filter(belongs);
        let registered = found.and_then(|found| server::registered(&found, self.driver));
        match registered.as_ref().map(|registered| (server::compare(self.server, registered), registered)) {
            Some((Match::Same, _)) => Ok(Fencing::Proven(FencingProof::OutOfService)),
            Some((Match::Other, registered)) => unproven(format!(
                "the taint {OUT_OF_SERVICE} of Node {name} is about another server: it is {registered} now"
            )),
            Some((Match::Unknown, _)) | None if self.was(node).await? => {
                Ok(Fencing::Proven(FencingProof::OutOfService))
            }
            Some((Match::Unknown, _)) | None => unproven(format!(
                "Node {name} has the taint {OUT_OF_SERVICE}, but nothing says that it is this server: if the server is \
                 gone, delete the Node"
            )),
        }
    }

    /// Whether this very Node was the server when the volume was attached.
    async fn was(&self, node: &Node) -> Result<bool> {
        let record = self.record().await?;
        Ok(record.is_some_and(|record| match (&record.made, &node.metadata.creation_timestamp) {
            (Some(attached), Some(made)) => made.0 <= attached.0 && self.names(&record),
            _ => false,
        }))
    }

    async fn of_no_node(&self) -> Result<Fencing> {
        let name = self.server.name();
        if !self.record().await?.is_some_and(|record| self.names(&record)) {
            return unproven(format!(
                "there is no Node {name}, but no VolumeAttachment says that one of this name was the server: \
                 \"node.name\" must be the name of the Node"
            ));
        }
        match self.elsewhere().await? {
            Some(other) => unproven(format!("the server is in the cluster as Node {other}")),
            None => Ok(Fencing::Proven(FencingProof::NodeDeleted)),
        }
    }

    /// The name of another Node that is the same machine. The clouds' identities tell; without one there is only the
    /// name.
    async fn elsewhere(&self) -> Result<Option<String>> {
        if self.server.identities().next().is_none() {
            return Ok(None);
        }
        let same = |node: CSINode| {
            let name = node.metadata.name.clone().filter(|name| name != self.server.name())?;
            server::is_one_machine(self.server, &server::registered(&node, self.driver)?).then_some(name)
        };
        self.api.find(same).await
    }

    async fn record(&self) -> Result<Option<Record>> {
        attachment::find(self.api, self.driver, self.volume, self.server).await
    }

    fn names(&self, record: &Record) -> bool {
        record.server.as_ref().is_some_and(|recorded| server::compare(self.server, recorded) == Match::Same)
    }
}

fn unproven(reason: String) -> Result<Fencing> {
    Ok(Fencing::Unproven(reason))
}

fn is_tainted(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// What kubelet has reported of itself in the last moments; `None` where it is silent. The controller manager sets Ready
/// to Unknown within a minute then, whatever it was before.
fn reported(node: &Node) -> Option<&str> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
    (ready.status != "Unknown").then_some(ready.status.as_str())
}
