//! Making, deleting, finding and judging volumes.

use std::sync::Arc;

use crate::backend::VolumeOrder;
use crate::controller::{Controller, Found, access, parameters, volume_key};
use crate::error::{Error, Kind, Result};
use crate::flight::phase;
use crate::volume::{
    Access, AccessKind, BackendName, Parameters, SizeRange, SnapshotId, Source, TopologyRequirement, Volume,
    VolumeId,
};

/// What a volume is to be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A volume.
    Volume(VolumeId),
}

/// CreateVolume, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// The CSI name, by which create is idempotent.
    pub name: String,
    /// The sizes that are acceptable.
    pub size: SizeRange,
    /// What it is to be made from.
    pub origin: Option<Origin>,
    /// How it will be used.
    pub access: Vec<Access>,
    /// As the StorageClass has them.
    pub parameters: Parameters,
    /// As the VolumeAttributesClass has them.
    pub mutable: Parameters,
    /// From where it must be reachable.
    pub topology: TopologyRequirement,
}

/// Whether a volume can be used as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Confirmed,
    /// It cannot, for this reason.
    Unsupported(String),
}

impl Controller {
    /// Makes a volume, or finds the one that an earlier try made.
    ///
    /// # Errors
    /// `InvalidArgument` for parameters, for contradicting uses and for a source in another back end; else as
    /// [`crate::backend::Backend::create`].
    pub async fn create(&self, provision: Provision) -> Result<Found<Volume>> {
        let (given, owner) = parameters::split(provision.parameters);
        let (mutable, _) = parameters::split(provision.mutable);
        let (name, backend, parameters) = self.backends.choose(&given)?;
        let (name, backend) = (name.clone(), Arc::clone(backend));
        access::check(&name, backend.capabilities(), &provision.access)?;
        let source = provision.origin.map(|origin| source(&name, origin)).transpose()?;
        let able = match &source {
            Some(Source::Snapshot(_)) => backend.capabilities().snapshots,
            Some(Source::Volume(_)) => backend.capabilities().clones,
            None => true,
        };
        if !able {
            return Err(Error::refused(
                Kind::Unsupported,
                format!("back end {name} cannot make a volume from another volume or snapshot of this kind"),
            ));
        }
        backend.check_parameters(&parameters)?;
        if !mutable.0.is_empty() {
            backend.check_mutable(&mutable)?;
        }
        // A blank volume becomes a file system; one from a source has its own, whatever it is called here.
        let kinds = provision.access.iter().map(|access| &access.kind);
        let least = kinds.filter_map(|kind| match kind {
            AccessKind::Mount { fs, .. } if source.is_none() => Some(fs.smallest()),
            _ => None,
        });
        let size = least.max().map_or(Ok(provision.size), |least| {
            provision.size.raised_to(least).map_err(|error| error.and("the file system needs that much"))
        })?;
        let order = VolumeOrder {
            name: provision.name,
            size,
            source,
            access: provision.access,
            parameters,
            mutable,
            topology: provision.topology,
            owner,
        };
        let key = format!("create/{name}/{}", order.name);
        let volume = self
            .fly(key, "create volume", &order.clone(), async move {
                phase("create");
                backend.create(&order).await
            })
            .await?;
        Ok(Found { backend: name, item: volume })
    }

    /// Deletes a volume for good. Missing is `Ok`.
    ///
    /// # Errors
    /// `FailedPrecondition` while it is in use, or where its back end is not configured.
    pub async fn delete(&self, id: &VolumeId) -> Result<()> {
        let (backend, native) = (self.holder(&id.backend)?, id.native.clone());
        self.fly(volume_key(id), "delete volume", &id, async move {
            phase("delete");
            backend.delete(&native).await
        })
        .await
    }

    /// Tells of one volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: &VolumeId) -> Result<Volume> {
        self.backends.get(&id.backend)?.get(&id.native).await
    }

    /// All ids that mean the volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn ids(&self, id: &VolumeId) -> Result<Vec<VolumeId>> {
        let all = self.backends.get(&id.backend)?.ids(&id.native).await?;
        Ok(all.into_iter().map(|native| VolumeId { backend: id.backend.clone(), native }).collect())
    }

    /// Judges whether an existing volume can be used in all these ways and could have these parameters.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn validate(
        &self,
        id: &VolumeId,
        access: &[Access],
        parameters: Parameters,
        mutable: Parameters,
    ) -> Result<Verdict> {
        let backend = self.backends.get(&id.backend)?;
        backend.get(&id.native).await?;
        let (parameters, _) = parameters::split(parameters);
        let (mutable, _) = parameters::split(mutable);
        let judged = access::check(&id.backend, backend.capabilities(), access)
            .and_then(|()| self.check_parameters(&id.backend, &parameters))
            .and_then(|()| if mutable.0.is_empty() { Ok(()) } else { backend.check_mutable(&mutable) });
        match judged {
            Ok(()) => Ok(Verdict::Confirmed),
            Err(error) if matches!(error.kind(), Kind::InvalidArgument | Kind::Unsupported) => {
                Ok(Verdict::Unsupported(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn check_parameters(&self, holder: &BackendName, parameters: &Parameters) -> Result<()> {
        if parameters.0.is_empty() {
            return Ok(());
        }
        let (chosen, backend, rest) = self.backends.choose(parameters)?;
        if chosen != holder {
            return Err(Error::invalid(format!(
                "the parameters pick the back end {chosen}, but the volume is in {holder}"
            )));
        }
        backend.check_parameters(&rest)
    }
}

fn source(chosen: &BackendName, origin: Origin) -> Result<Source> {
    let (what, backend, source) = match origin {
        Origin::Snapshot(id) => ("snapshot", id.backend, Source::Snapshot(id.native)),
        Origin::Volume(id) => ("volume", id.backend, Source::Volume(id.native)),
    };
    if &backend != chosen {
        return Err(Error::invalid(format!(
            "the source {what} is in the back end {backend}, but the volume is ordered in {chosen}: \
             a volume is made from a source in its own back end only"
        )));
    }
    Ok(source)
}
