use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::backend::Backends;
use crate::controller::fake::Fake;
use crate::controller::{Attach, Provision};
use crate::error::Kind;
use crate::volume::{Access, AccessKind, AccessMode, Bytes, NodeId, TopologyRequirement, VolumeId};

#[derive(Clone, Debug, Default)]
struct World {
    claims: Vec<Claim>,
    holds: Vec<Hold>,
    servers: BTreeMap<String, NodeId>,
    in_use: InUse,
}

impl World {
    /// A Node has a volume in use, under an id of this driver.
    fn uses(&mut self, node: &str, volume: &VolumeId) {
        self.in_use.ours.entry(node.to_owned()).or_default().insert(volume.to_string());
        self.in_use.any.insert(volume.to_string());
    }
}

/// A cluster in memory. Each time that it was asked for its claims once more, it becomes the next world.
#[derive(Debug)]
struct Book(Mutex<Vec<World>>);

impl Book {
    fn now(&self) -> MutexGuard<'_, Vec<World>> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Records for Book {
    async fn claims(&self) -> Result<Vec<Claim>> {
        let mut worlds = self.now();
        let claims = worlds[0].claims.clone();
        if worlds.len() > 1 {
            worlds.remove(0);
        }
        Ok(claims)
    }

    async fn holds(&self) -> Result<Vec<Hold>> {
        Ok(self.now()[0].holds.clone())
    }

    async fn servers(&self) -> Result<BTreeMap<String, NodeId>> {
        Ok(self.now()[0].servers.clone())
    }

    async fn in_use(&self) -> Result<InUse> {
        Ok(self.now()[0].in_use.clone())
    }
}

const ACCESS: Access = Access { kind: AccessKind::Block, mode: AccessMode::SingleNodeWriter };

fn controller() -> Arc<Controller> {
    let backends = Backends::builder().add("here".parse().unwrap(), Arc::new(Fake::default())).build();
    Arc::new(Controller::new(Arc::new(backends)))
}

fn operator(controller: &Arc<Controller>, worlds: &[World]) -> Operator {
    let records =
        (!worlds.is_empty()).then(|| Arc::new(Book(Mutex::new(worlds.to_vec()))) as Arc<dyn Records>);
    Operator::new(Arc::clone(controller), records, Progress::Silent)
}

fn provision(name: &str) -> Provision {
    Provision {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(1)),
        origin: None,
        access: vec![ACCESS],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
    }
}

async fn attach(controller: &Controller, volume: &VolumeId, node: &str) {
    let node = node.parse().unwrap();
    let attach = Attach { volume: volume.clone(), node, access: ACCESS, readonly: false };
    controller.attach(attach).await.unwrap();
}

async fn volume(controller: &Controller, name: &str, node: Option<&str>) -> VolumeId {
    let made = controller.create(provision(name)).await.unwrap();
    let id = VolumeId::new(made.backend, made.item.id);
    if let Some(node) = node {
        attach(controller, &id, node).await;
    }
    id
}

fn claim(volume: &VolumeId) -> Claim {
    Claim {
        handle: volume.to_string(),
        persistent_volume: format!("pv-{}", volume.native),
        claim: Some(format!("default/{}", volume.native)),
        phase: "Bound".to_owned(),
        driver: None,
    }
}

fn hold(volume: &VolumeId, node: &str) -> Hold {
    Hold { persistent_volume: format!("pv-{}", volume.native), node: node.to_owned(), attached: true }
}

/// Two Nodes, the second one under another name than its server has in the cloud.
fn world() -> World {
    let servers = [("n1", "n1"), ("n2", "n2;nova=22")];
    World {
        servers: servers.map(|(name, id)| (name.to_owned(), id.parse().unwrap())).into(),
        in_use: InUse {
            ours: servers.map(|(name, _)| (name.to_owned(), BTreeSet::new())).into(),
            any: BTreeSet::new(),
        },
        ..World::default()
    }
}

fn found(report: &Report) -> Vec<(String, String, bool)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let findings = report.json["findings"].as_array().unwrap().iter();
    findings.map(|f| (text(&f["kind"]), text(&f["volume"]), f["fixed"].as_bool().unwrap())).collect()
}

const COMPARE: Order = Order::Reconcile { backend: None, fix: false };
const MEND: Order = Order::Reconcile { backend: None, fix: true };

#[tokio::test]
async fn where_all_agree_there_is_no_difference() {
    let controller = controller();
    let one = volume(&controller, "one", Some("n1")).await;
    // The cloud names the server alone.
    let two = volume(&controller, "two", Some("22;nova=22")).await;
    let mut world = world();
    world.claims = vec![claim(&one), claim(&two)];
    world.holds = vec![hold(&one, "n1"), hold(&two, "n2")];
    world.uses("n1", &one);
    let report = operator(&controller, &[world]).run(COMPARE).await.unwrap();
    assert_eq!(report.text, "2 volumes compared: no difference\n");
    assert!(!report.differences);
}

#[tokio::test]
async fn each_difference_is_told() {
    let controller = controller();
    let left = volume(&controller, "left", None).await;
    let unrecorded = volume(&controller, "unrecorded", Some("n1")).await;
    let detached = volume(&controller, "detached", None).await;
    let gone: VolumeId = "here/gone".parse().unwrap();
    let mut world = world();
    let elsewhere: VolumeId = "former/kept".parse().unwrap();
    world.claims = vec![claim(&unrecorded), claim(&detached), claim(&gone), claim(&elsewhere)];
    world.holds = vec![hold(&detached, "n2")];
    world.uses("n2", &detached);
    let report = operator(&controller, &[world]).run(MEND).await.unwrap();
    let mut found = found(&report);
    found.sort();
    let expected = [
        ("inUseUnattached", &detached),
        ("missing", &gone),
        ("notAttached", &detached),
        ("notConfigured", &elsewhere),
        ("unclaimed", &left),
        ("unrecorded", &unrecorded),
    ];
    assert_eq!(found, expected.map(|(kind, id)| (kind.to_owned(), id.to_string(), false)));
    assert!(report.differences);
    // A volume that has a claim is detached by those who attached it.
    assert_eq!(controller.get(&unrecorded).await.unwrap().attached.len(), 1);
}

#[tokio::test]
async fn only_what_nobody_can_be_using_is_detached() {
    for (case, node, used, mended) in [
        ("nobody uses it", "n1", false, true),
        ("its kubelet does", "n1", true, false),
        ("its server is no Node of this cluster", "elsewhere", false, false),
    ] {
        let controller = controller();
        let left = volume(&controller, "left", Some(node)).await;
        let mut world = world();
        if used {
            world.uses(node, &left);
        }
        let operator = operator(&controller, &[world]);
        operator.run(COMPARE).await.unwrap();
        assert_eq!(controller.get(&left).await.unwrap().attached.len(), 1, "{case}");
        let report = operator.run(MEND).await.unwrap();
        let id = left.to_string();
        let wanted = [("unclaimed".to_owned(), id.clone(), false), ("unrecorded".to_owned(), id, mended)];
        assert_eq!(found(&report), wanted, "{case}");
        assert_eq!(controller.get(&left).await.unwrap().attached.is_empty(), mended, "{case}");
        assert!(report.differences, "{case}");
    }
}

#[tokio::test]
async fn a_volume_that_was_claimed_meanwhile_is_left_alone() {
    let controller = controller();
    let left = volume(&controller, "left", Some("n1")).await;
    let later = World { claims: vec![claim(&left)], ..world() };
    let report = operator(&controller, &[world(), later]).run(MEND).await.unwrap();
    assert!(report.text.contains("in use by now: left alone"), "{}", report.text);
    assert_eq!(controller.get(&left).await.unwrap().attached.len(), 1);
}

#[tokio::test]
async fn a_claimed_volume_is_not_removed() {
    let controller = controller();
    let id = volume(&controller, "one", None).await;
    let world = World { claims: vec![claim(&id)], ..world() };
    let order = Order::RemoveVolume(id.to_string());
    let error = operator(&controller, &[world]).run(order.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("PersistentVolume pv-one (claimed by default/one)"), "{error}");
    // Nobody can tell.
    let error = operator(&controller, &[]).run(order.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("set \"kubernetes.enabled\" to false"), "{error}");
    controller.get(&id).await.unwrap();
    let free = operator(&controller, &[]).alone(true);
    assert_eq!(free.run(order.clone()).await.unwrap().json, json!({"removed": "here/one"}));
    assert!(free.run(order).await.unwrap_err().is_not_found());
}

/// What the cluster knows of the volume `here/one` where it is not under that id that it is used: by another back end or
/// another driver that sees the same cloud, or by a driver that this one took it over from.
fn users() -> Vec<(&'static str, World)> {
    let id = "here/one".parse().unwrap();
    let claimed = |handle: &str, driver: Option<&str>| {
        let driver = driver.map(ToOwned::to_owned);
        World { claims: vec![Claim { handle: handle.to_owned(), driver, ..claim(&id) }], ..world() }
    };
    let used = |handle: &str| {
        let mut world = world();
        world.in_use.any.insert(handle.to_owned());
        world
    };
    vec![
        ("claimed by way of another back end", claimed("there/one", None)),
        ("claimed by another driver", claimed("there/one", Some("other.example.org"))),
        ("claimed by another driver, with a bare handle", claimed("one", Some("other.example.org"))),
        ("in use by way of another back end or driver", used("there/one")),
        ("in use by another driver, with a bare handle", used("one")),
    ]
}

#[tokio::test]
async fn what_another_back_end_or_driver_uses_is_not_detached() {
    for (case, used) in users() {
        let controller = controller();
        let id = volume(&controller, "one", Some("n1")).await;
        let claimed = !used.claims.is_empty();
        // Known from the start, and only once it is about to be detached.
        let before = if claimed { vec![world()] } else { vec![world(), world()] };
        for late in [false, true] {
            let worlds: Vec<_> = before.iter().filter(|_| late).chain([&used]).cloned().collect();
            let report = operator(&controller, &worlds).run(MEND).await.unwrap();
            assert_eq!(controller.get(&id).await.unwrap().attached.len(), 1, "{case}: {}", report.text);
            assert_eq!(report.text.contains("in use by now: left alone"), late, "{case}: {}", report.text);
            let left_behind = report.text.contains("no PersistentVolume names it");
            assert_eq!(left_behind, late || !claimed, "{case}: {}", report.text);
        }
    }
}

#[tokio::test]
async fn what_another_back_end_or_driver_uses_is_not_removed() {
    for (case, used) in users() {
        let controller = controller();
        let id = volume(&controller, "one", None).await;
        let error =
            operator(&controller, &[used]).run(Order::RemoveVolume(id.to_string())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition, "{case}: {error}");
        controller.get(&id).await.unwrap();
    }
}

/// In StorPool a volume has a name and a global id, and a PersistentVolume may have either.
#[tokio::test]
async fn what_is_used_by_another_id_of_its_own_is_left_alone() {
    let cloud = Arc::new(Fake::default());
    let backends = Backends::builder().add("here".parse().unwrap(), Arc::clone(&cloud) as _).build();
    let controller = Arc::new(Controller::new(Arc::new(backends)));
    let id = volume(&controller, "one", Some("n1")).await;
    cloud.call_also(&id.native, "d.n.17");
    let other = VolumeId { native: "d.n.17".parse().unwrap(), ..id.clone() };
    let world = World { claims: vec![claim(&other)], ..world() };
    operator(&controller, &[world.clone(), world.clone()]).run(MEND).await.unwrap();
    assert_eq!(controller.get(&id).await.unwrap().attached.len(), 1);
    let error = operator(&controller, &[world]).run(Order::RemoveVolume(id.to_string())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition, "{error}");
    assert!(error.to_string().contains("d.n.17"), "{error}");
    controller.get(&id).await.unwrap();
}

#[tokio::test]
async fn two_back_ends_on_one_cloud_do_not_call_each_others_volumes_left_behind() {
    let cloud = Arc::new(Fake::default());
    let names = ["here", "there"].map(|name| name.parse().unwrap());
    let backends =
        names.into_iter().fold(Backends::builder(), |all, name| all.add(name, Arc::clone(&cloud) as _));
    let controller = Arc::new(Controller::new(Arc::new(backends.build())));
    let provision = Provision {
        parameters: Parameters(BTreeMap::from([("backend".to_owned(), "here".to_owned())])),
        ..provision("one")
    };
    let made = controller.create(provision).await.unwrap();
    let id = VolumeId::new(made.backend, made.item.id);
    attach(&controller, &id, "n1").await;
    let mut world = world();
    world.claims = vec![claim(&id)];
    world.holds = vec![hold(&id, "n1")];
    world.uses("n1", &id);
    let report = operator(&controller, &[world]).run(MEND).await.unwrap();
    assert_eq!(report.text, "2 volumes compared: no difference\n");
    assert_eq!(controller.get(&id).await.unwrap().attached.len(), 1);
}

#[tokio::test]
async fn a_server_is_told_with_what_it_has() {
    let controller = controller();
    let one = volume(&controller, "one", Some("22;nova=22")).await;
    volume(&controller, "two", Some("n1")).await;
    let mut world = world();
    world.claims = vec![claim(&one)];
    world.uses("n2", &one);
    let operator = operator(&controller, &[world]);
    let report = operator.run(Order::InspectServer("n2".to_owned())).await.unwrap();
    assert_eq!(report.json["node"], "n2;nova=22");
    assert_eq!(report.json["inUse"], json!(["here/one"]));
    let volumes = report.json["volumes"].as_array().unwrap();
    assert_eq!((volumes.len(), &volumes[0]["claim"]), (1, &json!("default/one")));
    let error = operator.run(Order::InspectServer("n9".to_owned())).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("n9"), "{error}");
}

#[tokio::test]
async fn without_a_cluster_there_is_nothing_to_compare_with() {
    let error = operator(&controller(), &[]).run(COMPARE).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
}
