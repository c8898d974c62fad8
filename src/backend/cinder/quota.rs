//! The room that is left: what the cloud grants the project, and what the operator grants the cluster.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Capacity;
use crate::backend::cinder::model::{self, AbsoluteLimits};
use crate::error::{Error, Kind, Result};
use crate::volume::{Bytes, Topology};

use super::dialect::Quotas;
use super::{Cloud, notes};

/// So long what the project has is taken to be the same: the provisioner asks for each class and each zone.
const LIMITS: Duration = Duration::from_secs(10);

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
    /// A refusal for want of room, with what there is and was asked for.
    pub(super) async fn exhausted(&self, error: Error, gib: u64) -> Error {
        if error.kind() != Kind::ResourceExhausted {
            return error;
        }
        match self.client.limits().await {
            Ok(limits) => error.and(format!("{}; {} were asked for", told(&limits), Bytes::gib(gib))),
            Err(_) => error,
        }
    }

    /// Refuses one more volume, or a larger one, where the operator's limits leave no room.
    ///
    /// # Errors
    /// `ResourceExhausted` with used, limit and what was asked.
    pub(super) async fn admit(&self, more: u64, gib: u64) -> Result<()> {
        self.afford(gib).await?;
        if !self.is_limited() {
            return Ok(());
        }
        let ours = self.all_ours().await?;
        self.within(Used::of(&ours), Used { volumes: more, gib })
    }

    /// Refuses what the cloud would refuse without saying why.
    async fn afford(&self, gib: u64) -> Result<()> {
        if self.dialect().quotas != Quotas::Astakos {
            return Ok(());
        }
        let limits = match self.client.limits().await {
            Ok(limits) => limits,
            // The cloud knows by itself what it can give.
            Err(error) => {
                tracing::warn!(error = error.chain(), "the quotas cannot be asked for before an order");
                return Ok(());
            }
        };
        match left(limits.max_total_volume_gigabytes, limits.total_gigabytes_used) {
            Some(left) if left < gib => {
                let text = format!("{}; {} are asked for", told(&limits), Bytes::gib(gib));
                Err(Error::refused(Kind::ResourceExhausted, text))
            }
            _ => Ok(()),
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

    /// The room that is left.
    pub(super) async fn capacity(&self, place: Option<&Topology>) -> Result<Capacity> {
        let sizes = self.config.sizes;
        let none = Capacity { available: Bytes::ZERO, largest: Bytes::ZERO, smallest: sizes.min };
        if let Some(place) = place
            && !self.reaches(place)
        {
            return Ok(none);
        }
        let limits = self.limits_lately().await?;
        let mut available = left(limits.max_total_volume_gigabytes, limits.total_gigabytes_used)
            .map_or(Bytes::MAX, Bytes::gib);
        let mut volumes = left(limits.max_total_volumes, limits.total_volumes_used);
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
        if volumes == Some(0) {
            return Ok(none);
        }
        let step = sizes.step.get();
        let largest = Bytes::new(available.min(sizes.max).get() / step * step);
        let largest = if largest < sizes.min { Bytes::ZERO } else { largest };
        Ok(Capacity { available, largest, smallest: sizes.min })
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

/// What is left of a limit; `None` where there is none.
fn left(max: Option<i64>, used: Option<i64>) -> Option<u64> {
    let max = max.filter(|max| *max >= 0)?;
    Some(u64::try_from(max.saturating_sub(used.unwrap_or(0))).unwrap_or(0))
}

/// What the project has, of what it may have.
fn told(limits: &AbsoluteLimits) -> String {
    let part = |what: &str, used: Option<i64>, max: Option<i64>| {
        max.or(used)?;
        let max =
            max.filter(|max| *max >= 0).map_or_else(|| "any number of".to_owned(), |max| max.to_string());
        Some(format!("{} of {max} {what}", used.unwrap_or(0)))
    };
    let parts = [
        part("volumes", limits.total_volumes_used, limits.max_total_volumes),
        part("GiB", limits.total_gigabytes_used, limits.max_total_volume_gigabytes),
        part("snapshots", limits.total_snapshots_used, limits.max_total_snapshots),
    ];
    format!("the project has {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
