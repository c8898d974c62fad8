//! How many volumes a server can have, and how many it has.
//!
//! The limit is the operator's (`limits.perServer`), else what the server's metadata or its flavour's properties say
//! under [`PROPERTY`], else what clouds of its kind have, else the cloud's own, which only shows when it refuses. Counted is all that Nova lists, whoever
//! attached it, and what is on its way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turn;

use crate::backend::cinder::client::Client;
use crate::backend::cinder::model::Server;
use crate::error::{Error, Kind, Result};

/// The property of a server, or of its flavour, that tells how many volumes it can have. In a flavour it may be written
/// with `:` for `/`, as extra specs are.
pub const PROPERTY: &str = "csi.fairlead.dev/max-volumes";
/// How long a count is relied upon. A server is only ever refused by a fresh one.
const FRESH: Duration = Duration::from_secs(60);
/// How long a server's property is relied upon.
const PROPERTIES: Duration = Duration::from_secs(3600);

/// What is known of one server.
#[derive(Debug, Default)]
struct Count {
    /// Its property, and when it was read.
    property: Option<(Instant, Option<u32>)>,
    /// The volumes that it has, when Nova was asked last and by what was done since.
    held: HashSet<String>,
    counted: Option<Instant>,
    /// Those of them whose attach Nova may not list yet.
    pending: HashSet<String>,
}

/// The limits of a cloud's servers.
#[derive(Debug)]
pub(super) struct Limits {
    client: Client,
    per_server: Option<u32>,
    counts: Mutex<HashMap<String, Arc<Turn<Count>>>>,
}

impl Limits {
    pub(super) fn new(client: &Client, per_server: Option<u32>) -> Self {
        Self { client: client.clone(), per_server, counts: Mutex::default() }
    }

    fn count(&self, server: &str) -> Arc<Turn<Count>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.entry(server.to_owned()).or_default())
    }

    /// Takes a place on the server for a volume, before it is attached.
    ///
    /// # Errors
    /// `ResourceExhausted` with the counts, `NotFound` for the server. `node` is its name, for people.
    pub(super) async fn take(&self, server: &str, node: &str, volume: &str) -> Result<()> {
        let count = self.count(server);
        let mut count = count.lock().await;
        let Some(limit) = self.limit(&mut count, server).await? else { return Ok(()) };
        let fits = |count: &Count| {
            count.held.contains(volume) || u32::try_from(count.held.len()).is_ok_and(|held| held < limit)
        };
        let fresh = count.counted.is_some_and(|counted| counted.elapsed() < FRESH);
        if !fresh || !fits(&count) {
            let listed = self.client.server_volumes(server).await?;
            count.held = listed.into_iter().map(|one| one.volume_id).collect();
            count.held = count.held.union(&count.pending).cloned().collect();
            count.counted = Some(Instant::now());
        }
        if !fits(&count) {
            return Err(full(node, count.held.len(), limit));
        }
        count.held.insert(volume.to_owned());
        count.pending.insert(volume.to_owned());
        Ok(())
    }

    /// The place that was taken for a volume shows on Nova's list now, or is not needed.
    pub(super) async fn settle(&self, server: &str, volume: &str, attached: bool) {
        let count = self.count(server);
        let mut count = count.lock().await;
        count.pending.remove(volume);
        if !attached {
            count.held.remove(volume);
        }
    }

    async fn limit(&self, count: &mut Count, server: &str) -> Result<Option<u32>> {
        if self.per_server.is_some() {
            return Ok(self.per_server);
        }
        if let Some((read, limit)) = count.property
            && read.elapsed() < PROPERTIES
        {
            return Ok(limit);
        }
        let usual = self.client.dialect().per_server;
        let limit = property(&self.client.server(server).await?).or(usual);
        count.property = Some((Instant::now(), limit));
        Ok(limit)
    }

    /// Says how full the server is that the cloud refused to give another volume.
    pub(super) async fn refused(&self, server: &str, node: &str, refusal: Error) -> Error {
        let Ok(listed) = self.client.server_volumes(server).await else { return refusal };
        let (held, message) = (listed.len(), refusal.message().to_owned());
        let text = format!("server {node} holds {held} volumes, and the cloud allows no more");
        Error::refused(Kind::ResourceExhausted, text).and(message).caused_by(refusal)
    }
}

fn full(node: &str, held: usize, limit: u32) -> Error {
    let text = format!("server {node} holds {held} of {limit} volumes: detach one first");
    Error::refused(Kind::ResourceExhausted, text)
}

/// What a server says of its limit. Nonsense is no limit, and is told once an hour.
fn property(server: &Server) -> Option<u32> {
    let spec = PROPERTY.replace('/', ":");
    let specs = &server.flavor.extra_specs;
    let text = server.metadata.get(PROPERTY).or_else(|| specs.get(PROPERTY)).or_else(|| specs.get(&spec))?;
    let limit = text.trim().parse().ok();
    if limit.is_none() {
        tracing::warn!(
            server = server.id,
            value = text,
            "{PROPERTY} is no number: the server counts as without a limit"
        );
    }
    limit
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_server_s_property_wins_over_its_flavour_s() {
        let limit = |server: Value| property(&serde_json::from_value(server).unwrap());
        let spec = json!({"extra_specs": {"csi.fairlead.dev:max-volumes": "14"}});
        assert_eq!(limit(json!({"id": "s", "flavor": spec})), Some(14));
        assert_eq!(limit(json!({"id": "s", "flavor": spec, "metadata": {PROPERTY: " 7"}})), Some(7));
        assert_eq!(limit(json!({"id": "s", "metadata": {PROPERTY: "many"}})), None);
        assert_eq!(limit(json!({"id": "s"})), None);
    }
}
