//! The room that is left: what the cluster has, and what the operator grants.

use super::config::SIZES;
use super::parameters::Class;
use super::{Cloud, model};
use crate::backend::Capacity;
use crate::error::{Error, Kind, Result};
use crate::volume::{Bytes, Parameters, Topology};

/// What is there already.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    volumes: u64,
    bytes: u64,
}

impl Used {
    fn of<'a>(volumes: impl IntoIterator<Item = &'a model::Volume>) -> Self {
        volumes.into_iter().fold(Self::default(), |sum, volume| Self {
            volumes: sum.volumes + 1,
            bytes: sum.bytes.saturating_add(volume.size),
        })
    }
}

impl Cloud {
    /// Refuses more volumes, or larger ones, where the operator's limits leave no room.
    ///
    /// # Errors
    /// `ResourceExhausted` with used, limit and what was asked for.
    pub(super) async fn admit(&self, volumes: u64, bytes: u64) -> Result<()> {
        if !self.is_limited() {
            return Ok(());
        }
        self.within(Used::of(&self.all_ours().await?), Used { volumes, bytes })
    }

    /// Whether a volume that was just made is within the operator's limits, whatever others made at the same time: of
    /// several that are too many together, the oldest stay. Global ids count up, so they tell which is older.
    ///
    /// # Errors
    /// `ResourceExhausted`: the caller must remove it.
    pub(super) async fn confirm(&self, name: &str) -> Result<()> {
        if !self.is_limited() {
            return Ok(());
        }
        let mut ours = self.all_ours().await?;
        ours.sort_by_key(|volume| {
            (volume.creation_timestamp, volume.link_id().len(), volume.link_id().to_owned())
        });
        let Some(at) = ours.iter().position(|volume| volume.name == name) else { return Ok(()) };
        let (older, rest) = ours.split_at(at);
        self.within(Used::of(older), Used::of(rest.first()))
    }

    const fn is_limited(&self) -> bool {
        self.config.max_volumes.is_some() || self.config.max_bytes.is_some()
    }

    async fn all_ours(&self) -> Result<Vec<model::Volume>> {
        let all = self.client.volumes().await?;
        Ok(all.into_iter().filter(|volume| self.is_ours(&volume.tags)).collect())
    }

    fn within(&self, used: Used, asked: Used) -> Result<()> {
        let refuse = |text: String| Err(Error::refused(Kind::ResourceExhausted, text));
        if let Some(max) = self.config.max_volumes
            && used.volumes + asked.volumes > max
        {
            return refuse(format!("there are {} of {max} volumes (\"limits.volumes\")", used.volumes));
        }
        let (has, more) = (Bytes::new(used.bytes), Bytes::new(asked.bytes));
        match self.config.max_bytes {
            Some(max) if has.saturating_add(more) > max => {
                refuse(format!("{has} of {max} are used (\"limits.bytes\"), and {more} are asked for"))
            }
            _ => Ok(()),
        }
    }

    /// The room that is left in a template, or in the roomiest where none is named.
    ///
    /// # Errors
    /// `InvalidArgument` for a parameter.
    pub(super) async fn capacity(
        &self,
        parameters: &Parameters,
        place: Option<&Topology>,
    ) -> Result<Capacity> {
        let class = Class::read(parameters, &Parameters::default())?;
        let none = Capacity { available: Bytes::ZERO, largest: Bytes::ZERO, smallest: SIZES.min };
        if place.is_some_and(|place| !self.config.reach.contains(place)) {
            return Ok(none);
        }
        let wanted = class.template.or_else(|| self.config.template.clone());
        let templates = self.client.templates_status().await?;
        let fitting =
            templates.iter().filter(|template| wanted.as_ref().is_none_or(|name| template.name == *name));
        let Some(free) = fitting.map(|template| template.stored.free).max() else {
            let names: Vec<_> = templates.iter().map(|template| template.name.as_str()).collect();
            let text = format!(
                "parameter \"template\" has the value {:?}: the templates are {}",
                wanted.unwrap_or_default(),
                names.join(", ")
            );
            return Err(Error::invalid(text));
        };
        let mut available = Bytes::new(free);
        if self.is_limited() {
            let used = Used::of(&self.all_ours().await?);
            if self.config.max_volumes.is_some_and(|max| used.volumes >= max) {
                return Ok(none);
            }
            if let Some(max) = self.config.max_bytes {
                available = available.min(max.saturating_sub(Bytes::new(used.bytes)));
            }
        }
        let step = SIZES.step.get();
        let largest = Bytes::new(available.min(SIZES.max).get() / step * step);
        let largest = if largest < SIZES.min { Bytes::ZERO } else { largest };
        Ok(Capacity { available, largest, smallest: SIZES.min })
    }
}
