//! Snapshots and groups of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Cloud;
use super::client::{Name, Retry, SnapshotOrder as ApiOrder};
use super::model;
use super::names;
use super::volumes::{ROUNDS, clash};
use crate::backend::{GroupOrder, Listing, Page, SnapshotFilter, SnapshotOrder, paging};
use crate::error::{Error, Kind, Outcome, Result};
use crate::volume::{Bytes, GroupSnapshot, NativeId, Snapshot};

impl Cloud {
    /// Cuts a snapshot, or finds the one that an earlier try cut.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create_snapshot`].
    pub(super) async fn create_snapshot(&self, order: &SnapshotOrder) -> Result<Snapshot> {
        order.parameters.reader().finish()?;
        let name = self.config.prefix.snapshot(&order.name)?;
        let told = |error: Error| error.with("snapshot", &name);
        let _turn = self.turns.take(&name).await;
        if let Some(found) = self.find_snapshot(&name).await? {
            return self.same_snapshot(order, &found).map_err(told);
        }
        let mut tags = names::owned(&self.config.cluster, &order.name)?;
        tags.insert(names::SOURCE.to_owned(), format!("v:{}", order.volume));
        let plan =
            ApiOrder { volume: order.volume.to_string(), name: name.clone(), tags, delete_after: None };
        let mut retry = Retry::default();
        let mut rounds = 0;
        let made = loop {
            let mut taken = false;
            match self.client.create_snapshot(&plan).await {
                Ok(()) => {}
                Err(failure) if failure.is(&Name::Exists) => taken = true,
                Err(failure) if failure.is(&Name::Missing) => {
                    return Err(retry.judge(failure).with("volume", &order.volume));
                }
                Err(failure) => retry.again(failure).await.map_err(told)?,
            }
            if let Some(found) = self.find_snapshot(&name).await? {
                break found;
            }
            if taken && self.find(&name).await?.is_some() {
                return Err(told(clash("a volume")));
            }
            rounds += 1;
            if rounds > ROUNDS {
                return Err(told(Error::busy("others cut and delete it at the same time")));
            }
        };
        self.same_snapshot(order, &made).map_err(told)
    }

    pub(super) async fn find_snapshot(&self, name: &str) -> Result<Option<model::Snapshot>> {
        match self.client.snapshot(name).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The snapshot that is there, where it is the one that is ordered.
    fn same_snapshot(&self, order: &SnapshotOrder, found: &model::Snapshot) -> Result<Snapshot> {
        let differs = |what: String| Err(Error::refused(Kind::AlreadyExists, what));
        if !self.is_ours(&found.name, &found.tags) {
            return differs("a snapshot of that name is there, and it is not this driver's".to_owned());
        }
        let snapshot = self.snapshot(found)?;
        if snapshot.volume != order.volume || snapshot.group.is_some() {
            let of = &snapshot.volume;
            return differs(format!("a snapshot named {:?} exists, of the volume {of}", order.name));
        }
        Ok(snapshot)
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete_snapshot`].
    pub(super) async fn delete_snapshot(&self, id: &str) -> Result<()> {
        let _turn = self.turns.take(id).await;
        let Some(found) = self.find_snapshot(id).await? else { return Ok(()) };
        if let Some(group) = self.config.prefix.group_of(&found.name, &found.tags) {
            let text = format!("it is a member of the group snapshot {group}: delete that");
            return Err(Error::invalid(text).with("snapshot", id));
        }
        if !self.is_ours(&found.name, &found.tags) && !names::is_global_id(id) {
            let text = "it is not this driver's, so it is not deleted: delete it in StorPool";
            return Err(Error::precondition(text).with("snapshot", id));
        }
        self.erase_snapshot(id, &found.global_id).await
    }

    /// Deletes the snapshot that has this global id, too, as a volume is deleted.
    pub(super) async fn erase_snapshot(&self, id: &str, global_id: &str) -> Result<()> {
        let told = |error: Error| error.with("snapshot", id);
        let this = names::exact(id, global_id);
        let mut retry = Retry::default();
        loop {
            match self.client.delete_snapshot(this).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is(&Name::Missing) => return Ok(()),
                Err(failure) if failure.is(&Name::Busy) => {
                    let error = retry.judge(failure).with_kind(Kind::FailedPrecondition);
                    return Err(told(error.with_outcome(Outcome::Refused)));
                }
                Err(failure) => retry.again(failure).await.map_err(told)?,
            }
            if self.find_snapshot(this).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// One snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn get_snapshot(&self, id: &str) -> Result<Snapshot> {
        self.snapshot(&self.client.snapshot(id).await?)
    }

    /// The snapshots of ours that pass the filter, by name.
    ///
    /// # Errors
    /// `BadToken`; why the cluster does not tell.
    pub(super) async fn list_snapshots(
        &self,
        filter: &SnapshotFilter,
        page: &Page,
    ) -> Result<Listing<Snapshot>> {
        let all = self.client.snapshots().await?;
        let ours = all.iter().filter(|found| self.is_ours(&found.name, &found.tags));
        let ours: Vec<Snapshot> = ours.map(|found| self.snapshot(found)).collect::<Result<_>>()?;
        let fits = |found: &Snapshot| {
            filter.snapshot.as_ref().is_none_or(|id| found.id == *id)
                && filter.volume.as_ref().is_none_or(|id| found.volume == *id)
        };
        let mut fitting: Vec<_> =
            ours.into_iter().filter(fits).map(|found| (found.id.clone(), found)).collect();
        fitting.sort_by(|one, other| one.0.cmp(&other.0));
        paging::page(fitting, page, |_, found| Ok(Some(found)))
    }

    /// Cuts a group, or finds the one that an earlier try cut. Its members' names are the group's and a number, so that two
    /// groups of one name cannot be there at once; one call cuts all of them or none.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::create_group`].
    pub(super) async fn create_group(&self, order: &GroupOrder) -> Result<GroupSnapshot> {
        order.parameters.reader().finish()?;
        let id = self.config.prefix.group(&order.name)?;
        let told = |error: Error| error.with("group", &id);
        let _turn = self.turns.take(&id).await;
        let volumes: BTreeSet<&NativeId> = order.volumes.iter().collect();
        if let Some(found) = self.find_group(&id).await? {
            return self.same_group(order, found).map_err(told);
        }
        if self.client.is_everywhere() {
            self.check_together(&volumes).await.map_err(told)?;
        }
        let mut plan = Vec::new();
        for (place, volume) in volumes.iter().enumerate() {
            let mut tags = names::owned(&self.config.cluster, &order.name)?;
            tags.insert(names::SOURCE.to_owned(), format!("v:{volume}"));
            tags.insert(names::GROUP.to_owned(), place.to_string());
            let name = self.config.prefix.member(&id, place);
            plan.push(ApiOrder { volume: volume.to_string(), name, tags, delete_after: None });
        }
        let mut retry = Retry::default();
        for _ in 0..ROUNDS {
            match self.client.create_group(&plan).await {
                Ok(()) => {}
                Err(failure) if failure.is(&Name::Exists) => {
                    return match self.find_group(&id).await? {
                        Some(found) => self.same_group(order, found).map_err(told),
                        None => Err(told(clash("something else"))),
                    };
                }
                Err(failure) => retry.again(failure).await.map_err(told)?,
            }
            if let Some(found) = self.find_group(&id).await? {
                return self.same_group(order, found).map_err(told);
            }
        }
        Err(told(Error::busy("others cut and delete it at the same time")))
    }

    /// Refuses volumes that are in several clusters: nothing tells whether these can be cut at one moment.
    async fn check_together(&self, volumes: &BTreeSet<&NativeId>) -> Result<()> {
        let mut clusters = BTreeMap::new();
        for volume in volumes {
            clusters.insert(self.client.volume(volume.as_str()).await?.cluster_id, volume.as_str());
        }
        match clusters.len() {
            0 | 1 => Ok(()),
            _ => {
                let told: Vec<_> = clusters
                    .iter()
                    .map(|(cluster, volume)| format!("{volume} in {}", cluster.as_deref().unwrap_or("none")))
                    .collect();
                let text = format!(
                    "a group snapshot is of volumes in one StorPool cluster, and these are in several: {}; a volume moves \
                     to a cluster when a node there gets it",
                    told.join(", ")
                );
                Err(Error::precondition(text))
            }
        }
    }

    fn same_group(&self, order: &GroupOrder, found: GroupSnapshot) -> Result<GroupSnapshot> {
        let wanted: BTreeSet<_> = order.volumes.iter().collect();
        let has: BTreeSet<_> = found.members.iter().map(|member| &member.volume).collect();
        if wanted == has {
            return Ok(found);
        }
        let has: Vec<_> = has.iter().map(ToString::to_string).collect();
        let text = format!("a group snapshot named {:?} exists, of {}", order.name, has.join(", "));
        Err(Error::refused(Kind::AlreadyExists, text))
    }

    /// Whether a snapshot is of this group, and ours.
    fn is_member(&self, found: &model::Snapshot, group: &str) -> bool {
        let of = self.config.prefix.group_of(&found.name, &found.tags);
        self.is_ours(&found.name, &found.tags) && of.as_deref() == Some(group)
    }

    /// The group with the members that are there; `None` where there are none.
    async fn find_group(&self, id: &str) -> Result<Option<GroupSnapshot>> {
        let all = self.client.snapshots().await?;
        let members: Vec<_> = all.iter().filter(|found| self.is_member(found, id)).collect();
        let Some(first) = members.first() else { return Ok(None) };
        let (name, created) = (self.config.prefix.csi_name(id, &first.tags), first.created());
        let mut members =
            members.into_iter().map(|found| self.snapshot(found)).collect::<Result<Vec<_>>>()?;
        members.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(Some(GroupSnapshot { id: id.parse()?, name, created, members }))
    }

    /// One group.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) async fn get_group(&self, id: &str) -> Result<GroupSnapshot> {
        let found = self.find_group(id).await?;
        found.ok_or_else(|| Error::not_found("there is no such group snapshot").with("group", id))
    }

    /// Deletes a group with its members. What an earlier try deleted already is not missed.
    ///
    /// # Errors
    /// As [`crate::backend::Backend::delete_group`].
    pub(super) async fn delete_group(&self, id: &str, members: &[NativeId]) -> Result<()> {
        let _turn = self.turns.take(id).await;
        let all = self.client.snapshots().await?;
        // What has a name that is too long for an id is none that anybody was told of.
        let there: BTreeMap<NativeId, &model::Snapshot> =
            all.iter().filter_map(|found| Some((names::id(&found.name).ok()?, found))).collect();
        let of_group: BTreeMap<_, _> = there.iter().filter(|(_, found)| self.is_member(found, id)).collect();
        let others = |text: String| Err(Error::invalid(text).with("group", id));
        if let Some(left) = of_group.keys().find(|member| !members.contains(member)) {
            return others(format!(
                "{left} belongs to the group snapshot too, and is not among the members told"
            ));
        }
        if let Some(other) =
            members.iter().find(|member| there.contains_key(member) && !of_group.contains_key(member))
        {
            return others(format!("{other} does not belong to the group snapshot"));
        }
        for (member, found) in of_group {
            self.erase_snapshot(member.as_str(), &found.global_id).await?;
        }
        Ok(())
    }

    /// A snapshot, to the house.
    ///
    /// # Errors
    /// `Internal` for what the house cannot hold.
    fn snapshot(&self, found: &model::Snapshot) -> Result<Snapshot> {
        let volume = match found.tags.get(names::SOURCE).and_then(|tag| tag.strip_prefix("v:")) {
            Some(volume) => volume.parse()?,
            None => names::id(&found.on_volume)?,
        };
        let group = self.config.prefix.group_of(&found.name, &found.tags);
        let group = group.map(|group| group.parse()).transpose()?;
        // A member's tags have the group's name.
        let name = match &group {
            Some(_) => self.config.prefix.csi_name(&found.name, &model::Tags::new()),
            None => self.config.prefix.csi_name(&found.name, &found.tags),
        };
        Ok(Snapshot {
            id: names::id(&found.name)?,
            name,
            volume,
            size: Bytes::new(found.size),
            created: found.created(),
            ready: !found.recovering_from_remote,
            group,
        })
    }
}
