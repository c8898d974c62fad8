//! Finding volumes, growing, changing and deleting them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::Cloud;
use super::client::{Failure, Name, Retry, SnapshotOrder};
use super::config::SIZES;
use super::model;
use super::names::{self, reference};
use super::parameters::Class;
use crate::backend::{Expanded, Listing, Page, paging};
use crate::error::{Error, Kind, Outcome, Result};
use crate::host::files::random_hex;
use crate::volume::{Bytes, Content, NativeId, Parameters, SizeRange, Volume};

/// Bytes of what tells one time between two detaches from all others.
pub(super) const ERA: usize = 8;
/// How often something is made that others delete at once.
pub(super) const ROUNDS: u32 = 20;

impl Cloud {
    /// The volume of this name; `None` where there is none.
    pub(super) async fn find(&self, name: &str) -> Result<Option<model::Volume>> {
        match self.client.volume(name).await {
            Ok(volume) => Ok(Some(volume)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a volume.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete`].
    pub(super) async fn delete(&self, id: &str) -> Result<()> {
        let _turn = self.turns.take(id).await;
        for _ in 0..ROUNDS {
            let found = match self.client.volume(id).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            };
            // Whoever has a global id for a handle has told that this driver is to take the volume over.
            if !self.is_ours(&found.name, &found.tags) && !names::is_global_id(id) {
                let text = format!(
                    "it is not this back end's, by its name and the tag {} (which is {:?} here), so it is not deleted: delete it \
                     in StorPool",
                    names::CLUSTER,
                    self.config.cluster
                );
                return Err(Error::precondition(text).with("volume", id));
            }
            self.drop_target(&found).await.map_err(|error| error.with("volume", id))?;
            if self.delete_found(id, &found).await? {
                return Ok(());
            }
        }
        Err(Error::busy("others delete and make it at the same time").with("volume", id))
    }

    /// Deletes what was found, and keeps its remains where that is wanted. `false`: something else has the name by now.
    async fn delete_found(&self, id: &str, found: &model::Volume) -> Result<bool> {
        let Some(after) = self.config.delete_after else { return self.erase(id, &found.global_id).await };
        let remains = self.keep_remains(id, found, after).await?;
        match self.erase(id, &found.global_id).await {
            // It goes on living, and the next delete keeps what it is then.
            Err(error) if error.kind() == Kind::FailedPrecondition => {
                self.erase_snapshot(&remains, "").await?;
                Err(error)
            }
            erased => erased,
        }
    }

    /// Cuts a snapshot of a volume that is about to be deleted, and tells its name.
    async fn keep_remains(&self, id: &str, found: &model::Volume, after: Duration) -> Result<String> {
        let name = self.config.prefix.remains(&found.global_id);
        let tags = [(names::GONE.to_owned(), found.name.trim_start_matches('~').to_owned())].into();
        let plan =
            SnapshotOrder { volume: id.to_owned(), name: name.clone(), tags, delete_after: Some(after) };
        let mut retry = Retry::default();
        loop {
            match self.client.create_snapshot(&plan).await {
                Ok(()) => return Ok(name),
                // An earlier try of this delete cut it. A global id is never another volume's.
                Err(failure) if failure.is(&Name::Exists) => return Ok(name),
                Err(failure) => retry.again(failure).await.map_err(|error| error.with("volume", id))?,
            }
        }
    }

    /// Deletes the volume that has this global id, too. The call names that: where it is carried out late, it cannot meet
    /// the next volume of the name. `false`: it is not there any more, and something has its name: another volume, or itself,
    /// for one that was reverted meanwhile has another global id.
    pub(super) async fn erase(&self, id: &str, global_id: &str) -> Result<bool> {
        let this = names::exact(id, global_id);
        let mut retry = Retry::default();
        loop {
            match self.client.delete_volume(this).await {
                Ok(()) => return Ok(true),
                Err(failure) if failure.is(&Name::Missing) => return Ok(self.find(id).await?.is_none()),
                Err(failure) if failure.is(&Name::Busy) => return Err(self.held(id, failure).await),
                Err(failure) => retry.again(failure).await.map_err(|error| error.with("volume", id))?,
            }
            if self.find(this).await?.is_none() {
                return Ok(true);
            }
        }
    }

    /// It is attached: to whom.
    async fn held(&self, id: &str, failure: Failure) -> Error {
        let error = failure.into_error().with_kind(Kind::FailedPrecondition).with_outcome(Outcome::Refused);
        let error = error.with("volume", id);
        let (Ok(volume), Ok(table)) = (self.client.volume(id).await, self.holders().await) else {
            return error;
        };
        let holders: Vec<_> =
            table.iter().filter(|one| volume.is_in(one)).map(|one| self.nodes.told(&one.seat())).collect();
        match holders.is_empty() {
            true => error,
            false => error.and(format!("it is attached to {}: detach it first", holders.join(", "))),
        }
    }

    /// One volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn get(&self, id: &str) -> Result<Volume> {
        let (volume, table) = tokio::join!(self.client.volume(id), self.holders());
        self.volume(&volume?, &table?).map(|volume| Volume { id: id.parse().unwrap_or(volume.id), ..volume })
    }

    /// The name and the global ids of a volume, as ids: whatever has it may know it by each.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn ids(&self, id: &NativeId) -> Result<Vec<NativeId>> {
        let volume = self.client.volume(id.as_str()).await?;
        let others = [&volume.name, &volume.global_id, volume.link_id()];
        // What is too long for an id is none that anybody was told of.
        let others = others.into_iter().filter_map(|name| names::id(name).ok());
        Ok(others.chain([id.clone()]).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// All volumes of ours, by name.
    ///
    /// # Errors
    /// `BadToken`; why the cluster does not tell.
    pub(super) async fn list(&self, page: &Page) -> Result<Listing<Volume>> {
        let (volumes, table) = tokio::join!(self.client.volumes(), self.holders());
        let table = table?;
        let ours = volumes?.into_iter().filter(|volume| self.is_ours(&volume.name, &volume.tags));
        let mut ours: Vec<(NativeId, model::Volume)> =
            ours.map(|volume| Ok((names::id(&volume.name)?, volume))).collect::<Result<_>>()?;
        ours.sort_by(|one, other| one.0.cmp(&other.0));
        paging::page(ours, page, |_, volume| self.volume(&volume, &table).map(Some))
    }

    /// Grows a volume.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::expand`].
    pub(super) async fn expand(&self, id: &str, size: SizeRange) -> Result<Expanded> {
        let told = |error: Error| error.with("volume", id);
        let now = Bytes::new(self.client.volume(id).await?.size);
        let done = |size| Ok(Expanded { size, node_expansion: true });
        if now >= size.required() {
            return match size.limit() {
                Some(limit) if now > limit => {
                    let text = format!("it has {now} already and cannot shrink to the limit, {limit}");
                    Err(told(Error::refused(Kind::OutOfRange, text)))
                }
                _ => done(now),
            };
        }
        let wanted = size.choose(SIZES, None).map_err(told)?;
        self.admit(0, wanted.saturating_sub(now).get()).await.map_err(told)?;
        let mut retry = Retry::default();
        loop {
            match self.client.update_volume(id, json!({ "size": wanted.get() })).await {
                Ok(()) => return done(wanted),
                Err(failure) => {
                    let grew =
                        || async { self.client.volume(id).await.map(|volume| Bytes::new(volume.size)) };
                    // Another may have grown it further, and what is there is never made smaller.
                    if failure.is(&Name::Invalid) {
                        let now = grew().await?;
                        return if now >= wanted { done(now) } else { Err(told(retry.judge(failure))) };
                    }
                    retry.again(failure).await.map_err(told)?;
                    let now = grew().await?;
                    if now >= wanted {
                        return done(now);
                    }
                }
            }
        }
    }

    /// Changes what can be changed on a volume in use: one call, so all of it or nothing.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::modify`].
    pub(super) async fn modify(&self, id: &str, parameters: &Parameters) -> Result<()> {
        let change = Class::read_change(parameters)?;
        self.client.volume(id).await?;
        if change.is_empty() {
            return Ok(());
        }
        let template = change.template.clone();
        let told = |error: Error| error.with("volume", id);
        self.update(id, change.into_body()).await.map_err(|error| match &template {
            Some(template) if error.is_not_found() => told(error)
                .with_kind(Kind::InvalidArgument)
                .and(format!("is there a template {template:?}? (parameter \"template\")")),
            _ => told(error),
        })
    }

    /// Changes a volume in a way of which twice is as good as once.
    pub(super) async fn update(&self, id: &str, body: serde_json::Value) -> Result<()> {
        let mut retry = Retry::default();
        loop {
            match self.client.update_volume(id, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => retry.again(failure).await?,
            }
        }
    }

    /// A volume, to the house.
    ///
    /// # Errors
    /// `Internal` for what the house cannot hold.
    pub(super) fn volume(&self, volume: &model::Volume, table: &[model::Attachment]) -> Result<Volume> {
        let holders = table.iter().filter(|one| volume.is_in(one)).map(|one| self.nodes.of(&one.seat()));
        Ok(Volume {
            id: names::id(&volume.name)?,
            name: self.config.prefix.csi_name(&volume.name, &volume.tags),
            size: Bytes::new(volume.size),
            source: names::source(&volume.tags).map_err(|error| error.with("volume", &volume.name))?,
            content: content(volume),
            reach: self.config.reach.clone(),
            attached: holders.collect::<Result<_>>()?,
        })
    }

    /// Whether the name and the tags are those of an object of ours.
    pub(super) fn is_ours(&self, name: &str, tags: &model::Tags) -> bool {
        let theirs = self.config.siblings.iter().any(|prefix| prefix.begins(name));
        !theirs && tags.get(names::CLUSTER) == Some(&self.config.cluster)
    }
}

/// The name is taken by something of another sort.
pub(super) fn clash(what: &str) -> Error {
    let text = format!("{what} has that name, and volumes and snapshots share their names: rename it");
    Error::refused(Kind::AlreadyExists, text)
}

/// What is known of a volume's content: new is only what this driver made from nothing.
pub(super) fn content(volume: &model::Volume) -> Content {
    match volume.tags.contains_key(names::ERA) && !volume.tags.contains_key(names::DATA) {
        true => Content::New,
        false => Content::Data,
    }
}

/// A new time between two detaches, as a change of the volume.
pub(super) fn new_era() -> Result<serde_json::Value> {
    Ok(json!({"tags": {names::ERA: random_hex(ERA)?}}))
}

/// How a volume is called in a message of StorPool's.
pub(super) fn quoted(id: &str) -> String {
    format!("'{}'", reference(id))
}
