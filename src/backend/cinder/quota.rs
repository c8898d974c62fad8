//! The room that is left: what the cloud grants the project, and what the operator grants the cluster.

mod room;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Capacity;
use crate::backend::cinder::model::{self, AbsoluteLimits};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{Bytes, SizeRules, Topology};

use super::dialect::Quotas;
use super::{Cloud, notes};
use room::{Room, Unit};

/// So long what the cloud told of the project is taken to be the same: the provisioner asks for each class and each zone.
const LIMITS: Duration = Duration::from_secs(10);

/// The same of what it may have, where what it has is counted here.
const QUOTAS: Duration = Duration::from_secs(600);
/// How a cloud refuses that does not tell its users of it.
const NOT_TOLD: [Kind; 4] =
    [Kind::NotFound, Kind::Unsupported, Kind::PermissionDenied, Kind::InvalidArgument];

/// What is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    volumes: u64,
    gib: u64,
}

impl Used {
    fn of<'a>(volumes: impl IntoIterator<Item = &'a model::Volume>) -> Self {
        volumes.into_iter().fold(Self::default(), |sum, volume| Self {
            volumes: sum.volumes + 1,
            gib: sum.gib + volume.size,
        })
    }
}

impl Cloud {
    /// A refusal for want of room, with what there is and was asked for of a type.
    pub(super) async fn exhausted(&self, error: Error, gib: u64, volume_type: Option<&str>) -> Error {
        if error.kind() != Kind::ResourceExhausted {
            return error;
        }
        // What was told before is what did not suffice.
        *self.limits.lock().await = None;
        *self.quotas.lock().await = None;
        match self.room(volume_type).await {
            Ok(room) => error.and(room.words(gib)),
            Err(_) => error,
        }
    }

    /// Refuses one more volume of a type, or a larger one, where the operator's limits leave no room, or where the cloud's are
    /// counted here.
    ///
    /// # Errors
    /// `ResourceExhausted` with used, limit and what was asked.
    pub(super) async fn admit(&self, more: u64, gib: u64, volume_type: Option<&str>) -> Result<()> {
        if self.is_limited() {
            let ours = self.all_ours().await?;
            self.within(Used::of(&ours), Used { volumes: more, gib })?;
        }
        match self.dialect().quotas {
            Quotas::Told => Ok(()),
            Quotas::Astakos => self.afford(more, gib).await,
            Quotas::Counted => self.room(volume_type).await?.admit(more, gib),
        }
    }

    /// Refuses what the cloud would refuse without saying why.
    async fn afford(&self, more: u64, gib: u64) -> Result<()> {
        // What was told before may have been used since.
        *self.limits.lock().await = None;
        match self.room(None).await {
            Ok(room) => room.admit(more, gib),
            // The cloud knows by itself what it can give.
            Err(error) => {
                tracing::warn!(error = error.chain(), "the quotas cannot be asked for before an order");
                Ok(())
            }
        }
    }

    /// Whether a volume that was just made is within the operator's limits, whatever others made at the same time: of
    /// several that are too many together, the oldest stay.
    ///
    /// # Errors
    /// `ResourceExhausted`: the caller must remove it.
    pub(super) async fn confirm(&self, id: &str) -> Result<()> {
        if !self.is_limited() {
            return Ok(());
        }
        let mut ours = self.all_ours().await?;
        ours.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        let Some(at) = ours.iter().position(|volume| volume.id == id) else { return Ok(()) };
        let (older, rest) = ours.split_at(at);
        self.within(Used::of(older), Used::of(rest.first()))
    }

    fn is_limited(&self) -> bool {
        self.config.max_volumes.is_some() || self.config.max_bytes.is_some()
    }

    fn within(&self, used: Used, asked: Used) -> Result<()> {
        let refuse = |text: String| Err(Error::refused(Kind::ResourceExhausted, text));
        if let Some(max) = self.config.max_volumes
            && used.volumes + asked.volumes > max
        {
            return refuse(format!("there are {} of {max} volumes (\"limits.volumes\")", used.volumes));
        }
        if let Some(max) = self.config.max_bytes
            && Bytes::gib(used.gib + asked.gib) > max
        {
            let (used, asked) = (Bytes::gib(used.gib), Bytes::gib(asked.gib));
            return refuse(format!("{used} of {max} are used (\"limits.bytes\"), and {asked} are asked for"));
        }
        Ok(())
    }

    /// All volumes of this cluster, but for those that are going.
    async fn all_ours(&self) -> Result<Vec<model::Volume>> {
        let listed = self.client.volumes(&[notes::ours_filter(&self.config)]).await?;
        let there = |volume: &model::Volume| {
            notes::is_ours(&self.config, volume) && volume.status != model::Status::Deleting
        };
        Ok(listed.into_iter().filter(there).collect())
    }

    /// The room that is left for volumes of a type.
    pub(super) async fn capacity(
        &self,
        volume_type: Option<&str>,
        place: Option<&Topology>,
    ) -> Result<Capacity> {
        let sizes = self.sizes(volume_type);
        let none = Capacity { available: Bytes::ZERO, largest: Bytes::ZERO, smallest: sizes.min };
        if let Some(place) = place
            && !self.reaches(place)
        {
            return Ok(none);
        }
        let room = self.room(volume_type).await?;
        let mut available = room.left(Unit::Gib).map_or(Bytes::MAX, Bytes::gib);
        let mut volumes = room.left(Unit::Volumes);
        if self.is_limited() {
            let used = Used::of(&self.all_ours().await?);
            if let Some(max) = self.config.max_bytes {
                available = available.min(max.saturating_sub(Bytes::gib(used.gib)));
            }
            if let Some(max) = self.config.max_volumes {
                let free = max.saturating_sub(used.volumes);
                volumes = Some(volumes.map_or(free, |volumes| volumes.min(free)));
            }
        }
        match volumes {
            Some(0) => return Ok(none),
            Some(left) => available = available.min(Bytes::new(sizes.max.get().saturating_mul(left))),
            None => {}
        }
        let step = sizes.step.get();
        let largest = Bytes::new(available.min(sizes.max).get() / step * step);
        let largest = if largest < sizes.min { Bytes::ZERO } else { largest };
        Ok(Capacity { available, largest, smallest: sizes.min })
    }

    /// What the project may have and has, as far as volumes of a type are concerned.
    async fn room(&self, volume_type: Option<&str>) -> Result<Room> {
        match self.dialect().quotas {
            Quotas::Told | Quotas::Astakos => Ok(Room::told(&self.limits_lately().await?)),
            Quotas::Counted => self.counted(volume_type).await,
        }
    }

    /// The same where it is counted here: all volumes of the project, whoever made them.
    async fn counted(&self, volume_type: Option<&str>) -> Result<Room> {
        let told = self.quotas_lately().await?;
        let told = |name: &str| told.get(name).and_then(|max| u64::try_from(*max).ok());
        let mut all = self.client.volumes(&[]).await?;
        all.retain(|volume| volume.status != model::Status::Deleting);
        let mut room = Room::default();
        let mut count = |of: Option<&str>, used: Used, volumes: Option<u64>, gib: Option<u64>| {
            room.add(Unit::Volumes, of, used.volumes, volumes);
            room.add(Unit::Gib, of, used.gib, gib);
        };
        if told("volumes").is_some() || told("gigabytes").is_some() {
            count(None, Used::of(&all), told("volumes"), told("gigabytes"));
        }
        if let Some(name) = self.type_name(volume_type) {
            let own = self.config.types.get(&name).copied().unwrap_or_default();
            let usual = self.dialect().rules(Some(&name));
            let volumes = own.volumes.or_else(|| told(&format!("volumes_{name}")));
            let volumes = volumes.or_else(|| usual?.volumes);
            let gib = own.bytes.map(|bytes| bytes.get() / Bytes::gib(1).get());
            let gib = gib.or_else(|| told(&format!("gigabytes_{name}"))).or_else(|| usual?.gib);
            let of_type = all.iter().filter(|volume| volume.volume_type.as_deref() == Some(&name));
            count(Some(&name), Used::of(of_type), volumes, gib);
        }
        Ok(room)
    }

    /// The sizes of volumes of a type.
    pub(super) fn sizes(&self, volume_type: Option<&str>) -> SizeRules {
        self.config.sizes(self.type_name(volume_type).as_deref())
    }

    /// The name of the type that is named, by name or id, or of the one that is taken where none is.
    fn type_name(&self, volume_type: Option<&str>) -> Option<String> {
        let name = self.config.type_name(volume_type)?;
        Some(self.types.name(name).unwrap_or_else(|| name.to_owned()))
    }

    /// What the cloud tells of what the project may have; nothing where it tells nothing of it.
    async fn quotas_lately(&self) -> Result<BTreeMap<String, i64>> {
        let mut known = self.quotas.lock().await;
        if let Some((at, quotas)) = &*known
            && at.elapsed() < QUOTAS
        {
            return Ok(quotas.clone());
        }
        let quotas = match self.client.quota_set().await {
            Err(error) if NOT_TOLD.contains(&error.kind()) && error.outcome() == Outcome::Refused => {
                BTreeMap::new()
            }
            told => told?,
        };
        *known = Some((Instant::now(), quotas.clone()));
        Ok(quotas)
    }

    async fn limits_lately(&self) -> Result<AbsoluteLimits> {
        let mut known = self.limits.lock().await;
        if let Some((at, limits)) = *known
            && at.elapsed() < LIMITS
        {
            return Ok(limits);
        }
        let limits = self.client.limits().await?;
        *known = Some((Instant::now(), limits));
        Ok(limits)
    }
}
