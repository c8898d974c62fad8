use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::sky::{Sky, State, fault, id, refused, told, volume};
use crate::backend::{Backend, GroupOrder};
use crate::error::{Kind, Outcome};
use crate::http::fake::{Reply, Seen};
use crate::volume::Parameters;

const CUT: &str = "POST /volume/v3/p1/group_snapshots";

/// The groups of the cloud and their snapshots.
#[derive(Default)]
struct Groups {
    groups: Vec<Value>,
    cuts: Vec<Value>,
    /// The state in which a deletion leaves a group of this id.
    stuck: Option<(&'static str, &'static str)>,
    /// Instead of the answer to an order for a snapshot: whether it is carried out nonetheless.
    lost: Option<bool>,
}

impl Groups {
    fn answer(&mut self, seen: &Seen, state: &mut State) -> Option<Reply> {
        let line = seen.line().replace("/volume/v3/p1/", "");
        let parts: Vec<_> = line.split(['/', ' ']).collect();
        Some(match parts.as_slice() {
            ["GET", "groups", "detail"] => Reply::json(200, json!({"groups": self.groups})),
            ["GET", "group_snapshots", "detail"] => Reply::json(200, json!({"group_snapshots": self.cuts})),
            ["GET", "groups", id] => one("group", &self.groups, id),
            ["GET", "group_snapshots", id] => one("group_snapshot", &self.cuts, id),
            ["POST", "groups"] => {
                let mut made = seen.json()["group"].clone();
                made["id"] = json!(format!("g{}", self.groups.len()));
                (made["status"], made["volumes"]) = (json!("available"), json!([]));
                self.groups.push(made.clone());
                Reply::json(202, json!({"group": made}))
            }
            ["PUT", "groups", id] => {
                let change = &seen.json()["group"];
                let group = self.groups.iter_mut().find(|group| group["id"] == **id)?;
                let added = change["add_volumes"].as_str().map(|ids| ids.split(',').collect::<Vec<_>>());
                group["volumes"] = json!(added.unwrap_or_default());
                Reply::text(202, "text/plain", "")
            }
            ["POST", "groups", id, "action"] => {
                match self.stuck.filter(|(stuck, _)| stuck == id) {
                    Some((_, status)) => {
                        let group = self.groups.iter_mut().find(|group| group["id"] == **id)?;
                        if group["status"] == status {
                            return Some(fault(
                                400,
                                "Invalid group: Group status must be available or error",
                            ));
                        }
                        group["status"] = json!(status);
                    }
                    None => self.groups.retain(|group| group["id"] != **id),
                }
                Reply::text(202, "text/plain", "")
            }
            ["POST", "group_snapshots"] => {
                let mut made = seen.json()["group_snapshot"].clone();
                (made["id"], made["status"]) = (json!("c1"), json!("available"));
                let lost = self.lost.take();
                if lost != Some(false) {
                    self.cuts.push(made.clone());
                    for (n, volume) in self.groups[0]["volumes"].as_array()?.iter().enumerate() {
                        let mut member = super::sky::volume(&format!("m{n}"), "", "available", n);
                        (member["volume_id"], member["group_snapshot_id"]) = (volume.clone(), json!("c1"));
                        state.snapshots.push(member);
                    }
                }
                match lost {
                    Some(_) => Reply::hang_up(),
                    None => Reply::json(202, json!({"group_snapshot": made})),
                }
            }
            ["DELETE", "group_snapshots", id] => {
                self.cuts.retain(|cut| cut["id"] != **id);
                state.snapshots.retain(|member| member["group_snapshot_id"] != **id);
                Reply::text(202, "text/plain", "")
            }
            _ => return None,
        })
    }
}

fn one(key: &str, all: &[Value], id: &str) -> Reply {
    match all.iter().find(|one| one["id"] == *id) {
        Some(found) => Reply::json(200, json!({key: found})),
        None => fault(404, "It could not be found."),
    }
}

struct World {
    sky: Sky,
    groups: Arc<Mutex<Groups>>,
}

impl World {
    async fn new() -> Self {
        let sky = Sky::with(|config| config.consistent_group_types = vec!["together".to_owned()]).await;
        sky.state().volumes = vec![volume("v", "v", "available", 0), volume("w", "w", "in-use", 1)];
        let groups = Arc::new(Mutex::new(Groups::default()));
        let shared = Arc::clone(&groups);
        sky.bend(move |seen, state| shared.lock().unwrap().answer(seen, state));
        Self { sky, groups }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.groups().groups.iter().map(|group| group["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn both() -> GroupOrder {
    GroupOrder { name: "g".to_owned(), volumes: vec![id("v"), id("w")], parameters: Parameters::default() }
}

/// An empty group of ours.
fn empty(id: &str, status: &str) -> Value {
    json!({"id": id, "name": id, "status": status, "volumes": [],
        "description": format!("csi.fairlead.dev/cluster kubernetes: {id}")})
}

/// It must not hang.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it hangs")
}

#[tokio::test]
async fn a_group_is_cut_once_and_goes_with_its_snapshot() {
    let world = World::new().await;
    let made = world.sky.backend.create_group(&both()).await.unwrap();
    assert_eq!(world.sky.backend.create_group(&both()).await.unwrap(), made);
    assert_eq!((made.members.len(), world.sky.server.count(CUT)), (2, 1));
    let members: Vec<_> = made.members.iter().map(|member| member.id.clone()).collect();
    world.sky.backend.delete_group(&made.id, &members).await.unwrap();
    world.sky.backend.delete_group(&made.id, &members).await.unwrap();
    assert!(world.ids().is_empty() && world.groups().cuts.is_empty());
}

#[tokio::test]
async fn a_group_whose_deletion_fails_is_told_and_does_not_hang() {
    let world = World::new().await;
    let made = world.sky.backend.create_group(&both()).await.unwrap();
    world.groups().stuck = Some(("g0", "error"));
    let members: Vec<_> = made.members.iter().map(|member| member.id.clone()).collect();
    let deleted = soon(world.sky.backend.delete_group(&made.id, &members)).await;
    let text = told(deleted, Kind::Unavailable, Outcome::Unknown);
    assert!(text.contains("left it error") && text.contains("g0"), "{text}");
}

#[tokio::test]
async fn a_group_that_is_stuck_keeps_no_other_from_being_deleted() {
    let world = World::new().await;
    let made = world.sky.backend.create_group(&both()).await.unwrap();
    let members: Vec<_> = made.members.iter().map(|member| member.id.clone()).collect();
    world.groups().groups.insert(0, empty("going", "deleting"));
    world.groups().groups.insert(1, empty("stuck", "error_deleting"));
    world.groups().stuck = Some(("stuck", "error_deleting"));
    for _ in 0..2 {
        soon(world.sky.backend.delete_group(&made.id, &members)).await.unwrap();
        assert_eq!(world.ids(), ["going", "stuck"]);
    }
    assert_eq!(world.sky.server.count("POST /volume/v3/p1/groups/going/action"), 0);
}

#[tokio::test]
async fn a_cut_whose_answer_was_lost_is_left_for_the_retry() {
    for landed in [true, false] {
        let world = World::new().await;
        world.groups().lost = Some(landed);
        // Were its group dissolved at once, that would fail, and for good.
        world.groups().stuck = Some(("g0", "available"));
        let error = soon(world.sky.backend.create_group(&both())).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
        assert!(error.to_string().contains("the group is left as it is"), "{error}");
        assert_eq!((world.ids().len(), world.groups().cuts.len()), (1, usize::from(landed)));
        world.groups().stuck = None;
        let made = soon(world.sky.backend.create_group(&both())).await.unwrap();
        assert_eq!((made.members.len(), world.ids().len()), (2, 1));
        assert_eq!(world.sky.server.count(CUT), if landed { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_refused_cut_is_final_only_once_nothing_is_left() {
    let world = World::new().await;
    for (stuck, outcome) in [(Some(("g0", "available")), Outcome::Unknown), (None, Outcome::Refused)] {
        let groups = Arc::clone(&world.groups);
        groups.lock().unwrap().stuck = stuck;
        world.sky.bend(move |seen, state| match seen.line() == CUT {
            true => Some(fault(400, "Invalid group: it cannot be cut.")),
            false => groups.lock().unwrap().answer(seen, state),
        });
        let error = soon(world.sky.backend.create_group(&both())).await.unwrap_err();
        assert_eq!(error.outcome(), outcome, "{error:?}");
        assert!(error.to_string().contains("it cannot be cut"), "{error}");
    }
    assert!(world.ids().is_empty());
    let nothing = GroupOrder { volumes: Vec::new(), ..both() };
    refused(world.sky.backend.create_group(&nothing).await, Kind::InvalidArgument);
}
