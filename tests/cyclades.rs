//! The `cinder` back end in its dialect for Cyclades, on a simulated cloud.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudsim::{Config, Fate, Fault, LoopDisks, Rule, Sim};
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::connector::NamelessConnector;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::backend::{
    AttachOrder, Backend, Connector, DetachOrder, GroupOrder, Page, SnapshotOrder, VolumeOrder,
};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::host::Linux;
use fairlead::node::{Node, NodeConfig, Stage};
use fairlead::volume::{
    Access, AccessKind, AccessMode, Attachment, Bytes, Connection, Content, FsType, MountFlags, NativeId,
    NodeId, Owner, Parameters, SizeRange, Source as Origin, Topology, TopologyRequirement, VolumeId,
};
use tempfile::TempDir;

const SERVER_KEY: &str = "csi.fairlead.dev/sky.server";

struct Sky {
    sim: Sim,
    directory: TempDir,
    backend: CinderBackend,
    nodes: Vec<NodeId>,
}

impl Sky {
    /// A cloud with servers, and a back end of its project csi.
    async fn new(servers: usize) -> Self {
        let sim = Sim::start(Config::cyclades()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("clouds.yaml"), sim.clouds_yaml()).unwrap();
        let nodes = (0..servers).map(|n| {
            let server = sim.add_server("csi", &format!("worker-{n}"));
            format!("worker-{n};nova={server}").parse().unwrap()
        });
        let nodes = nodes.collect();
        let backend = open(&directory).await;
        Self { sim, directory, backend, nodes }
    }

    /// Another controller, or this one after a restart.
    async fn restart(&self) -> CinderBackend {
        open(&self.directory).await
    }

    fn server(&self, node: usize) -> String {
        self.nodes[node].identity("nova").unwrap().to_owned()
    }

    fn count(&self, method: &str, path: &str) -> u64 {
        let counts = self.sim.counts();
        let of = counts.iter().filter(|(key, _)| key.starts_with(method) && key.ends_with(path));
        of.map(|(_, count)| count.requests).sum()
    }

    /// What must never happen has not, and there is nothing but these volumes and what shows with them.
    fn check(&self, volumes: &[&NativeId]) {
        let cloud = self.sim.cloud();
        assert_eq!(cloud.ledger.violations(), []);
        let ids: Vec<_> = volumes.iter().map(|id| id.as_str()).collect();
        let left = cloud.volumes.iter().filter(|one| !one.deleted && !ids.contains(&one.id.as_str())).count();
        assert_eq!(left, 0);
    }

    async fn make(&self, name: &str) -> NativeId {
        self.backend.create(&order(name, 1)).await.unwrap().id
    }

    /// The topology of some nodes, as a provisioner tells it.
    fn places(&self, nodes: &[usize]) -> TopologyRequirement {
        let place = |node: &usize| {
            Topology([(SERVER_KEY.to_owned(), self.server(*node))].into_iter().chain(anywhere().0).collect())
        };
        let places: Vec<_> = nodes.iter().map(place).collect();
        TopologyRequirement { requisite: places.clone(), preferred: places }
    }
}

async fn open(directory: &TempDir) -> CinderBackend {
    try_open(directory.path().to_owned()).await.unwrap()
}

async fn try_open(directory: PathBuf) -> Result<CinderBackend, Error> {
    let source = Source::Clouds { file: directory.join("clouds.yaml"), cloud: Some("csi".to_owned()) };
    let mut config = CinderConfig::of(Dialect::CYCLADES, source);
    config.name_prefix = "k8s-".to_owned();
    config.zone_key = Some("csi.fairlead.dev/sky".to_owned());
    config.server_key = Some(SERVER_KEY.to_owned());
    CinderBackend::open("sky", config, Arc::default()).await
}

fn anywhere() -> Topology {
    Topology([("csi.fairlead.dev/sky".to_owned(), "reachable".to_owned())].into())
}

fn order(name: &str, gib: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        source: None,
        access: vec![access()],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner {
            claim: Some("data".to_owned()),
            namespace: Some("shop".to_owned()),
            volume: Some(name.to_owned()),
        },
    }
}

fn of_type(name: &str, kind: &str, topology: TopologyRequirement) -> VolumeOrder {
    VolumeOrder { parameters: parameters("type", kind), topology, ..order(name, 1) }
}

fn access() -> Access {
    let kind = AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() };
    Access { kind, mode: AccessMode::SingleNodeWriter }
}

fn parameters(key: &str, value: &str) -> Parameters {
    Parameters([(key.to_owned(), value.to_owned())].into())
}

fn writer(volume: &NativeId, node: &NodeId) -> AttachOrder {
    AttachOrder { volume: volume.clone(), node: node.clone(), access: access(), readonly: false }
}

fn off(volume: &NativeId, node: Option<&NodeId>) -> DetachOrder {
    DetachOrder { volume: volume.clone(), node: node.cloned(), fence: None }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> String {
    told(result, kind, Outcome::Refused)
}

#[track_caller]
fn told<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind, outcome: Outcome) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_volume_lives_moves_and_dies() {
    let sky = Sky::new(2).await;
    let (first, second) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    assert!(first.as_str().parse::<u64>().is_ok(), "{first}");
    {
        let cloud = sky.sim.cloud();
        let volume = cloud.volumes.get(first.as_str()).unwrap();
        assert_eq!(volume.name.as_deref(), Some("k8s-pvc-1"));
        assert_eq!(volume.metadata["csi.storage.k8s.io/pvc/name"], "data");
        assert!(volume.description.as_ref().unwrap().contains("kubernetes"), "{volume:?}");
    }
    let made = sky.backend.get(&first).await.unwrap();
    assert_eq!((made.name.as_str(), made.content, made.reach), ("pvc-1", Content::New, anywhere()));
    let one = sky.backend.attach(&writer(&first, &sky.nodes[0])).await.unwrap();
    assert_eq!(one.connection, Connection::Nameless { volume: first.to_string(), disks: 1 });
    let two = sky.backend.attach(&writer(&second, &sky.nodes[0])).await.unwrap();
    assert_eq!(two.connection, Connection::Nameless { volume: second.to_string(), disks: 2 });
    assert_eq!((one.content, one.size), (Content::New, Bytes::gib(1)));
    let other = sky.restart().await;
    assert_eq!(other.attach(&writer(&first, &sky.nodes[0])).await.unwrap(), one, "the same act");
    let error = refused(other.attach(&writer(&first, &sky.nodes[1])).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-0"), "{error}");
    // The cloud itself would delete it from under the pod.
    let error = refused(sky.backend.delete(&first).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-0"), "{error}");
    sky.backend.detach(&off(&first, Some(&sky.nodes[0]))).await.unwrap();
    sky.backend.detach(&off(&first, Some(&sky.nodes[0]))).await.unwrap();
    let moved = sky.backend.attach(&writer(&first, &sky.nodes[1])).await.unwrap();
    assert_ne!(moved.nonce, one.nonce);
    assert_eq!(moved.connection, Connection::Nameless { volume: first.to_string(), disks: 1 });
    for id in [&first, &second] {
        sky.backend.detach(&off(id, None)).await.unwrap();
        sky.backend.delete(id).await.unwrap();
        sky.backend.delete(id).await.unwrap();
        refused(sky.backend.get(id).await, Kind::NotFound);
    }
    assert!(sky.backend.list(&Page::default()).await.unwrap().items.is_empty());
    sky.check(&[]);
}

#[tokio::test]
async fn a_create_that_was_cut_off_between_its_calls_is_completed() {
    let sky = Sky::new(1).await;
    sky.sim
        .order(Rule::once("POST", "/volumes/{id}/metadata", Fault::Refuse(503, "later".to_owned())).times(9));
    let cut_off = sky.backend.create(&order("pvc-1", 1)).await.unwrap_err();
    assert_eq!(cut_off.outcome(), Outcome::Unknown, "{cut_off}");
    assert_eq!(sky.sim.cloud().volumes.iter().count(), 1);
    sky.sim.clear_orders();
    let other = sky.restart().await;
    let made = other.create(&order("pvc-1", 1)).await.unwrap();
    assert_eq!((made.name.as_str(), made.content), ("pvc-1", Content::New));
    let notes = sky.sim.cloud().volumes.get(made.id.as_str()).unwrap().metadata.clone();
    assert_eq!(notes["csi.storage.k8s.io/pv/name"], "pvc-1");
    // One of the same name that is somebody else's is not taken, whatever it lacks.
    {
        let mut cloud = sky.sim.cloud();
        cloud.touch(made.id.as_str(), |volume| volume.description = Some("my own".to_owned()));
    }
    let another = other.create(&order("pvc-1", 1)).await.unwrap();
    assert_ne!(another.id, made.id);
    // The answer to an order is lost, and it was carried out.
    sky.sim.order(Rule::once("POST", "/volumes", Fault::LoseReply));
    let found = other.create(&order("pvc-2", 1)).await.unwrap();
    assert_eq!(found.name, "pvc-2");
    let named = sky.sim.cloud().volumes.iter().filter(|one| one.name.as_deref() == Some("k8s-pvc-2")).count();
    assert_eq!(named, 1);
}

#[tokio::test]
async fn what_a_server_once_had_is_deleted_only_where_another_helps() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    sky.backend.attach(&writer(&id, &sky.nodes[0])).await.unwrap();
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    let text = "No available helper server found.".to_owned();
    sky.sim.order(Rule::once("DELETE", "/volumes/{id}", Fault::Refuse(404, text)));
    let error = told(sky.backend.delete(&id).await, Kind::Unavailable, Outcome::Unknown);
    assert!(error.contains("no server free") && error.contains("helper"), "{error}");
    sky.backend.get(&id).await.unwrap();
    // Nor is it gone where that cannot be seen.
    let text = "No available helper server found.".to_owned();
    sky.sim.order(Rule::once("DELETE", "/volumes/{id}", Fault::Refuse(404, text)));
    sky.sim
        .order(Rule::once("GET", "/volumes/{id}", Fault::Refuse(503, "later".to_owned())).after(1).times(9));
    told(sky.backend.delete(&id).await, Kind::Unavailable, Outcome::Unknown);
    sky.sim.clear_orders();
    sky.backend.delete(&id).await.unwrap();
    refused(sky.backend.get(&id).await, Kind::NotFound);
    sky.check(&[]);
}

#[tokio::test]
async fn a_server_gets_one_volume_after_the_other_and_seven_at_most() {
    let sky = Arc::new(Sky::new(1).await);
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(sky.make(&format!("pvc-{n}")).await);
    }
    sky.sim.forget_counts();
    let tasks: Vec<_> = ids
        .iter()
        .map(|id| {
            let (sky, id) = (Arc::clone(&sky), id.clone());
            tokio::spawn(async move { sky.backend.attach(&writer(&id, &sky.nodes[0])).await })
        })
        .collect();
    let mut disks = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(attachment) => match attachment.connection {
                Connection::Nameless { disks: count, .. } => disks.push(count),
                other => panic!("{other:?}"),
            },
            error => {
                let error = refused(error, Kind::ResourceExhausted);
                assert!(error.contains("holds 7 volumes") && error.contains("limit reached"), "{error}");
            }
        }
    }
    disks.sort_unstable();
    assert_eq!(disks, [1, 2, 3, 4, 5, 6, 7], "each is told how many there are with it");
    assert_eq!(sky.count("POST", "/os-volume_attachments"), 8, "none was sent before its turn");
    for id in &ids {
        sky.backend.detach(&off(id, Some(&sky.nodes[0]))).await.unwrap();
    }
    sky.check(&ids.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_is_busy_is_waited_for() {
    let sky = Arc::new(Sky::new(1).await);
    let (id, server) = (sky.make("pvc-1").await, sky.server(0));
    let busy = |task: Option<&str>| {
        let task = task.map(str::to_owned);
        sky.sim.cloud().change_server(&server, |server| server.task_state = task);
    };
    busy(Some("REBOOT"));
    let attaching = {
        let (sky, id) = (Arc::clone(&sky), id.clone());
        tokio::spawn(async move { sky.backend.attach(&writer(&id, &sky.nodes[0])).await })
    };
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!attaching.is_finished());
    busy(None);
    attaching.await.unwrap().unwrap();
    assert!(sky.count("POST", "/os-volume_attachments") >= 2);
    busy(Some("REBOOT"));
    let bound = of_type("pvc-2", "drbd", sky.places(&[0]));
    let making = {
        let sky = Arc::clone(&sky);
        tokio::spawn(async move { sky.backend.create(&bound).await })
    };
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!making.is_finished());
    busy(None);
    let made = making.await.unwrap().unwrap();
    sky.check(&[&id, &made.id]);
}

#[tokio::test]
async fn a_volume_that_cannot_move_stays_on_its_server() {
    let sky = Sky::new(2).await;
    for (places, part) in [
        (TopologyRequirement::default(), "no segment"),
        (sky.places(&[0, 1]), "2 servers"),
        (TopologyRequirement { requisite: vec![anywhere()], preferred: vec![] }, "no segment"),
    ] {
        let error =
            refused(sky.backend.create(&of_type("pvc-1", "drbd", places)).await, Kind::InvalidArgument);
        for part in [part, "drbd", "WaitForFirstConsumer", "--strict-topology"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let ordered = of_type("pvc-1", "drbd", sky.places(&[1]));
    let made = sky.backend.create(&ordered).await.unwrap();
    assert_eq!(made.reach.0[SERVER_KEY], sky.server(1));
    assert!(made.attached.is_empty(), "nobody has been given it");
    assert_eq!(sky.sim.cloud().ledger.holders(made.id.as_str()), [sky.server(1)]);
    assert_eq!(sky.restart().await.create(&of_type("pvc-1", "2", sky.places(&[1]))).await.unwrap(), made);
    let elsewhere = of_type("pvc-1", "drbd", sky.places(&[0]));
    refused(sky.backend.create(&elsewhere).await, Kind::AlreadyExists);

    let error = refused(sky.backend.attach(&writer(&made.id, &sky.nodes[0])).await, Kind::FailedPrecondition);
    assert!(error.contains("stay with the server") && error.contains("worker-0"), "{error}");
    let one = sky.backend.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap();
    assert_eq!(one.connection, Connection::Nameless { volume: made.id.to_string(), disks: 1 });
    assert_eq!(one.content, Content::New);
    assert_eq!(sky.restart().await.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap(), one);
    let otherwise = AttachOrder { readonly: true, ..writer(&made.id, &sky.nodes[1]) };
    refused(sky.backend.attach(&otherwise).await, Kind::AlreadyExists);
    assert_eq!(sky.backend.get(&made.id).await.unwrap().attached, [sky.nodes[1].clone()]);
    let error = refused(sky.backend.delete(&made.id).await, Kind::FailedPrecondition);
    assert!(error.contains("worker-1"), "{error}");
    for _ in 0..2 {
        sky.backend.detach(&off(&made.id, Some(&sky.nodes[1]))).await.unwrap();
    }
    assert!(sky.backend.get(&made.id).await.unwrap().attached.is_empty());
    assert_eq!(sky.sim.cloud().ledger.holders(made.id.as_str()), [sky.server(1)], "its server has it still");
    let again = sky.backend.attach(&writer(&made.id, &sky.nodes[1])).await.unwrap();
    assert_ne!(again.nonce, one.nonce, "another act");
    sky.backend.detach(&off(&made.id, None)).await.unwrap();
    sky.backend.delete(&made.id).await.unwrap();
    refused(sky.backend.get(&made.id).await, Kind::NotFound);
    assert!(sky.sim.cloud().servers.get(&sky.server(1)).unwrap().disks.is_empty());
    sky.check(&[]);
}

#[tokio::test]
async fn a_second_volume_of_a_name_that_nobody_was_given_goes_also_where_it_cannot_move() {
    let sky = Sky::new(1).await;
    let ordered = of_type("pvc-1", "drbd", sky.places(&[0]));
    let made = sky.backend.create(&ordered).await.unwrap();
    // Another controller's order that landed late.
    {
        let mut cloud = sky.sim.cloud();
        let mut twin = cloud.volumes.get(made.id.as_str()).unwrap().clone();
        twin.id = "999".to_owned();
        twin.created += Duration::from_secs(1);
        (twin.status, twin.kind, twin.server, twin.written) = ("available", "1".to_owned(), None, false);
        cloud.volumes.insert(twin);
    }
    assert_eq!(sky.restart().await.create(&ordered).await.unwrap(), made);
    sky.check(&[&made.id]);
    // Two controllers that order at once.
    let (ordered, other) = (of_type("pvc-2", "drbd", sky.places(&[0])), sky.restart().await);
    let (one, two) = tokio::join!(sky.backend.create(&ordered), other.create(&ordered));
    let two = two.unwrap();
    assert_eq!(one.unwrap(), two);
    sky.check(&[&made.id, &two.id]);
    assert_eq!(sky.sim.cloud().servers.get(&sky.server(0)).unwrap().disks.len(), 2);
}

#[tokio::test]
async fn types_are_known_by_name_and_number() {
    let sky = Sky::new(1).await;
    for kind in ["archipelago", "1"] {
        let name = format!("pvc-{kind}");
        let made = sky.backend.create(&of_type(&name, kind, TopologyRequirement::default())).await.unwrap();
        assert_eq!(sky.sim.cloud().volumes.get(made.id.as_str()).unwrap().kind, "1");
        // Without a type it is the only one that can move.
        assert_eq!(sky.backend.create(&order(&name, 1)).await.unwrap(), made);
        let other = of_type(&name, "drbd", sky.places(&[0]));
        refused(sky.backend.create(&other).await, Kind::AlreadyExists);
    }
    let error = refused(
        sky.backend.create(&of_type("pvc-x", "ssd", TopologyRequirement::default())).await,
        Kind::InvalidArgument,
    );
    assert!(error.contains("\"ssd\"") && error.contains("archipelago, drbd"), "{error}");
    {
        let mut cloud = sky.sim.cloud();
        let mut kind = cloud.config.types[0].clone();
        (kind.id, kind.name) = ("3".to_owned(), "vlmc".to_owned());
        cloud.config.types.push(kind);
    }
    let second = sky.restart().await;
    let error = refused(second.create(&order("pvc-y", 1)).await, Kind::InvalidArgument);
    assert!(error.contains("archipelago, drbd, vlmc"), "{error}");
}

#[tokio::test]
async fn quotas_are_counted_before_the_call() {
    let sky = Sky::new(1).await;
    sky.backend.create(&order("pvc-1", 90)).await.unwrap();
    sky.sim.forget_counts();
    let error = refused(sky.backend.create(&order("pvc-2", 11)).await, Kind::ResourceExhausted);
    assert!(error.contains("90 of 100 GiB") && error.contains("11 GiB"), "{error}");
    assert_eq!(sky.count("POST", "/volumes"), 0);
    let capacity = sky.backend.capacity(&Parameters::default(), None).await.unwrap();
    assert_eq!((capacity.available, capacity.largest), (Bytes::gib(10), Bytes::gib(10)));
    // The project's other members count too.
    sky.sim.cloud().config.projects[0].quotas.insert("project cyclades.disk".to_owned(), 95 << 30);
    let error = refused(sky.backend.create(&order("pvc-2", 6)).await, Kind::ResourceExhausted);
    assert!(error.contains("90 of 95 GiB"), "{error}");
    refused(sky.backend.create(&order("pvc-2", 201)).await, Kind::OutOfRange);
    // Where the quotas cannot be had, the cloud's own refusal tells.
    sky.sim.order(Rule::once("GET", "/quotas", Fault::Refuse(503, "later".to_owned())).times(9));
    let error = refused(sky.backend.create(&order("pvc-2", 6)).await, Kind::ResourceExhausted);
    assert!(error.contains("Available: 5GB"), "{error}");
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_asked_for_again_and_again() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    sky.sim.expire_tokens();
    sky.sim.forget_counts();
    for _ in 0..5 {
        let error = told(sky.backend.get(&id).await, Kind::Unauthenticated, Outcome::Unknown);
        assert!(!error.contains("sim-password"), "{error}");
        told(sky.backend.ready().await, Kind::Unauthenticated, Outcome::Unknown);
    }
    assert!(sky.count("POST", "/tokens") <= 2, "{:?}", sky.sim.counts());
}

#[tokio::test]
async fn what_the_cloud_cannot_do_is_refused_and_not_advertised() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    let can = sky.backend.capabilities();
    assert!(!can.snapshots && !can.clones && !can.group_snapshots && !can.multi_attach && !can.raw);
    assert_eq!(can.expansion, fairlead::backend::Expansion::Never);
    let bigger = SizeRange::at_least(Bytes::gib(2));
    refused(sky.backend.expand(&id, bigger).await, Kind::Unsupported);
    let copy = VolumeOrder { source: Some(Origin::Volume(id.clone())), ..order("pvc-2", 1) };
    refused(sky.backend.create(&copy).await, Kind::Unsupported);
    let cut = SnapshotOrder { name: "s".to_owned(), volume: id.clone(), parameters: Parameters::default() };
    refused(sky.backend.create_snapshot(&cut).await, Kind::Unsupported);
    let group =
        GroupOrder { name: "g".to_owned(), volumes: vec![id.clone()], parameters: Parameters::default() };
    assert!(sky.backend.create_group(&group).await.is_err());
    for (key, value) in [("imageID", "blank"), ("availability", "nova"), ("sameHost", "1")] {
        refused(sky.backend.check_parameters(&parameters(key, value)), Kind::InvalidArgument);
    }
    refused(sky.backend.modify(&id, &parameters("type", "drbd")).await, Kind::Unsupported);
    sky.backend.modify(&id, &parameters("metadata", "tier=gold")).await.unwrap();
    assert_eq!(sky.sim.cloud().volumes.get(id.as_str()).unwrap().metadata["tier"], "gold");
}

#[tokio::test]
async fn a_volume_has_room_for_ten_notes() {
    let sky = Sky::new(8).await;
    let notes = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let mut many = order("pvc-1", 1);
    many.mutable = parameters("metadata", &notes(6));
    let error = refused(sky.backend.create(&many).await, Kind::InvalidArgument);
    assert!(error.contains("it can have 10"), "{error}");
    assert_eq!(sky.sim.cloud().volumes.iter().count(), 0, "nothing was begun");
    many.mutable = parameters("metadata", &notes(3));
    let id = sky.backend.create(&many).await.unwrap().id;
    // What is noted of each server's use does not add up.
    for node in &sky.nodes {
        let reader = AttachOrder { readonly: true, ..writer(&id, node) };
        let attached = sky.backend.attach(&reader).await.unwrap();
        assert!(attached.readonly);
        sky.backend.detach(&off(&id, Some(node))).await.unwrap();
    }
    let kept = sky.sim.cloud().volumes.get(id.as_str()).unwrap().metadata.clone();
    assert!(
        kept.len() <= 10 && kept["k2"] == "v" && kept["csi.storage.k8s.io/pvc/name"] == "data",
        "{kept:?}"
    );
    assert_eq!(sky.backend.get(&id).await.unwrap().name, "pvc-1");
}

#[tokio::test]
async fn what_others_deleted_is_gone_although_it_is_shown() {
    let sky = Sky::new(1).await;
    let (id, lost) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    {
        let mut cloud = sky.sim.cloud();
        cloud.touch(id.as_str(), |volume| (volume.status, volume.deleted) = ("deleted", true));
    }
    refused(sky.backend.get(&id).await, Kind::NotFound);
    refused(sky.backend.attach(&writer(&id, &sky.nodes[0])).await, Kind::NotFound);
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    sky.backend.delete(&id).await.unwrap();
    for id in ["none", "12345"] {
        let id: NativeId = id.parse().unwrap();
        refused(sky.backend.get(&id).await, Kind::NotFound);
        refused(sky.backend.attach(&writer(&id, &sky.nodes[0])).await, Kind::NotFound);
        sky.backend.delete(&id).await.unwrap();
    }
    assert_ne!(sky.make("pvc-1").await, id, "its name is free again");
    // The cloud loses a volume where an attach fails badly.
    let fate = Fate { fails: Some(String::new()), vanishes: true, ..Fate::default() };
    sky.sim.order(Rule::fate("POST", "/os-volume_attachments", fate));
    refused(sky.backend.attach(&writer(&lost, &sky.nodes[0])).await, Kind::NotFound);
    // A server that is no more.
    let server = sky.server(0);
    sky.sim.cloud().drop_server(&server);
    let other = sky.make("pvc-3").await;
    refused(sky.backend.attach(&writer(&other, &sky.nodes[0])).await, Kind::NotFound);
    sky.backend.detach(&off(&other, Some(&sky.nodes[0]))).await.unwrap();
}

#[tokio::test]
async fn an_attach_that_fails_is_ordered_again() {
    let sky = Sky::new(1).await;
    let id = sky.make("pvc-1").await;
    let fate = Fate { fails: Some(String::new()), ..Fate::default() };
    sky.sim.order(Rule::fate("POST", "/os-volume_attachments", fate));
    sky.backend.attach(&writer(&id, &sky.nodes[0])).await.unwrap();
    let fate = Fate { fails: Some(String::new()), ..Fate::default() };
    sky.sim.order(Rule::fate("DELETE", "/os-volume_attachments/{id}", fate));
    sky.backend.detach(&off(&id, Some(&sky.nodes[0]))).await.unwrap();
    assert!(sky.sim.cloud().ledger.holders(id.as_str()).is_empty());
    sky.check(&[&id]);
}

/// A server of the cloud that is this machine: its disks are loop devices that say nothing.
fn guest(sky: &Sky, disks: &Path, node: usize) -> Node {
    let source = Source::Clouds { file: "/none".into(), cloud: None };
    let mut config = CinderConfig::of(Dialect::CYCLADES, source);
    config.node.by_id = Some(disks.join("nodes").join(sky.server(node)));
    config.node.state = Some(sky.directory.path().to_owned());
    config.node.server = Some(sky.server(node));
    let connector: Arc<dyn Connector> = Arc::new(NamelessConnector::new(config, format!("worker-{node}")));
    let config = NodeConfig {
        name: format!("worker-{node}"),
        topology: Topology::default(),
        max_volumes: None,
        foreign: None,
    };
    let connectors = [("sky".parse().unwrap(), connector)].into();
    Node::new(config, Arc::new(Linux::new()), connectors, Arc::default())
}

async fn stage(node: &Node, id: &NativeId, attachment: Attachment, path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).unwrap();
    let volume = format!("sky/{id}").parse().unwrap();
    node.stage(&Stage { volume, attachment, path: path.to_owned(), access: access() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_wrote_another_reads_although_disks_say_nothing() {
    assert!(nix::unistd::geteuid().is_root(), "this test uses loop devices and mounts: run it as root");
    let mut sky = Sky::new(2).await;
    let disks = tempfile::tempdir().unwrap();
    sky.sim.show_disks(LoopDisks::new(disks.path()).unwrap().without_serials());
    let guests = [guest(&sky, disks.path(), 0), guest(&sky, disks.path(), 1)];
    let staging = |name: &str| sky.directory.path().join(name);
    let (one, two) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    let of = |id: &NativeId| format!("sky/{id}").parse::<VolumeId>().unwrap();

    let first = sky.backend.attach(&writer(&one, &sky.nodes[0])).await.unwrap();
    stage(&guests[0], &one, first.clone(), &staging("one")).await.unwrap();
    std::fs::write(staging("one").join("data"), "of the first").unwrap();
    // Another new one beside it, which is as large.
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    stage(&guests[0], &two, second, &staging("two")).await.unwrap();
    std::fs::write(staging("two").join("data"), "of the second").unwrap();
    stage(&guests[0], &one, first, &staging("one")).await.unwrap();

    for (id, place) in [(&one, "one"), (&two, "two")] {
        guests[0].unstage(&of(id), &staging(place)).await.unwrap();
        sky.backend.detach(&off(id, Some(&sky.nodes[0]))).await.unwrap();
    }
    // In the other order, so that the disks have other names than before.
    for (id, place, text) in [(&two, "three", "of the second"), (&one, "four", "of the first")] {
        let attachment = sky.backend.attach(&writer(id, &sky.nodes[1])).await.unwrap();
        stage(&guests[1], id, attachment, &staging(place)).await.unwrap();
        assert_eq!(std::fs::read_to_string(staging(place).join("data")).unwrap(), text);
    }
    for (id, place) in [(&two, "three"), (&one, "four")] {
        guests[1].unstage(&of(id), &staging(place)).await.unwrap();
        sky.backend.detach(&off(id, None)).await.unwrap();
        sky.backend.delete(id).await.unwrap();
    }
    sky.check(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_new_volumes_of_one_size_that_come_at_once_are_refused_until_one_is_gone() {
    assert!(nix::unistd::geteuid().is_root(), "this test uses loop devices and mounts: run it as root");
    let mut sky = Sky::new(1).await;
    let disks = tempfile::tempdir().unwrap();
    sky.sim.show_disks(LoopDisks::new(disks.path()).unwrap().without_serials());
    let guest = guest(&sky, disks.path(), 0);
    let (one, two) = (sky.make("pvc-1").await, sky.make("pvc-2").await);
    let first = sky.backend.attach(&writer(&one, &sky.nodes[0])).await.unwrap();
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    let place = sky.directory.path().join("one");
    for (id, attachment) in [(&one, &first), (&two, &second)] {
        let error = refused(stage(&guest, id, attachment.clone(), &place).await, Kind::FailedPrecondition);
        assert!(
            error.contains("several disks") && error.contains("delete the pods of all but one"),
            "{error}"
        );
    }
    sky.backend.detach(&off(&two, Some(&sky.nodes[0]))).await.unwrap();
    // What it was told is that one disk is enough, and that is the one that is left.
    stage(&guest, &one, first, &place).await.unwrap();
    let second = sky.backend.attach(&writer(&two, &sky.nodes[0])).await.unwrap();
    let other = sky.directory.path().join("two");
    stage(&guest, &two, second, &other).await.unwrap();
    for (id, place) in [(&one, place), (&two, other)] {
        guest.unstage(&format!("sky/{id}").parse().unwrap(), &place).await.unwrap();
        sky.backend.detach(&off(id, None)).await.unwrap();
    }
    sky.check(&[&one, &two]);
}

/// Numbers that look random, and are the same for a seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let limit = u64::try_from(list.len()).unwrap();
        &list[usize::try_from(self.below(limit)).unwrap()]
    }
}

/// A process that is killed now and then: whoever it worked for asks its successor.
struct Seat {
    directory: TempDir,
    backend: tokio::sync::RwLock<Arc<CinderBackend>>,
    storm: std::sync::atomic::AtomicBool,
}

impl Seat {
    fn storms(&self) -> bool {
        self.storm.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn restart(&self) {
        // In a storm the new process may not get through to the cloud.
        let opened = tokio::spawn(try_open(self.directory.path().to_owned())).await.unwrap();
        if let Ok(backend) = opened {
            *self.backend.write().await = Arc::new(backend);
        }
    }

    /// Asks until it is answered. A call in a storm is cut off where it takes long, as a process that is killed cuts it off.
    async fn insist<T, F: Future<Output = Result<T, Error>>>(
        &self,
        dice: &mut Dice,
        call: impl Fn(Arc<CinderBackend>) -> F,
    ) -> Result<T, Error> {
        let began = std::time::Instant::now();
        loop {
            let backend = Arc::clone(&*self.backend.read().await);
            let patience = if self.storms() { 200 + dice.below(4000) } else { 60_000 };
            match tokio::time::timeout(Duration::from_millis(patience), call(backend)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if error.outcome() == Outcome::Refused => return Err(error),
                Ok(Err(error)) => assert!(began.elapsed() < Duration::from_secs(120), "{error:?}"),
                Err(_) => self.restart().await,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One volume's life, again and again.
async fn lives(seat: Arc<Seat>, nodes: Vec<NodeId>, places: Vec<TopologyRequirement>, number: usize) -> u64 {
    let mut dice = Dice(u64::try_from(number).unwrap());
    let mut calls = 0;
    for round in 0..4 {
        let name = format!("pvc-{number}-{round}");
        // Every third cannot move.
        let bound = number.is_multiple_of(3).then_some(number / 3);
        let ordered = match bound {
            Some(node) => of_type(&name, "drbd", places[node].clone()),
            None => order(&name, 1),
        };
        let made = seat.insist(&mut dice, |backend| {
            let ordered = ordered.clone();
            async move { backend.create(&ordered).await }
        });
        let made = made.await.unwrap();
        for _ in 0..2 {
            let node = bound.map_or_else(|| dice.one_of(&nodes), |node| &nodes[node]);
            let attached = seat.insist(&mut dice, |backend| {
                let attach = writer(&made.id, node);
                async move { backend.attach(&attach).await }
            });
            match attached.await {
                Ok(attachment) => assert_eq!(attachment.content, Content::New),
                // It is full.
                Err(error) => assert_eq!(error.kind(), Kind::ResourceExhausted, "{error:?}"),
            }
            let detached = seat.insist(&mut dice, |backend| {
                let detach = off(&made.id, Some(node));
                async move { backend.detach(&detach).await }
            });
            detached.await.unwrap();
            calls += 2;
        }
        let deleted = seat.insist(&mut dice, |backend| {
            let id = made.id.clone();
            async move { backend.delete(&id).await }
        });
        deleted.await.unwrap();
        calls += 2;
    }
    calls
}

/// Something that goes wrong.
fn fault(dice: &mut Dice) -> Rule {
    let fails = || Fate { fails: Some(String::new()), ..Fate::default() };
    let later = || Fault::Refuse(503, "later".to_owned());
    let rules = [
        Rule::once("POST", "/volumes", Fault::LoseReply),
        Rule::once("POST", "/volumes", Fault::Late(400)),
        Rule::once("POST", "/volumes", Fault::Drop),
        Rule::once("POST", "/volumes/{id}/metadata", Fault::LoseReply),
        Rule::once("POST", "/volumes/{id}/metadata", later()),
        Rule::once("POST", "/os-volume_attachments", Fault::LoseReply),
        Rule::once("POST", "/os-volume_attachments", Fault::Late(300)),
        Rule::once("POST", "/os-volume_attachments", Fault::GatewayTimeout(300)),
        Rule::fate("POST", "/os-volume_attachments", fails()),
        Rule::once("DELETE", "/os-volume_attachments/{id}", Fault::LoseReply),
        Rule::fate("DELETE", "/os-volume_attachments/{id}", fails()),
        Rule::once("DELETE", "/volumes/{id}", Fault::LoseReply),
        Rule::once("DELETE", "/volumes/{id}", Fault::Refuse(404, "No available helper server.".to_owned())),
        Rule::once("GET", "", later()),
        Rule::once("GET", "", Fault::Truncate),
        Rule::once("GET", "", Fault::Html(502)),
    ];
    dice.one_of(&rules).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_left_in_a_storm() {
    let sky = Sky::new(3).await;
    let (nodes, sim) = (sky.nodes.clone(), &sky.sim);
    let places: Vec<_> = (0..3).map(|node| sky.places(&[node])).collect();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("clouds.yaml"), sim.clouds_yaml()).unwrap();
    let backend = tokio::sync::RwLock::new(Arc::new(open(&directory).await));
    let seat = Arc::new(Seat { directory, backend, storm: true.into() });
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..9_usize {
        workers.spawn(lives(Arc::clone(&seat), nodes.clone(), places.clone(), number));
    }
    let (mut dice, began, mut faults) = (Dice(7), std::time::Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(12) {
        sim.order(fault(&mut dice));
        faults += 1;
        tokio::time::sleep(Duration::from_millis(60 + dice.below(200))).await;
    }
    sim.clear_orders();
    seat.storm.store(false, std::sync::atomic::Ordering::Relaxed);
    seat.restart().await;
    let mut calls = 0;
    while let Some(done) = workers.join_next().await {
        calls += done.unwrap();
    }
    assert_eq!((calls, faults > 50), (9 * 4 * 6, true));
    // An order that was carried out late, of a volume that was gone again by then, is found by the next one of its name.
    let backend = Arc::clone(&*seat.backend.read().await);
    for number in 0..9_usize {
        for round in 0..4 {
            let name = format!("pvc-{number}-{round}");
            let ordered = match number.is_multiple_of(3) {
                true => of_type(&name, "drbd", places[number / 3].clone()),
                false => order(&name, 1),
            };
            let made = backend.create(&ordered).await.unwrap();
            backend.delete(&made.id).await.unwrap();
        }
    }
    eprintln!("{calls} calls, {faults} faults, {:.1?}", began.elapsed());
    sky.check(&[]);
    assert!(sim.cloud().servers.iter().all(|server| server.disks.is_empty()));
}
