//! The room that is left: what the cluster has, and what the operator grants.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::SIZES;
use super::parameters::Class;
use super::{Cloud, model};
use crate::backend::Capacity;
use crate::error::{Error, Kind, Outcome, Result};
use crate::host::files::random_hex;
use crate::volume::{Bytes, Parameters, Topology};

/// How often a volume is made beside others that are too many with it.
const TRIES: u32 = 12;
/// The longest first pause between; it grows.
const PAUSE: Duration = Duration::from_millis(40);

/// The volumes that were there before one was made.
#[derive(Debug, Default)]
pub(super) struct Before(BTreeSet<String>);

/// Whether a volume that was made may stay.
#[derive(Debug)]
pub(super) enum Confirmed {
    /// It may.
    Yes,
    /// Those that were there before it leave no room.
    Never(Error),
    /// It is too many with those that came at the same time, which may go again.
    Later(Error),
}

/// The tries to make one beside others.
#[derive(Debug, Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Waits, for a random time, so that two do not meet again.
    ///
    /// # Errors
    /// That it was tried often enough.
    pub(super) async fn pause(&mut self, error: Error) -> Result<()> {
        self.0 += 1;
        if self.0 >= TRIES {
            return Err(error.and("others make volumes at the same time").with_outcome(Outcome::Unknown));
        }
        let random = u16::from_str_radix(&random_hex(2)?, 16).unwrap_or_default();
        tokio::time::sleep(PAUSE.mul_f64(f64::from(self.0) * f64::from(random) / 65_536.0)).await;
        Ok(())
    }
}

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
    /// Refuses more volumes, or larger ones, where the operator's limits leave no room. Tells which volumes were there.
    ///
    /// # Errors
    /// `ResourceExhausted` with used, limit and what was asked for.
    pub(super) async fn admit(&self, volumes: u64, bytes: u64) -> Result<Before> {
        if !self.is_limited() {
            return Ok(Before::default());
        }
        let ours = self.all_ours().await?;
        self.within(Used::of(&ours), Used { volumes, bytes })?;
        Ok(Before(ours.into_iter().map(|volume| volume.name).collect()))
    }

    /// Whether a volume that was just made is within the operator's limits, whatever other controllers made at the same time.
    /// Nothing tells which of several was first, so all others count: whoever made the last one sees them all. The caller
    /// must remove it where it may not stay.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) async fn confirm(&self, name: &str, before: &Before) -> Result<Confirmed> {
        if !self.is_limited() {
            return Ok(Confirmed::Yes);
        }
        let ours = self.all_ours().await?;
        let (mine, others): (Vec<_>, Vec<_>) = ours.iter().partition(|volume| volume.name == name);
        let asked = Used::of(mine);
        let Err(error) = self.within(Used::of(others.iter().copied()), asked) else {
            return Ok(Confirmed::Yes);
        };
        let older = others.into_iter().filter(|volume| before.0.contains(&volume.name));
        Ok(match self.within(Used::of(older), asked) {
            Err(error) => Confirmed::Never(error),
            Ok(()) => Confirmed::Later(error),
        })
    }

    pub(super) const fn is_limited(&self) -> bool {
        self.config.max_volumes.is_some() || self.config.max_bytes.is_some()
    }

    async fn all_ours(&self) -> Result<Vec<model::Volume>> {
        let all = self.client.volumes().await?;
        Ok(all.into_iter().filter(|volume| self.is_ours(&volume.name, &volume.tags)).collect())
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
