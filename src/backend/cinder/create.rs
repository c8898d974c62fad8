//! Making volumes, so that a name has one volume whatever becomes of the calls.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::backend::VolumeOrder;
use crate::backend::cinder::client::{self, Source};
use crate::backend::cinder::model;
use crate::error::{Error, Kind, Outcome, Result};
use crate::flight::phase;
use crate::volume::{Access, Bytes, Volume};

use super::attach::{CONTENT, DATA, Turn};
use super::dialect::Keeping;
use super::model::described;
use super::notes::{self, Name, Notes};
use super::parameters::Class;
use super::twins::{self, Twins};
use super::watch::pace;
use super::{Cloud, wait};

/// How often one call orders: what was ordered before was made, and deleted by others meanwhile.
const ORDERS: u32 = 4;
/// How long a create whose answer was lost is looked for. A cloud behind a proxy that gave up finishes its request.
const LATE: Duration = Duration::from_secs(10);
/// How long to wait between two such looks.
const LOOK: Duration = Duration::from_millis(500);

impl Cloud {
    /// Makes the volume, or finds it.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create`].
    pub(super) async fn create(self: &Arc<Self>, order: &VolumeOrder) -> Result<Volume> {
        let class = Class::read(self.dialect(), &order.parameters, &order.mutable)?;
        let name = Name::new(&self.config, &order.name)?;
        let turn = self.turns.take(&format!("volume {}", name.cloud)).await;
        let mut making =
            Making { cloud: self, order, class, name, made: None, failure: None, at_server: None };
        let mut made = making.run().await;
        making.at_server = None;
        if let (Err(error), Some(own)) = (&made, &making.made)
            && error.outcome() == Outcome::Refused
        {
            // Nothing may be left of what this call ordered.
            made = self.clear_away(own).await.and(made);
        }
        let name = &making.name.cloud;
        drop(turn);
        // An earlier order of this name may still be carried out, so that nothing is final.
        made.map_err(
            |error| if self.suspects.has(name) { error.with_outcome(Outcome::Unknown) } else { error },
        )
    }

    /// Removes what a create leaves over. Where that fails, the volume is there, so the create has not ended.
    async fn clear_away(&self, id: &str) -> Result<()> {
        self.remove(id).await.map_err(|error| error.with_outcome(Outcome::Unknown))
    }

    /// What has this name.
    pub(super) async fn twins(&self, name: &Name) -> Result<Twins<model::Volume>> {
        let listed = self.client.volumes(&[("name", name.cloud.clone())]).await?;
        Ok(twins::sort(name, listed))
    }
}

/// One call under way.
struct Making<'a> {
    cloud: &'a Arc<Cloud>,
    order: &'a VolumeOrder,
    class: Class,
    name: Name,
    /// The volume that this call ordered.
    made: Option<String>,
    /// Why that one came to nothing.
    failure: Option<Error>,
    /// The turn at the server on which it is being made.
    at_server: Option<Turn>,
}

/// What came of an order.
enum Ordered {
    /// It is under way. When it was made by the cloud's clock; `None`: it has to be looked for by its name.
    Begun(Option<SystemTime>),
    /// Something else has to end first.
    Later(Error),
}

impl Making<'_> {
    async fn run(&mut self) -> Result<Volume> {
        let _waiting = self.cloud.newcomers.wait();
        let (began, mut since) = (Instant::now(), None);
        let (mut orders, mut looks, mut ordered) = (0, 0, None::<Instant>);
        loop {
            let twins = match since {
                None if self.cloud.dialect().filters => self.cloud.twins(&self.name).await?,
                since => {
                    let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
                    let listed = self.cloud.newcomers.of(&self.cloud.client, &self.name, since).await?;
                    twins::sort(&self.name, listed)
                }
            };
            for volume in &twins.failed {
                self.at_server = None;
                self.bury(volume).await?;
            }
            looks += 1;
            match twins.first {
                Some(first) if self.cloud.is_settled(&first) => {
                    self.at_server = None;
                    if let Some(ordered) = ordered {
                        self.cloud.newcomers.found(looks, ordered.elapsed());
                    }
                    return self.end(first, twins.younger).await;
                }
                Some(first) if first.status.is_error() => return Err(unusable(&first)),
                Some(first) => {
                    self.check(&first)?;
                    since = first.created_at.or(since);
                }
                None if self.failure.is_some() => return Err(self.failure.take().unwrap_or_else(changing)),
                None if orders == ORDERS => return Err(changing().with("name", &self.name.cloud)),
                None => {
                    match self.order().await? {
                        Ordered::Begun(at) => {
                            orders += 1;
                            since = at;
                            (looks, ordered) = (0, Some(Instant::now()));
                            tokio::time::sleep(self.cloud.newcomers.first()).await;
                        }
                        Ordered::Later(conflict) if began.elapsed() > wait::LIMIT => return Err(conflict),
                        Ordered::Later(_) => {
                            phase("wait for another copy of the source");
                            tokio::time::sleep(pace::next(began.elapsed())).await;
                        }
                    }
                    continue;
                }
            }
            if began.elapsed() > wait::LIMIT {
                let text = format!("it is still being made after {:.0} s", began.elapsed().as_secs_f64());
                return Err(Error::unknown(Kind::Timeout, text).with("name", &self.name.cloud));
            }
            tokio::time::sleep(self.cloud.newcomers.next(ordered.unwrap_or(began).elapsed())).await;
        }
    }

    /// The volume is there: it must be what was ordered, and the only one.
    async fn end(&self, mut first: model::Volume, mut younger: Vec<model::Volume>) -> Result<Volume> {
        let ours = self.made.as_ref() == Some(&first.id);
        let missing = self.missing(&first);
        first.metadata.extend(missing.clone());
        let checked = self.check(&first);
        if ours {
            self.as_ordered(&first, checked).await?;
        } else {
            checked?;
            if self.is_wrongly_for_one(&first) {
                let text = format!(
                    "a volume named {:?} exists, and its type is for one server at a time; several nodes are to have it",
                    self.order.name
                );
                return Err(Error::refused(Kind::AlreadyExists, text).with("volume", &first.id));
            }
        }
        if let Some(own) = self.made.as_ref().filter(|own| **own != first.id) {
            // Nobody else was given it, so it is waited for where it is still being made.
            self.cloud.clear_away(own).await?;
        }
        if !missing.is_empty() {
            self.cloud.client.note_on_volume(&first.id, &missing).await?;
        }
        younger.retain(|twin| self.made.as_ref() != Some(&twin.id));
        self.cloud.remove_twins(&self.name, &first.id, &younger).await;
        self.cloud.attacher.saw(&first);
        self.cloud.volume(&first)
    }

    /// Whether the volume that this call ordered became what was ordered: a cloud may choose another zone than the one
    /// that was named, and the operator's limits may have been reached by others at the same time.
    async fn as_ordered(&self, volume: &model::Volume, checked: Result<()>) -> Result<()> {
        if let Err(error) = checked {
            let text = format!(
                "the cloud made it otherwise than ordered, so it is removed again: {}",
                error.message()
            );
            return Err(Error::refused(Kind::ResourceExhausted, text));
        }
        if self.is_wrongly_for_one(volume) {
            return Err(self.cloud.not_shared(volume.volume_type.as_deref().unwrap_or_default()));
        }
        self.cloud.confirm(&volume.id).await
    }

    /// Whether one server at a time can have it, and more are to.
    fn is_wrongly_for_one(&self, volume: &model::Volume) -> bool {
        !volume.multiattach && self.order.access.iter().any(|access| access.mode.multi_node())
    }

    /// Removes a volume that could not be made. It was never given out.
    async fn bury(&mut self, volume: &model::Volume) -> Result<()> {
        let why = self.cloud.told_about(&volume.id).await;
        tracing::warn!(
            volume = volume.id,
            name = self.name.cloud,
            why,
            "a volume that could not be made is removed"
        );
        self.cloud.clear_away(&volume.id).await?;
        if self.made.as_ref() == Some(&volume.id) {
            self.made = None;
            self.failure = Some(failure(&why).with("volume", &volume.id));
        }
        Ok(())
    }

    /// Orders it. What becomes of it shows in the next looks.
    async fn order(&mut self) -> Result<Ordered> {
        let order = self.plan().await?;
        self.cloud.admit(1, order.size, order.volume_type.as_deref()).await?;
        let create = || self.cloud.client.create_volume(&order);
        let made = match &order.server {
            None => create().await,
            Some(server) => match self.cloud.attacher.at_server(server, create).await {
                Ok((made, turn)) => {
                    self.at_server = turn;
                    Ok(made)
                }
                // The server was busy all the time, and nothing was ordered.
                Err(error) if error.kind() == Kind::Busy => return Err(error.with("server", server)),
                Err(error) => Err(error),
            },
        };
        match made {
            Ok(volume) => {
                self.made = Some(volume.id);
                Ok(Ordered::Begun(volume.created_at))
            }
            Err(error) if self.cloud.dialect().is_conflict(&error) => Ok(Ordered::Later(error)),
            Err(error) if error.outcome() == Outcome::Refused => Err(self.cloud.explain(error, &order).await),
            Err(error) => self.look_for_lost(error).await.map(|()| Ordered::Begun(None)),
        }
    }

    /// After a lost answer: what was ordered may be there, or come, or not. It is never ordered twice from here.
    async fn look_for_lost(&mut self, error: Error) -> Result<()> {
        let until = Instant::now() + LATE;
        self.cloud.suspects.add(&self.name.cloud);
        loop {
            let twins = self.cloud.twins(&self.name).await?;
            if twins.first.is_some() || !twins.failed.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(error.and("no volume of that name has appeared since; it may still appear"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What to ask the cloud for.
    async fn plan(&self) -> Result<client::VolumeOrder> {
        let (order, class, cloud) = (self.order, &self.class, self.cloud);
        let (source, floor) = cloud.source(order, class).await?;
        let volume_type = class.volume_type.clone().or_else(|| cloud.config.volume_type.clone());
        let volume_type = cloud.kind(volume_type).await?;
        let size = order.size.choose(cloud.sizes(volume_type.as_deref()), floor)?;
        cloud.check_shared(order, volume_type.as_deref())?;
        let metadata = self.notes(source.as_ref());
        cloud.fit(&metadata)?;
        Ok(client::VolumeOrder {
            name: self.name.cloud.clone(),
            description: None,
            size: size.get() / Bytes::gib(1).get(),
            availability_zone: cloud.zone(order, class, source.as_ref())?,
            source,
            server: cloud.server(order, volume_type.as_deref())?,
            volume_type,
            metadata,
            hints: class.hints.clone(),
        })
    }

    /// What is to be noted about it.
    fn notes(&self, source: Option<&Source>) -> Notes {
        let mut notes = self.class.notes.clone();
        notes.extend(notes::owner(&self.order.owner));
        notes.extend(self.name.notes());
        // What can be noted later may be lost in a race there, and this must not.
        if self.cloud.dialect().notes.later != Keeping::Metadata
            && self.order.access.iter().any(Access::is_block)
        {
            notes.insert(CONTENT.to_owned(), DATA.to_owned());
        }
        notes.extend(source.map(|source| (notes::SOURCE.to_owned(), notes::source(source))));
        notes
    }

    /// What has still to be noted about it, where that is done only once it is there. What an order's description already
    /// says of a volume is never said anew: it tells what the volume is, not what is asked for now.
    fn missing(&self, volume: &model::Volume) -> Notes {
        let keeping = self.cloud.dialect().notes;
        let mut notes = self.notes(self.origin().as_ref());
        let late = match (keeping.ordered, keeping.later) {
            (Keeping::Nowhere, _) => self.name.lacks(&volume.metadata),
            (Keeping::Description, Keeping::Metadata) => {
                notes.retain(|key, _| !described::is_own(key) && !volume.metadata.contains_key(key));
                true
            }
            _ => false,
        };
        if late { notes } else { Notes::new() }
    }

    /// What it is made from, by the order alone.
    fn origin(&self) -> Option<Source> {
        use crate::volume::Source as From;
        match &self.order.source {
            None => self.class.image.clone().map(Source::Image),
            Some(From::Volume(id)) => Some(Source::Volume(id.to_string())),
            Some(From::Snapshot(id)) => Some(match notes::cut(id) {
                notes::Cut::Snapshot(id) => Source::Snapshot(id.to_owned()),
                notes::Cut::Backup(id) => Source::Backup(id.to_owned()),
            }),
        }
    }

    /// Whether a volume is the one that is ordered.
    fn check(&self, volume: &model::Volume) -> Result<()> {
        let cloud = self.cloud;
        self.order.check(&cloud.volume(volume)?)?;
        let differs = |what: &str, found: Option<&str>, asked: &str| {
            let found = found.unwrap_or("none");
            let text = format!(
                "a volume named {:?} exists with another {what}, {found}; {asked} is asked for",
                self.order.name
            );
            Err(Error::refused(Kind::AlreadyExists, text).with("volume", &volume.id))
        };
        let wanted = self.class.volume_type.as_deref();
        let found = volume.volume_type.as_deref();
        if let Some(wanted) = wanted
            && found.is_some_and(|found| !cloud.types.is_same(found, wanted))
        {
            return differs("type", found, wanted);
        }
        let found = volume.availability_zone.as_deref();
        if let Some(wanted) = &self.class.zone
            && found != Some(wanted)
        {
            return differs("zone", found, wanted);
        }
        let found = volume.metadata.get(notes::SOURCE).and_then(|note| note.strip_prefix("image:"));
        if found != self.class.image.as_deref() {
            return differs("image", found, self.class.image.as_deref().unwrap_or("none"));
        }
        Ok(())
    }
}

fn changing() -> Error {
    Error::unknown(Kind::Unavailable, "the volumes of that name change faster than they can be looked at")
}

/// One that was made once, and is no use now.
fn unusable(volume: &model::Volume) -> Error {
    let text =
        format!("a volume of that name exists and is {}: an administrator must mend it", volume.status);
    Error::unknown(Kind::FailedPrecondition, text).with("volume", &volume.id)
}

/// Why a volume could not be made, as the cloud tells its users.
fn failure(why: &str) -> Error {
    let text = format!("the cloud could not make the volume: {why}; what was begun is removed");
    // "schedule allocate volume: Could not find any available weighted backend." (cinder/message/message_field.py)
    if why.contains("weighted backend") || why.contains("No valid backend") {
        return Error::refused(Kind::ResourceExhausted, text);
    }
    Error::unknown(Kind::Unavailable, text)
}

impl Cloud {
    /// What a volume is to be made from, and how large it must be at least.
    async fn source(&self, order: &VolumeOrder, class: &Class) -> Result<(Option<Source>, Option<Bytes>)> {
        use crate::volume::Source as From;
        if let (Some(_), Some(image)) = (&order.source, &class.image) {
            return Err(Error::invalid(format!(
                "the parameter \"imageID\" names {image:?}, and the volume is to be made from something else: it can be one only"
            )));
        }
        Ok(match &order.source {
            None => (class.image.clone().map(Source::Image), None),
            Some(From::Volume(id)) => {
                let volume = self.client.volume(id.as_str()).await?;
                (Some(Source::Volume(volume.id)), Some(Bytes::gib(volume.size)))
            }
            Some(From::Snapshot(id)) => match notes::cut(id) {
                notes::Cut::Snapshot(id) => {
                    let snapshot = self.client.snapshot(id).await?;
                    (Some(Source::Snapshot(snapshot.id)), Some(Bytes::gib(snapshot.size)))
                }
                notes::Cut::Backup(id) => {
                    let backup = self.client.backup(id).await?;
                    (Some(Source::Backup(backup.id)), Some(Bytes::gib(backup.size)))
                }
            },
        })
    }
}
