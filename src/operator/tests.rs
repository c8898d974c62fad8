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
    in_use: BTreeMap<String, BTreeSet<String>>,
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

    async fn in_use(&self) -> Result<BTreeMap<String, BTreeSet<String>>> {
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

async fn volume(controller: &Controller, name: &str, node: Option<&str>) -> VolumeId {
    let provision = Provision {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(1)),
        origin: None,
        access: vec![ACCESS],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
    };
    let made = controller.create(provision).await.unwrap();
    let id = VolumeId::new(made.backend, made.item.id);
    if let Some(node) = node {
        let node = node.parse().unwrap();
        let attach = Attach { volume: id.clone(), node, access: ACCESS, readonly: false };
        controller.attach(attach).await.unwrap();
    }
    id
}

fn claim(volume: &VolumeId) -> Claim {
    Claim {
        handle: volume.to_string(),
        persistent_volume: format!("pv-{}", volume.native),
        claim: Some(format!("default/{}", volume.native)),
        phase: "Bound".to_owned(),
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
        in_use: servers.map(|(name, _)| (name.to_owned(), BTreeSet::new())).into(),
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
    world.in_use.get_mut("n1").unwrap().insert(one.to_string());
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
    world.claims = vec![claim(&unrecorded), claim(&detached), claim(&gone)];
    world.holds = vec![hold(&detached, "n2")];
    world.in_use.get_mut("n2").unwrap().insert(detached.to_string());
    let report = operator(&controller, &[world]).run(MEND).await.unwrap();
    let mut found = found(&report);
    found.sort();
    let expected = [
        ("inUseUnattached", &detached),
        ("missing", &gone),
        ("notAttached", &detached),
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
            world.in_use.get_mut(node).unwrap().insert(left.to_string());
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
    let free = operator(&controller, &[]);
    assert_eq!(free.run(order.clone()).await.unwrap().json, json!({"removed": "here/one"}));
    assert!(free.run(order).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_server_is_told_with_what_it_has() {
    let controller = controller();
    let one = volume(&controller, "one", Some("22;nova=22")).await;
    volume(&controller, "two", Some("n1")).await;
    let mut world = world();
    world.claims = vec![claim(&one)];
    world.in_use.get_mut("n2").unwrap().insert(one.to_string());
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
