//! Groups of volumes, and their snapshots.

use serde_json::json;

use crate::backend::cinder::dialect::Feature;
use crate::backend::cinder::identity::{Microversion, Service};
use crate::backend::cinder::model::{Begun, Group, GroupSnapshot, GroupType};
use crate::error::Result;
use crate::http::Method;

use super::{Call, Client, Need};

/// Groups with their members (3.25), and group snapshots with paging (3.29).
const GROUPS: Need = Need::Exactly(Microversion(3, 29));

/// What to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOrder {
    /// Its name; not unique.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The group type's name or id.
    pub group_type: String,
    /// The types of the volumes that may come in, by name or id.
    pub volume_types: Vec<String>,
    /// Where; `None`: anywhere.
    pub availability_zone: Option<String>,
}

impl Client {
    /// The types of groups.
    ///
    /// # Errors
    /// `Unsupported` where the cloud has no groups; so for all calls here.
    pub async fn group_types(&self) -> Result<Vec<GroupType>> {
        self.pages(call(Method::GET, "list group types", &["group_types"])).await
    }

    /// Begins to make a group, and tells its id. Never sent twice by itself.
    ///
    /// # Errors
    /// `InvalidArgument` for a type that is none; `ResourceExhausted` for a quota.
    pub async fn create_group(&self, order: &GroupOrder) -> Result<String> {
        let mut group =
            json!({"name": order.name, "group_type": order.group_type, "volume_types": order.volume_types});
        if let Some(text) = &order.description {
            group["description"] = json!(text);
        }
        if let Some(zone) = &order.availability_zone {
            group["availability_zone"] = json!(zone);
        }
        let call = call(Method::POST, "create group", &["groups"]).body(json!({"group": group}));
        Ok(self.read::<Begun>(&call, "group").await?.id)
    }

    /// A group with its members.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn group(&self, id: &str) -> Result<Group> {
        let call = call(Method::GET, "get group", &["groups", id]).query("list_volume", true);
        self.read(&call, "group").await
    }

    /// All groups of the project with their members.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn groups(&self) -> Result<Vec<Group>> {
        self.pages(call(Method::GET, "list groups", &["groups", "detail"]).query("list_volume", true)).await
    }

    /// Begins to take volumes into a group and out of it.
    ///
    /// # Errors
    /// `InvalidArgument` or `FailedPrecondition` for a volume that does not fit.
    pub async fn change_group(&self, id: &str, add: &[String], remove: &[String]) -> Result<()> {
        let mut group = json!({});
        if !add.is_empty() {
            group["add_volumes"] = json!(add.join(","));
        }
        if !remove.is_empty() {
            group["remove_volumes"] = json!(remove.join(","));
        }
        let call = call(Method::PUT, "change group", &["groups", id]).body(json!({"group": group}));
        self.send(&call).await.map(drop)
    }

    /// Begins to delete a group that has no members.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` while it has members or snapshots.
    pub async fn delete_group(&self, id: &str) -> Result<()> {
        let call = call(Method::POST, "delete group", &["groups", id, "action"]);
        self.send(&call.body(json!({"delete": {"delete-volumes": false}}))).await.map(drop)
    }

    /// Begins to cut snapshots of all members at once, and tells the group snapshot's id. Never sent twice by itself.
    ///
    /// # Errors
    /// `NotFound` for the group; `FailedPrecondition` in a state that forbids it.
    pub async fn create_group_snapshot(&self, group: &str, name: &str) -> Result<String> {
        let body = json!({"group_snapshot": {"group_id": group, "name": name}});
        let call = call(Method::POST, "create group snapshot", &["group_snapshots"]).body(body);
        Ok(self.read::<Begun>(&call, "group_snapshot").await?.id)
    }

    /// A group snapshot. Its members are snapshots that bear its id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn group_snapshot(&self, id: &str) -> Result<GroupSnapshot> {
        self.read(&call(Method::GET, "get group snapshot", &["group_snapshots", id]), "group_snapshot").await
    }

    /// All group snapshots of the project.
    ///
    /// # Errors
    /// Where the list cannot be had.
    pub async fn group_snapshots(&self) -> Result<Vec<GroupSnapshot>> {
        self.pages(call(Method::GET, "list group snapshots", &["group_snapshots", "detail"])).await
    }

    /// Begins to delete a group snapshot with its members.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` in a state that forbids it.
    pub async fn delete_group_snapshot(&self, id: &str) -> Result<()> {
        self.send(&call(Method::DELETE, "delete group snapshot", &["group_snapshots", id])).await.map(drop)
    }
}

fn call<'a>(method: Method, operation: &'static str, path: &[&'a str]) -> Call<'a> {
    Call::new(Service::Volume, method, operation, path).need(GROUPS).of(Feature::Groups)
}
