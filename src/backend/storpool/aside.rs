//! Copies of a volume in another template: a snapshot is cut, moved to the template, and is what the copy is made from.
//!
//! The snapshot's name comes from the copy's, so a try that follows a killed one goes on with it. It goes as soon as it is
//! known what became of the copy; where nobody ever tries again, StorPool removes it by itself.

use std::time::Duration;

use serde_json::json;

use super::client::{Name, Retry, SnapshotOrder};
use super::names;
use super::volumes::{ROUNDS, clash};
use super::{Cloud, model};
use crate::error::{Error, Result};

/// How long StorPool keeps what nobody came back for.
const KEPT: Duration = Duration::from_hours(1);

/// How a copy gets to another template.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    /// The snapshot's name.
    pub(super) name: String,
    /// The id of the volume that is copied.
    volume: String,
    template: String,
    /// The cluster of the volume, where there are several.
    cluster: Option<String>,
}

impl Aside {
    pub(super) fn new(name: String, volume: &str, found: &model::Volume, template: &str) -> Self {
        let cluster = found.cluster_id.clone();
        Self { name, volume: volume.to_owned(), template: template.to_owned(), cluster }
    }

    fn source(&self) -> String {
        format!("v:{}", self.volume)
    }
}

impl Cloud {
    /// Sees to it that the snapshot is there, in the template.
    ///
    /// # Errors
    /// `NotFound` where the volume is not there, `InvalidArgument` where the template is not, `AlreadyExists` where something
    /// else has the snapshot's name; why it is not known whether it is there.
    pub(super) async fn prepare(&self, aside: &Aside) -> Result<()> {
        let told = |error: Error| error.with("snapshot", &aside.name);
        let mut retry = Retry::default();
        for _ in 0..ROUNDS {
            let Some(found) = self.find_snapshot(&aside.name).await? else {
                let tags = [
                    (names::ASIDE.to_owned(), self.config.cluster.clone()),
                    (names::SOURCE.to_owned(), aside.source()),
                ];
                let order = SnapshotOrder {
                    volume: aside.volume.clone(),
                    name: aside.name.clone(),
                    tags: tags.into(),
                    delete_after: Some(KEPT),
                };
                match self.client.create_snapshot(&order).await {
                    Ok(()) => {}
                    Err(failure) if failure.is(&Name::Exists) => {
                        if self.find(&aside.name).await?.is_some() {
                            return Err(told(clash("a volume")));
                        }
                    }
                    Err(failure) if failure.is(&Name::Missing) => {
                        return Err(retry.judge(failure).with("volume", &aside.volume));
                    }
                    Err(failure) => retry.again(failure).await.map_err(told)?,
                }
                continue;
            };
            if !self.is_aside(&found) {
                return Err(told(clash("a snapshot that is not this driver's")));
            }
            // Left by an order of the same name that wanted something else.
            if found.tags.get(names::SOURCE) != Some(&aside.source()) {
                self.erase_snapshot(&aside.name, &found.global_id).await?;
                continue;
            }
            if found.template_name == aside.template {
                return Ok(());
            }
            match self.client.update_snapshot(&aside.name, json!({ "template": aside.template })).await {
                Ok(()) => {}
                // The template, unless the snapshot went meanwhile.
                Err(failure) if failure.is(&Name::Missing) => {
                    let error = retry.judge(failure);
                    if self.find_snapshot(&aside.name).await?.is_some() {
                        return Err(told(
                            self.no_template(&aside.template, aside.cluster.as_deref(), error).await,
                        ));
                    }
                }
                Err(failure) => retry.again(failure).await.map_err(told)?,
            }
        }
        Err(told(Error::busy("others cut and delete it at the same time")))
    }

    /// Removes the snapshot, where it is there and is one of these.
    ///
    /// # Errors
    /// Why it is still there, or that this is not known.
    pub(super) async fn clear_aside(&self, name: &str) -> Result<()> {
        match self.find_snapshot(name).await? {
            Some(found) if self.is_aside(&found) => self.erase_snapshot(name, &found.global_id).await,
            _ => Ok(()),
        }
    }

    fn is_aside(&self, snapshot: &model::Snapshot) -> bool {
        snapshot.tags.get(names::ASIDE) == Some(&self.config.cluster)
    }
}
