//! Two clusters of one location, reached over the API of the first.

use std::collections::BTreeMap;

use storpoolsim::state::{Cluster, Detach, Entry, Kind as Sort};
use storpoolsim::{Config, Sim, Status};

use super::world::{World, attach, id, order, told};
use crate::backend::{AttachOrder, Backend, DetachOrder, GroupOrder, SnapshotOrder, VolumeOrder};
use crate::error::{Kind, Outcome, Result};
use crate::volume::{AccessMode, Attachment, Bytes, NativeId, NodeId, Parameters, SizeRange, Source};

const HERE: &str = "d.n";
const THERE: &str = "d.b";

async fn location() -> World {
    let config = Config::default();
    let there = config.neighbour(THERE, "branch");
    let sim = Sim::start_location(vec![config, there]).await.unwrap();
    for client in 1..=4 {
        sim.neighbour(THERE).add_client(client);
    }
    World::on(sim, |config| config.multi_cluster = true).await
}

fn node(cluster: &str, client: u16) -> NodeId {
    format!("node-{cluster}-{client};storpool={cluster}.{client}").parse().unwrap()
}

async fn give(world: &World, volume: &NativeId, node: NodeId) -> Result<Attachment> {
    world.backend.attach(&AttachOrder { node, ..attach(volume, 1) }).await
}

async fn take(world: &World, volume: &NativeId, node: NodeId) -> Result<()> {
    world.backend.detach(&DetachOrder { volume: volume.clone(), node: Some(node), fence: None }).await
}

/// Who has what in a cluster.
fn holders(cluster: &Cluster) -> BTreeMap<String, Vec<u16>> {
    let mut holders: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (volume, client, _) in cluster.attachments() {
        holders.entry(volume.called()).or_default().push(client);
    }
    holders
}

fn all_holders(world: &World) -> [BTreeMap<String, Vec<u16>>; 2] {
    let here = holders(&world.sim.cluster());
    [here, holders(&world.sim.neighbour(THERE))]
}

fn of<const N: usize>(pairs: [(&str, &[u16]); N]) -> BTreeMap<String, Vec<u16>> {
    pairs.into_iter().map(|(name, clients)| (name.to_owned(), clients.to_vec())).collect()
}

#[tokio::test]
async fn a_volume_goes_to_the_cluster_of_the_node_that_gets_it() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    assert!(world.sim.cluster().get("csi--v", Sort::Volume).is_ok(), "made where the API is");
    let first = give(&world, &volume, node(THERE, 1)).await.unwrap();
    assert_eq!(all_holders(&world), [of([]), of([("csi--v", &[1])])]);
    assert_eq!(give(&world, &volume, node(THERE, 1)).await.unwrap(), first);
    let known = world.backend.get(&volume).await.unwrap();
    assert_eq!(known.attached, [node(THERE, 1)]);
    assert_eq!(world.backend.list(&Default::default()).await.unwrap().items, [known]);
    take(&world, &volume, node(THERE, 1)).await.unwrap();
    let second = give(&world, &volume, node(HERE, 1)).await.unwrap();
    assert_eq!(all_holders(&world), [of([("csi--v", &[1])]), of([])]);
    assert_ne!(first.nonce, second.nonce);
    assert_eq!(first.connection, second.connection, "it keeps its global id");
    take(&world, &volume, node(HERE, 1)).await.unwrap();
    world.backend.delete(&volume).await.unwrap();
    world.backend.delete(&volume).await.unwrap();
    assert!(world.volumes().is_empty());
}

/// Client 1 of one cluster is another machine than client 1 of the other one.
#[tokio::test]
async fn the_same_number_in_another_cluster_is_another_client() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    give(&world, &volume, node(HERE, 1)).await.unwrap();
    let (kind, outcome, text) = told(give(&world, &volume, node(THERE, 1)).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("node-d.n-1 (client d.n.1)"), "{text}");
    // Nothing is taken from the one, because the other has nothing.
    take(&world, &volume, node(THERE, 1)).await.unwrap();
    assert_eq!(all_holders(&world), [of([("csi--v", &[1])]), of([])]);
    world.sim.cluster().set_open("csi--v", 1, 1).unwrap();
    assert_eq!(told(take(&world, &volume, node(HERE, 1)).await).0, Kind::Busy);
    world.sim.cluster().set_open("csi--v", 1, 0).unwrap();
    take(&world, &volume, node(HERE, 1)).await.unwrap();
    let everywhere = DetachOrder { volume: volume.clone(), node: None, fence: None };
    give(&world, &volume, node(THERE, 2)).await.unwrap();
    world.backend.detach(&everywhere).await.unwrap();
    assert_eq!(all_holders(&world), [of([]), of([])]);
}

/// Somebody attaches it in its cluster between the look and the order: it is neither moved nor exported.
#[tokio::test]
async fn a_volume_that_is_in_use_elsewhere_is_not_moved() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    world.sim.order(storpoolsim::Rule::once("POST", "/VolumesReassignWait", storpoolsim::Fault::Late(80)));
    let other = async {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        let (rw, ro) = (vec![2], vec![]);
        let entry =
            Entry { name: "csi--v".into(), kind: Sort::Volume, rw, ro, detach: Detach::Nobody, force: false };
        world.sim.cluster().reassign(&[entry]).unwrap();
    };
    let (result, ()) = tokio::join!(give(&world, &volume, node(THERE, 1)), other);
    let (_, _, text) = told(result);
    assert_eq!(all_holders(&world), [of([("csi--v", &[2])]), of([])], "{text}");
    let (kind, outcome, text) = told(give(&world, &volume, node(THERE, 1)).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
}

#[tokio::test]
async fn several_nodes_share_a_volume_in_one_cluster_alone() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    let share = |node: NodeId| {
        let mut wanted = AttachOrder { node, readonly: true, ..attach(&volume, 1) };
        wanted.access.mode = AccessMode::MultiNodeReaderOnly;
        wanted
    };
    for client in [1, 2] {
        world.backend.attach(&share(node(THERE, client))).await.unwrap();
    }
    let (kind, outcome, text) = told(world.backend.attach(&share(node(HERE, 1))).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("another cluster"), "{text}");
    assert_eq!(all_holders(&world), [of([]), of([("csi--v", &[1, 2])])]);
}

#[tokio::test]
async fn what_is_done_to_a_volume_is_done_where_it_is() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    give(&world, &volume, node(THERE, 1)).await.unwrap();
    let grown = world.backend.expand(&volume, SizeRange::at_least(Bytes::gib(2))).await.unwrap();
    assert_eq!(grown.size, Bytes::gib(2));
    let cut = SnapshotOrder { name: "s".into(), volume: volume.clone(), parameters: Parameters::default() };
    let snapshot = world.backend.create_snapshot(&cut).await.unwrap();
    for (name, source) in
        [("c", Source::Volume(volume.clone())), ("r", Source::Snapshot(snapshot.id.clone()))]
    {
        let size = SizeRange::at_least(Bytes::gib(2));
        world.backend.create(&VolumeOrder { source: Some(source), size, ..order(name) }).await.unwrap();
        let there = world.sim.neighbour(THERE);
        assert!(there.get(&format!("csi--{name}"), Sort::Volume).is_ok(), "{name}");
    }
    let template = super::world::parameters(&[("template", "hybrid")]);
    let source = Some(Source::Volume(volume.clone()));
    let size = SizeRange::at_least(Bytes::gib(2));
    let moved = VolumeOrder { source, size, parameters: template, ..order("m") };
    world.backend.create(&moved).await.unwrap();
    assert_eq!(world.sim.neighbour(THERE).get("csi--m", Sort::Volume).unwrap().policy.template, "hybrid");
    assert!(world.backend.health(&volume).await.unwrap().is_empty());
    world.backend.delete_snapshot(&snapshot.id).await.unwrap();
    take(&world, &volume, node(THERE, 1)).await.unwrap();
    for name in ["v", "c", "r", "m"] {
        world.backend.delete(&id(&format!("csi--{name}"))).await.unwrap();
    }
    assert!(world.backend.list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_group_is_of_volumes_in_one_cluster() {
    let world = location().await;
    let (one, two) = (world.create("v").await.unwrap().id, world.create("w").await.unwrap().id);
    give(&world, &two, node(THERE, 1)).await.unwrap();
    let group =
        GroupOrder { name: "g".into(), volumes: vec![one.clone(), two], parameters: Parameters::default() };
    let (kind, outcome, text) = told(world.backend.create_group(&group).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("csi--v in d.n") && text.contains("csi--w in d.b"), "{text}");
    give(&world, &one, node(THERE, 1)).await.unwrap();
    let made = world.backend.create_group(&group).await.unwrap();
    assert_eq!(made.members.len(), 2);
}

#[tokio::test]
async fn a_volume_of_storpools_own_driver_is_served_in_another_cluster() {
    let world = location().await;
    let handle = id(&world.foreign(None));
    // Its node ids have the cluster.
    let its_node: NodeId = "d.b.3".parse().unwrap();
    let attached = give(&world, &handle, its_node.clone()).await.unwrap();
    assert_eq!(all_holders(&world)[1], of([(&format!("~{handle}"), &[3])]));
    assert_eq!(give(&world, &handle, its_node.clone()).await.unwrap(), attached);
    take(&world, &handle, its_node).await.unwrap();
    world.backend.delete(&handle).await.unwrap();
    assert!(world.sim.neighbour(THERE).objects().next().is_none());
}

#[tokio::test]
async fn what_is_not_known_of_a_location_is_refused() {
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    let clusterless: NodeId = "alpha;storpool=1".parse().unwrap();
    let (kind, outcome, text) = told(give(&world, &volume, clusterless).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("SP_CLUSTER_ID"), "{text}");
    let (kind, outcome, text) = told(give(&world, &volume, node("d.x", 1)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("node-d.x-1") && text.contains("storpool cluster list"), "{text}");
    world.sim.neighbour(THERE).config.status = Status::CutOff;
    let (kind, outcome, text) = told(give(&world, &volume, node(HERE, 1)).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    assert!(text.contains("branch"), "{text}");
    assert_eq!(all_holders(&world), [of([]), of([])]);
    world.sim.neighbour(THERE).config.status = Status::Running;
    give(&world, &volume, node(HERE, 1)).await.unwrap();
}

/// Orders of the same moment go together, and each cluster's for themselves.
#[tokio::test]
async fn each_cluster_gets_its_orders_in_few_calls() {
    let world = std::sync::Arc::new(location().await);
    let mut volumes = Vec::new();
    for n in 0..60 {
        volumes.push(world.create(&format!("v{n}")).await.unwrap().id);
    }
    world.sim.forget_counts();
    let tasks: Vec<_> = volumes
        .iter()
        .enumerate()
        .map(|(n, volume)| {
            let (world, volume) = (std::sync::Arc::clone(&world), volume.clone());
            let node = node(if n % 2 == 0 { HERE } else { THERE }, u16::try_from(n % 4).unwrap() + 1);
            tokio::spawn(async move { give(&world, &volume, node).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let [here, there] = all_holders(&world);
    assert_eq!((here.len(), there.len()), (30, 30));
    assert!(world.count("/VolumesReassignWait") <= 12, "{:?}", world.sim.counts());
}

/// What a back end cannot have attached need not be detached, and does not hold up the node's end.
#[tokio::test]
async fn a_node_of_a_cluster_that_is_not_reached_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(|config| {
        let rest = config.endpoints.remove(0).replace("http://", "");
        let (host, port) = rest.split_once(':').unwrap();
        config.conf_file = directory.path().join("storpool.conf");
        let conf = format!("SP_API_HTTP_HOST={host}\nSP_API_HTTP_PORT={port}\nSP_CLUSTER_ID={HERE}\n");
        std::fs::write(&config.conf_file, conf).unwrap();
    })
    .await;
    let volume = world.create("v").await.unwrap().id;
    give(&world, &volume, node(HERE, 1)).await.unwrap();
    let (kind, outcome, text) = told(give(&world, &volume, node(THERE, 1)).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(text.contains("multiCluster"), "{text}");
    take(&world, &volume, node(THERE, 1)).await.unwrap();
    assert_eq!(world.holders()["csi--v"], [1], "the same number here is another node");
    // Which client that is in a location cannot be told.
    let world = location().await;
    let volume = world.create("v").await.unwrap().id;
    let (kind, _, text) = told(take(&world, &volume, "alpha;storpool=1".parse().unwrap()).await);
    assert_eq!(kind, Kind::FailedPrecondition, "{text}");
}
