//! Compares what the back ends hold with what Kubernetes has on record.
//!
//! The back ends are asked first: a volume that is made meanwhile then shows as a record without a volume, which is asked
//! for again before it is told. What is made by hand or by another cluster looks the same as what was left behind, so a
//! volume is never deleted here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::controller::Found;
use crate::error::{Error, Result};
use crate::operator::claims::Claims;
use crate::operator::records::{Claim, Hold, InUse, Records};
use crate::operator::report::{or_none, table};
use crate::operator::{Operator, Report, facts};
use crate::volume::{BackendName, NodeId, Volume, VolumeId};

/// What is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// A volume of ours that no PersistentVolume names.
    Unclaimed,
    /// A PersistentVolume whose volume is gone.
    Missing,
    /// A PersistentVolume of a back end that is not configured here: nobody can tell whether its volume is there.
    NotConfigured,
    /// Attached in the cloud, and Kubernetes has no VolumeAttachment.
    Unrecorded,
    /// Kubernetes believes it attached, and the cloud has it not.
    NotAttached,
    /// A kubelet has it in use, and the cloud does not have it attached there.
    InUseUnattached,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    kind: Kind,
    volume: String,
    node: Option<String>,
    text: String,
    /// Whether it was mended.
    fixed: bool,
    /// Where it can be mended without any doubt: detach the volume from this server.
    #[serde(skip)]
    detach: Option<(VolumeId, NodeId)>,
}

impl Finding {
    fn new(kind: Kind, volume: &VolumeId, node: Option<&str>, text: String) -> Self {
        let (volume, node) = (volume.to_string(), node.map(ToOwned::to_owned));
        Self { kind, volume, node, text, fixed: false, detach: None }
    }
}

/// What Kubernetes has on record.
struct Cluster {
    claims: Claims,
    holds: Vec<Hold>,
    servers: BTreeMap<String, NodeId>,
    in_use: InUse,
    /// What kubelets have in use by ids of this driver.
    used: BTreeMap<String, BTreeSet<VolumeId>>,
}

impl Cluster {
    /// The Node that a server is.
    fn node(&self, server: &NodeId) -> Option<&str> {
        let found = self.servers.iter().find(|(_, known)| server.is_server_of(known));
        found.map(|(name, _)| name.as_str())
    }

    /// What is attached for these PersistentVolumes.
    fn holds<'a>(&'a self, claims: &[Claim]) -> impl Iterator<Item = &'a Hold> {
        let names: Vec<_> = claims.iter().map(|claim| claim.persistent_volume.clone()).collect();
        self.holds.iter().filter(move |hold| names.contains(&hold.persistent_volume))
    }
}

impl Operator {
    pub(super) async fn reconcile(&self, backend: Option<&BackendName>, fix: bool) -> Result<Report> {
        let records = self.records.as_ref().ok_or_else(|| {
            Error::precondition(
                "no Kubernetes API is configured here, and without one there is nothing to compare with: run it in \
                 the controller's pod, or set \"kubernetes\" in the configuration",
            )
        })?;
        let volumes = self.volumes(backend).await?;
        let cluster = self.progress.during("ask the API server", self.cluster(records)).await?;
        let mut findings = Vec::new();
        for found in &volumes {
            judge(found, &cluster, &mut findings);
        }
        self.look_for_missing(backend, &volumes, &cluster, &mut findings).await?;
        if fix {
            for finding in &mut findings {
                self.mend(records, finding).await?;
            }
        }
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| {
                let text = format!("{}{}", finding.text, if finding.fixed { " [mended]" } else { "" });
                [finding.volume.clone(), or_none(finding.node.clone()), text]
            })
            .collect();
        let text = match rows.is_empty() {
            true => format!("{} volumes compared: no difference\n", volumes.len()),
            false => table(["VOLUME", "NODE", "FOUND"], &rows),
        };
        let mut report =
            Report::new(&serde_json::json!({"compared": volumes.len(), "findings": findings}), text)?;
        report.differences = findings.iter().any(|finding| !finding.fixed);
        Ok(report)
    }

    async fn cluster(&self, records: &Arc<dyn Records>) -> Result<Cluster> {
        let claims = self.claims().await?;
        let (holds, servers) = (records.holds().await?, records.servers().await?);
        let in_use = records.in_use().await?;
        let ids = |handles: &BTreeSet<String>| {
            handles.iter().filter_map(|handle| self.controller.volume_id(handle).ok()).collect()
        };
        let used = in_use.ours.iter().map(|(node, handles)| (node.clone(), ids(handles))).collect();
        Ok(Cluster { claims, holds, servers, in_use, used })
    }

    /// Records whose volume was not listed. Each is asked for: it may have been made since.
    async fn look_for_missing(
        &self,
        backend: Option<&BackendName>,
        volumes: &[Found<Volume>],
        cluster: &Cluster,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let listed: BTreeSet<_> = volumes.iter().map(facts::id).collect();
        let wanted = |id: &VolumeId| backend.is_none_or(|backend| *backend == id.backend);
        for (id, claims) in cluster.claims.ours().filter(|(id, _)| wanted(id) && !listed.contains(id)) {
            if !self.controller.is_configured(&id.backend) {
                for claim in claims {
                    let text = format!(
                        "PersistentVolume {} is of the back end {}, which is not configured here: its volume was not looked for",
                        claim.persistent_volume, id.backend
                    );
                    findings.push(Finding::new(Kind::NotConfigured, id, None, text));
                }
                continue;
            }
            match self.controller.get(id).await {
                // One that is not ours by its marks is never listed, and may be used all the same.
                Ok(item) => judge(&Found { backend: id.backend.clone(), item }, cluster, findings),
                Err(error) if error.is_not_found() => {
                    for claim in claims {
                        let text =
                            format!("PersistentVolume {} has no volume: {error}", claim.persistent_volume);
                        findings.push(Finding::new(Kind::Missing, id, None, text));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Detaches where nothing can be using the volume: no PersistentVolume has it, so that no pod can be given it, and no
    /// Node has it in use or attached, whatever driver and back end they know it by. Both are asked for anew.
    async fn mend(&self, records: &Arc<dyn Records>, finding: &mut Finding) -> Result<()> {
        let Some((volume, server)) = &finding.detach else { return Ok(()) };
        let Some(node) = &finding.node else { return Ok(()) };
        let (claims, ids) = (self.claims().await?, self.controller.ids(volume).await?);
        let in_use = records.in_use().await?;
        let used = |id: &VolumeId| !claims.of(id).is_empty() || in_use.has(id);
        if ids.iter().any(used) || !in_use.ours.contains_key(node) {
            finding.text.push_str(" (in use by now: left alone)");
            return Ok(());
        }
        let detached = self.controller.detach(volume, Some(server.clone()));
        match self.progress.during(format!("detach {volume} from {node}"), detached).await {
            Ok(()) => finding.fixed = true,
            Err(error) => finding.text.push_str(&format!(" (detach failed: {error})")),
        }
        Ok(())
    }
}

/// What is odd about a volume that exists. What is right is told by all that may be the volume's, and what is wrong only by
/// what names it by its very id.
fn judge(found: &Found<Volume>, cluster: &Cluster, findings: &mut Vec<Finding>) {
    let id = facts::id(found);
    let claims = cluster.claims.of(&id);
    if claims.is_empty() {
        let text = "no PersistentVolume names it (unless it was made this minute, by hand or by another cluster, it was \
                    left behind: fairlead volume remove)";
        findings.push(Finding::new(Kind::Unclaimed, &id, None, text.to_owned()));
    }
    for server in &found.item.attached {
        let node = cluster.node(server);
        if cluster.holds(claims).any(|hold| Some(hold.node.as_str()) == node) {
            continue;
        }
        let text = format!("attached to {server}, and no VolumeAttachment asks for it");
        let mut finding = Finding::new(Kind::Unrecorded, &id, node, text);
        let known = node.is_some_and(|node| cluster.in_use.ours.contains_key(node));
        if known && claims.is_empty() && !cluster.in_use.has(&id) {
            finding.detach = Some((id.clone(), server.clone()));
        }
        findings.push(finding);
    }
    let has = |node: &str| found.item.attached.iter().any(|server| cluster.node(server) == Some(node));
    let named = cluster.claims.naming(&id);
    for hold in cluster.holds(named).filter(|hold| hold.attached && !has(&hold.node)) {
        let text = "Kubernetes believes it attached there, and it is not".to_owned();
        findings.push(Finding::new(Kind::NotAttached, &id, Some(&hold.node), text));
    }
    for (node, _) in cluster.used.iter().filter(|(node, ids)| ids.contains(&id) && !has(node)) {
        let text = "its kubelet has it in use, and it is not attached there".to_owned();
        findings.push(Finding::new(Kind::InUseUnattached, &id, Some(node), text));
    }
}
