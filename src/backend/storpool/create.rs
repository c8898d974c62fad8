//! Making a volume, within the operator's limits and whatever others make at the same time.

use serde_json::json;

use super::Cloud;
use super::aside::Aside;
use super::client::{Name, Retry, VolumeOrder as ApiOrder};
use super::config::SIZES;
use super::model;
use super::names;
use super::parameters::Class;
use super::quota::{Confirmed, Tries};
use super::volumes::{ERA, ROUNDS, clash};
use crate::backend::VolumeOrder;
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::host::files::random_hex;
use crate::volume::{Bytes, Source, Volume};

impl Cloud {
    /// Makes a volume, or finds the one that an earlier try made: its name can be there only once.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create`].
    pub(super) async fn create(&self, order: &VolumeOrder) -> Result<Volume> {
        let class = Class::read(&order.parameters, &order.mutable)?;
        let name = self.config.prefix.volume(&order.name)?;
        let told = |error: Error| error.with("volume", &name);
        let _turn = self.turns.take(&name).await;
        // One after the other, where each has to know what the others took.
        let _making = if self.is_limited() { Some(self.making.lock().await) } else { None };
        let made = match self.find(&name).await {
            Ok(Some(found)) => self.same(order, &found),
            Ok(None) => self.make(order, class, &name).await,
            Err(error) => return Err(told(error)),
        };
        let is_known = made.as_ref().map_or_else(|error| error.outcome() == Outcome::Refused, |_| true);
        if is_known && matches!(order.source, Some(Source::Volume(_))) {
            let cleared = self.clear_aside(&self.config.prefix.aside(&order.name)?).await;
            // The copy is there: only who asks again hears of it.
            let doubt =
                |error: Error| if made.is_ok() { error.with_outcome(Outcome::Unknown) } else { error };
            cleared.map_err(|error| told(doubt(error)))?;
        }
        made.map_err(told)
    }

    /// Makes it within the operator's limits, whatever others make at the same time.
    async fn make(&self, order: &VolumeOrder, class: Class, name: &str) -> Result<Volume> {
        let (plan, aside) = self.plan(order, class, name).await?;
        let mut tries = Tries::default();
        loop {
            let before = self.admit(1, plan.size).await?;
            let found = self.make_one(&plan, aside.as_ref()).await?;
            let volume = self.same(order, &found)?;
            match self.confirm(name, &before).await? {
                Confirmed::Yes => return Ok(volume),
                Confirmed::Never(error) => {
                    self.erase(name, &found.global_id).await?;
                    return Err(error);
                }
                Confirmed::Later(error) => {
                    self.erase(name, &found.global_id).await?;
                    tries.pause(error).await?;
                }
            }
        }
    }

    /// Makes it, or finds the one of this name that somebody made meanwhile.
    async fn make_one(&self, plan: &ApiOrder, aside: Option<&Aside>) -> Result<model::Volume> {
        phase("create the volume");
        let name = &plan.name;
        let mut retry = Retry::default();
        for _ in 0..ROUNDS {
            if let Some(aside) = aside {
                self.prepare(aside).await.map_err(|error| retry.doubt(error))?;
            }
            let mut taken = false;
            match self.client.create_volume(plan).await {
                Ok(()) => {}
                Err(failure) if failure.is(&Name::Exists) => taken = true,
                // StorPool removed it by itself meanwhile.
                Err(failure) if failure.is(&Name::Missing) && self.is_gone(aside).await? => {}
                Err(failure) if failure.is(&Name::Missing) => {
                    let error = retry.judge(failure);
                    let Some(template) = plan.policy.get("template").and_then(|name| name.as_str()) else {
                        return Err(error);
                    };
                    return Err(self.no_template(template, plan.cluster.as_deref(), error).await);
                }
                Err(failure) => retry.again(failure).await?,
            }
            if let Some(found) = self.find(name).await? {
                return match taken && self.is_limited() {
                    // Whoever made it may have to take it back.
                    true => Err(Error::busy("another controller makes it at the same time")),
                    false => Ok(found),
                };
            }
            if taken && self.find_snapshot(name).await?.is_some() {
                return Err(clash("a snapshot"));
            }
            // It was there, and somebody has deleted it.
        }
        Err(Error::busy("others make and delete it at the same time"))
    }

    async fn is_gone(&self, aside: Option<&Aside>) -> Result<bool> {
        match aside {
            Some(aside) => Ok(self.find_snapshot(&aside.name).await?.is_none()),
            None => Ok(false),
        }
    }

    /// The volume that is there, where it is the one that is ordered.
    fn same(&self, order: &VolumeOrder, found: &model::Volume) -> Result<Volume> {
        if !self.is_ours(&found.name, &found.tags) {
            return Err(Error::refused(
                Kind::AlreadyExists,
                format!(
                    "a volume of that name is there, and it is not this driver's for the cluster {0:?}: it is not touched; \
                     rename it, or choose another \"namePrefix\", or, to have it used with what is on it, give it the tag \
                     {1}={0}",
                    self.config.cluster,
                    names::CLUSTER
                ),
            ));
        }
        // Nobody can have it yet, or that makes no difference here.
        let volume = self.volume(found, &[])?;
        order.check(&volume)?;
        Ok(volume)
    }

    /// What to ask for.
    async fn plan(&self, order: &VolumeOrder, class: Class, name: &str) -> Result<(ApiOrder, Option<Aside>)> {
        let (mut parent, mut base, mut floor) = (None, None, None);
        // A copy is made where its source is.
        let (mut cluster, mut aside) = (None, None);
        let template = class.template.or_else(|| self.config.template.clone());
        match &order.source {
            None => {}
            Some(Source::Snapshot(id)) => {
                let snapshot = self.client.snapshot(id.as_str()).await?;
                (parent, floor, cluster) = (Some(id.to_string()), Some(snapshot.size), snapshot.cluster_id);
            }
            Some(Source::Volume(id)) => {
                let volume = self.client.volume(id.as_str()).await?;
                match template.as_ref().filter(|template| **template != volume.template_name) {
                    None => base = Some(id.to_string()),
                    Some(template) => {
                        let snapshot = self.config.prefix.aside(&order.name)?;
                        parent = Some(snapshot.clone());
                        aside = Some(Aside::new(snapshot, id.as_str(), &volume, template));
                    }
                }
                (floor, cluster) = (Some(volume.size), volume.cluster_id);
            }
        }
        let size = order.size.choose(SIZES, floor.map(Bytes::new))?;
        let mut policy = class.policy;
        match template {
            // The snapshot has it, and the copy inherits it.
            Some(_) if aside.is_some() => {}
            Some(template) => {
                policy.insert("template".to_owned(), json!(template));
            }
            // A copy inherits everything.
            None if order.source.is_some() || policy.contains_key("placeAll") => {}
            None => {
                return Err(Error::invalid(
                    "no template is named: give the StorageClass the parameter \"template\", or the back end the key \
                     \"template\"",
                ));
            }
        }
        let mut tags = names::owned(&self.config.cluster, &order.name)?;
        match &order.source {
            Some(source) => {
                tags.insert(names::SOURCE.to_owned(), names::source_tag(source));
            }
            None => {
                tags.insert(names::ERA.to_owned(), random_hex(ERA)?);
            }
        }
        tags.extend(class.tags);
        names::add_owner(&mut tags, name, &order.owner);
        let plan = ApiOrder { name: name.to_owned(), size: size.get(), parent, base, cluster, policy, tags };
        Ok((plan, aside))
    }

    /// Something that a new volume needs is not there: its source was, so it is the template, unless that went meanwhile.
    pub(super) async fn no_template(&self, template: &str, cluster: Option<&str>, error: Error) -> Error {
        let Ok(known) = self.client.templates(cluster).await else { return error };
        let names: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
        if names.contains(&template) {
            return error;
        }
        let text = format!(
            "parameter \"template\" has the value {template:?}: the templates are {}",
            names.join(", ")
        );
        error.with_kind(Kind::InvalidArgument).and(text)
    }
}
