//! How the cloud is asked for what is waited for.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use crate::backend::cinder::client::Client;
use crate::backend::cinder::model::{Backup, Group, GroupSnapshot, ServerAttachment, Snapshot};
use crate::error::{Error, Kind, Result};

/// Objects that are asked for at once, one by one.
const AT_ONCE: usize = 8;

/// How long a look may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The answer about one object.
    pub(super) one: Duration,
    /// All answers together: of a look that asks for many the last question is asked early enough to be answered in time.
    pub(super) all: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { one: Duration::from_secs(10), all: Duration::from_secs(20) }
    }
}

impl Bounds {
    /// What is said of an answer that did not come.
    pub(super) fn late(limit: Duration) -> Error {
        let text = format!("the cloud did not answer within {:.0} s", limit.as_secs_f64());
        Error::unknown(Kind::Timeout, text)
    }
}

/// An object that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) id: Arc<str>,
    /// Since when the first of its waiters waits.
    pub(super) since: SystemTime,
    /// When it was last asked for, or the first of its waiters came.
    pub(super) asked: Instant,
    /// Whether nobody has been shown it yet.
    pub(super) unseen: bool,
    /// Whether the cloud had changed it when that wait began.
    pub(super) touched: bool,
    /// Whether it is its turn. The others are looked at where that costs nothing.
    pub(super) due: bool,
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Found<T> {
    /// What is known now: the object, or that it is gone. An object that is not here was not seen this time.
    pub(super) objects: HashMap<Arc<str>, Option<T>>,
    /// Looked for, and not seen for a good reason.
    pub(super) untouched: Vec<Arc<str>>,
    /// Asked for in vain, and why.
    pub(super) missed: HashMap<Arc<str>, Error>,
    /// Why some were not seen.
    pub(super) failure: Option<Error>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), untouched: Vec::new(), missed: HashMap::new(), failure: None }
    }
}

/// A kind of object that can be waited for.
#[async_trait]
pub(super) trait Watched: Debug + Sized + Send + Sync + 'static {
    /// Its name, for messages.
    const WHAT: &'static str;
    /// When it is first looked for, after a wait began.
    const FIRST: Duration = Duration::from_millis(200);
    /// What is remembered from look to look.
    type Memory: Debug + Default + Send;

    /// Asks for one; `NotFound` where it is gone.
    async fn one(client: &Client, id: &str) -> Result<Self>;

    /// Its state in a word or two, for messages.
    fn state(&self) -> String;

    /// Asks for all of these, as cheaply as can be.
    async fn all(client: &Client, _: &mut Self::Memory, subjects: &[Subject], bounds: Bounds) -> Found<Self> {
        each(client, subjects.iter().filter(|subject| subject.due), bounds).await
    }
}

/// Asks for each, first for those that were asked for longest ago. One that does not answer costs its own answer alone;
/// those that are not reached in time are left for the next look.
pub(super) async fn each<'a, T: Watched>(
    client: &Client,
    subjects: impl Iterator<Item = &'a Subject>,
    bounds: Bounds,
) -> Found<T> {
    let mut subjects: Vec<_> = subjects.collect();
    subjects.sort_by_key(|subject| subject.asked);
    let ids: Vec<_> = subjects.into_iter().map(|subject| Arc::clone(&subject.id)).collect();
    let last = Instant::now() + bounds.all.saturating_sub(bounds.one);
    let looks = stream::iter(ids).map(|id| async move {
        if Instant::now() > last {
            return (None, id);
        }
        let look = timeout(bounds.one, T::one(client, &id)).await;
        (Some(look.unwrap_or_else(|_| Err(Bounds::late(bounds.one)))), id)
    });
    let mut looks = looks.buffer_unordered(AT_ONCE);
    let mut found = Found::default();
    while let Some((look, id)) = looks.next().await {
        match look {
            Some(Ok(object)) => drop(found.objects.insert(id, Some(object))),
            Some(Err(error)) if error.is_not_found() => drop(found.objects.insert(id, None)),
            Some(Err(error)) => {
                found.failure = Some(error.clone());
                found.missed.insert(id, error);
            }
            None => {
                let slow =
                    || Error::unknown(Kind::Timeout, "the cloud is too slow to be asked for all at once");
                found.failure.get_or_insert_with(slow);
            }
        }
    }
    found
}

macro_rules! watched {
    ($kind:ty, $what:literal, $get:ident) => {
        #[async_trait]
        impl Watched for $kind {
            const WHAT: &'static str = $what;
            type Memory = ();

            async fn one(client: &Client, id: &str) -> Result<Self> {
                client.$get(id).await
            }

            fn state(&self) -> String {
                self.status.to_string()
            }
        }
    };
}

watched!(Snapshot, "snapshot", snapshot);
watched!(Backup, "backup", backup);
watched!(Group, "group", group);
watched!(GroupSnapshot, "group snapshot", group_snapshot);

#[async_trait]
impl Watched for Vec<ServerAttachment> {
    const WHAT: &'static str = "server";
    /// Nova is asked only when Cinder has said that it is done; a moment lets those who come together share a look.
    const FIRST: Duration = Duration::from_millis(10);
    type Memory = ();

    async fn one(client: &Client, id: &str) -> Result<Self> {
        client.server_volumes(id).await
    }

    fn state(&self) -> String {
        format!("listed with {} volumes", self.len())
    }
}
