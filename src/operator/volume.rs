//! Volumes: list, info, inspect, create, remove.

use crate::backend::Page;
use crate::controller::{Found, Origin, Provision, SnapshotQuery};
use crate::error::{Error, Result};
use crate::operator::facts::{self, Inspected, Listed, Recorded, SnapshotFacts, VolumeFacts};
use crate::operator::{NewVolume, Operator, Report};
use crate::volume::{
    Access, AccessKind, AccessMode, BackendName, Parameters, SnapshotId, TopologyRequirement, Volume,
    VolumeId,
};

impl Operator {
    pub(super) async fn list_volumes(&self, backend: Option<&BackendName>) -> Result<Report> {
        let volumes = self.volumes(backend).await?;
        let claims = self.claims().await?;
        let listed: Vec<_> = volumes.iter().map(|found| Listed::new(found, &claims)).collect();
        Report::new(&listed, facts::listing(&listed))
    }

    pub(super) async fn volume_info(&self, id: &str) -> Result<Report> {
        let facts = VolumeFacts::from(&self.find(&self.controller.volume_id(id)?).await?);
        Report::new(&facts, facts.lines())
    }

    pub(super) async fn inspect_volume(&self, id: &str) -> Result<Report> {
        let id = self.controller.volume_id(id)?;
        let volume = self.find(&id).await?;
        let query = SnapshotQuery { volume: Some(id.clone()), snapshot: None };
        let all = Page::default();
        let snapshots = self.controller.list_snapshots(&query, &all);
        let snapshots = self.progress.during("list snapshots", snapshots).await?.items.into_iter().map(
            |Found { backend, item }| SnapshotFacts {
                id: SnapshotId::new(backend, item.id).to_string(),
                name: item.name,
                size: item.size.to_string(),
                ready: item.ready,
            },
        );
        let kubernetes = match &self.records {
            None => None,
            Some(records) => {
                let persistent_volumes = self.claims().await?.of(&id).to_vec();
                let mut volume_attachments = records.holds().await?;
                volume_attachments.retain(|hold| {
                    persistent_volumes.iter().any(|claim| claim.persistent_volume == hold.persistent_volume)
                });
                Some(Recorded { persistent_volumes, volume_attachments })
            }
        };
        let inspected = Inspected {
            volume: (&volume).into(),
            faults: facts::faults(self.controller.health(&id).await?),
            snapshots: snapshots.collect(),
            kubernetes,
        };
        let mut report = Report::new(&inspected, inspected.lines())?;
        report.differences = !inspected.faults.is_empty();
        Ok(report)
    }

    pub(super) async fn create_volume(&self, order: NewVolume) -> Result<Report> {
        let origin = match (&order.from_volume, &order.from_snapshot) {
            (Some(id), _) => Some(Origin::Volume(self.controller.volume_id(id)?)),
            (None, Some(id)) => Some(Origin::Snapshot(id.parse()?)),
            (None, None) => None,
        };
        let what = format!("create volume {}", order.name);
        let provision = Provision {
            name: order.name,
            size: order.size,
            origin,
            access: vec![Access { kind: AccessKind::Block, mode: AccessMode::SingleNodeWriter }],
            parameters: order.parameters,
            mutable: Parameters::default(),
            topology: TopologyRequirement { requisite: order.place.into_iter().collect(), preferred: vec![] },
        };
        let made = self.progress.during(what, self.controller.create(provision)).await?;
        let facts = VolumeFacts::from(&made);
        Report::new(&facts, facts.lines())
    }

    /// Not one that Kubernetes has a use for: its claim would lose its data and never know.
    pub(super) async fn remove_volume(&self, id: &str) -> Result<Report> {
        let id = self.controller.volume_id(id)?;
        self.check_unused(&id).await?;
        // Whoever mistyped an id wants to know.
        self.find(&id).await?;
        let deleted = self.progress.during(format!("remove volume {id}"), self.controller.delete(&id)).await;
        deleted.map_err(|error| error.with("volume", &id))?;
        Report::new(&serde_json::json!({"removed": id.to_string()}), format!("{id} is gone\n"))
    }

    /// Refuses where the cluster has a use for the volume, or nobody can tell.
    async fn check_unused(&self, id: &VolumeId) -> Result<()> {
        let refused = |text: String| Err(Error::precondition(text).with("volume", id));
        let Some(records) = &self.records else {
            return match self.alone {
                true => Ok(()),
                false => refused(
                    "no Kubernetes API is configured here, so nobody can tell whether a PersistentVolume has it: run this in \
                     the controller's pod, or set \"kubernetes.server\"; where no Kubernetes uses these volumes, set \
                     \"kubernetes.enabled\" to false"
                        .to_owned(),
                ),
            };
        };
        let ids = self.controller.ids(id).await?;
        let claims = self.claims().await?;
        if let Some(claim) = ids.iter().flat_map(|id| claims.of(id)).next() {
            let driver =
                claim.driver.as_ref().map_or_else(String::new, |name| format!(" of the driver {name}"));
            let by = claim.claim.as_ref().map_or_else(String::new, |by| format!(" (claimed by {by})"));
            return refused(format!(
                "PersistentVolume {}{driver}{by} has this volume as {:?}: delete the claim or the PersistentVolume instead",
                claim.persistent_volume, claim.handle
            ));
        }
        let in_use = self.progress.during("list Nodes", records.in_use()).await?;
        match ids.iter().any(|id| in_use.has(id)) {
            true => refused(
                "a Node has it in use or attached, as its status says: see kubectl get nodes --output yaml"
                    .to_owned(),
            ),
            false => Ok(()),
        }
    }

    pub(super) async fn find(&self, id: &VolumeId) -> Result<Found<Volume>> {
        let item = self.controller.get(id).await?;
        Ok(Found { backend: id.backend.clone(), item })
    }
}
