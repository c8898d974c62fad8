use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::fake::Fake;
use super::*;
use crate::backend::{Expansion, FencingProof, Page, Warning};
use crate::error::{Kind, Outcome};
use crate::volume::{
    Access, AccessKind, AccessMode, Bytes, FsType, MountFlags, NodeId, Parameters, SizeRange,
    TopologyRequirement,
};

fn map(pairs: &[(&str, &str)]) -> Parameters {
    Parameters(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
}

fn mount(mode: AccessMode) -> Access {
    Access { kind: AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() }, mode }
}

fn block(mode: AccessMode) -> Access {
    Access { kind: AccessKind::Block, mode }
}

fn order(name: &str, parameters: &[(&str, &str)]) -> Provision {
    Provision {
        name: name.into(),
        size: SizeRange::default(),
        origin: None,
        access: vec![mount(AccessMode::SingleNodeWriter)],
        parameters: map(parameters),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
    }
}

fn attach(id: &VolumeId, node: &str, access: Access, readonly: bool) -> Attach {
    Attach { volume: id.clone(), node: node.parse().unwrap(), access, readonly }
}

struct House {
    east: Arc<Fake>,
    controller: Arc<Controller>,
}

/// Two back ends: `east`, which can do everything, and `west`, as given.
fn house(east: Fake, west: Fake) -> House {
    let east = Arc::new(east);
    let backends = Backends::builder()
        .add("east".parse().unwrap(), Arc::<Fake>::clone(&east))
        .add("west".parse().unwrap(), Arc::new(west));
    House { east, controller: Arc::new(Controller::new(Arc::new(backends.build()))) }
}

async fn volume(controller: &Controller, name: &str, backend: &str) -> VolumeId {
    let found = controller.create(order(name, &[("backend", backend)])).await.unwrap();
    VolumeId::new(found.backend, found.item.id)
}

#[tokio::test]
async fn a_class_picks_the_back_end_and_kubernetes_own_keys_never_reach_it() {
    let House { east, controller } = house(Fake::default(), Fake::default());
    let given = [
        ("backend", "east"),
        ("tier", "fast"),
        ("csi.storage.k8s.io/pvc/name", "data"),
        ("csi.storage.k8s.io/pvc/namespace", "shop"),
        ("csi.storage.k8s.io/something-new", "x"),
    ];
    let found = controller.create(order("v", &given)).await.unwrap();
    assert_eq!(found.backend.as_str(), "east");
    assert_eq!(east.owner().claim.as_deref(), Some("data"));
    assert_eq!(east.owner().namespace.as_deref(), Some("shop"));
    assert_eq!(east.owner().volume, None);
    for bad in [&[][..], &[("backend", "north")], &[("backend", "east"), ("teir", "fast")]] {
        let error = controller.create(order("v", bad)).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::InvalidArgument, Outcome::Refused), "{bad:?}");
    }
}

#[tokio::test]
async fn uses_that_contradict_or_endanger_each_other_are_refused() {
    use AccessMode::*;
    let lone = Fake::new(lacking_all());
    let House { controller, .. } = house(Fake::default(), lone);
    let try_with = |backend: &'static str, access: Vec<Access>| {
        let controller = &controller;
        async move {
            let order = Provision { access, ..order("v", &[("backend", backend)]) };
            controller.create(order).await.map_err(|error| error.kind()).err()
        }
    };
    let xfs =
        |mode| Access { kind: AccessKind::Mount { fs: FsType::Xfs, flags: MountFlags::default() }, mode };
    for (backend, access, expected) in [
        ("east", vec![mount(MultiNodeMultiWriter)], Some(Kind::InvalidArgument)),
        ("east", vec![mount(MultiNodeSingleWriter)], Some(Kind::InvalidArgument)),
        ("east", vec![mount(SingleNodeWriter), block(SingleNodeWriter)], Some(Kind::InvalidArgument)),
        ("east", vec![mount(SingleNodeWriter), xfs(SingleNodeWriter)], Some(Kind::InvalidArgument)),
        ("west", vec![mount(MultiNodeReaderOnly)], Some(Kind::Unsupported)),
        ("west", vec![block(SingleNodeWriter)], Some(Kind::Unsupported)),
        ("east", vec![mount(SingleNodeWriter), mount(MultiNodeReaderOnly)], None),
        ("east", vec![block(MultiNodeMultiWriter)], None),
    ] {
        assert_eq!(try_with(backend, access.clone()).await, expected, "{backend} {access:?}");
    }
}

fn lacking_all() -> crate::backend::Capabilities {
    crate::backend::Capabilities {
        snapshots: false,
        group_snapshots: false,
        clones: false,
        expansion: Expansion::Never,
        modify: false,
        readonly_attach: false,
        multi_attach: false,
        raw: false,
    }
}

#[tokio::test]
async fn what_a_back_end_lacks_is_refused_by_its_name() {
    let House { controller, .. } = house(Fake::default(), Fake::new(lacking_all()));
    let id = volume(&controller, "v", "west").await;
    let cut = Cut { name: "s".into(), volume: id.clone(), parameters: Parameters::default() };
    let group = Group { name: "g".into(), volumes: [id.clone()].into(), parameters: Parameters::default() };
    let single = mount(AccessMode::SingleNodeWriter);
    let clone = Provision { origin: Some(Origin::Volume(id.clone())), ..order("c", &[("backend", "west")]) };
    for error in [
        controller.create(clone).await.unwrap_err(),
        controller.create_snapshot(cut).await.unwrap_err(),
        controller.create_group(group).await.unwrap_err(),
        controller.expand(&id, SizeRange::at_least(Bytes::gib(2)), None).await.unwrap_err(),
        controller.modify(&id, map(&[("iops", "1")])).await.unwrap_err(),
        controller.attach(attach(&id, "n", single, true)).await.unwrap_err(),
        controller.attach(attach(&id, "n", block(AccessMode::SingleNodeWriter), false)).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Refused), "{error}");
        assert!(error.to_string().contains("west"), "{error}");
    }
    assert_eq!(
        controller.expand(&id, SizeRange::at_least(Bytes::mib(5)), None).await.unwrap().size,
        Bytes::gib(1)
    );
    controller.modify(&id, Parameters::default()).await.unwrap();
    let gone: VolumeId = "west/gone".parse().unwrap();
    assert!(controller.modify(&gone, map(&[("iops", "1")])).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_offline_back_end_grows_only_what_no_node_has() {
    let mut east = Fake::default();
    east.capabilities.expansion = Expansion::Offline;
    let House { controller, .. } = house(east, Fake::default());
    let id = volume(&controller, "v", "east").await;
    let single = mount(AccessMode::SingleNodeWriter);
    controller.attach(attach(&id, "worker-7", single, false)).await.unwrap();
    let size = SizeRange::at_least(Bytes::gib(2));
    let error = controller.expand(&id, size, None).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused));
    assert!(error.to_string().contains("worker-7"), "{error}");
    controller.detach(&id, None).await.unwrap();
    assert_eq!(controller.expand(&id, size, None).await.unwrap().size, Bytes::gib(2));
}

#[tokio::test]
async fn a_volume_is_made_large_enough_for_its_file_system() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let xfs = || Access {
        kind: AccessKind::Mount { fs: FsType::Xfs, flags: MountFlags::default() },
        mode: AccessMode::SingleNodeWriter,
    };
    let small = |name: &str, limit: i64, access: Access| Provision {
        size: SizeRange::new(1 << 20, limit).unwrap(),
        access: vec![access],
        ..order(name, &[("backend", "east")])
    };
    let made = controller.create(small("a", 0, xfs())).await.unwrap().item;
    assert_eq!(made.size, Bytes::mib(300));
    assert_eq!(controller.create(small("a", 0, xfs())).await.unwrap().item, made);
    let error = controller.create(small("b", 2 << 20, xfs())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::OutOfRange, Outcome::Refused));
    assert!(
        error.to_string().contains("limit_bytes (2 MiB)") && error.to_string().contains("300 MiB"),
        "{error}"
    );
    let raw = controller.create(small("c", 0, block(AccessMode::SingleNodeWriter))).await.unwrap().item;
    assert_eq!(raw.size, Bytes::mib(1));
}

#[tokio::test]
async fn sources_and_groups_stay_within_one_back_end() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let (east, west) = (volume(&controller, "a", "east").await, volume(&controller, "b", "west").await);
    let clone =
        Provision { origin: Some(Origin::Volume(east.clone())), ..order("c", &[("backend", "west")]) };
    assert_eq!(controller.create(clone).await.unwrap_err().kind(), Kind::InvalidArgument);
    let parameters = Parameters::default();
    let mixed =
        Group { name: "g".into(), volumes: [east.clone(), west].into(), parameters: parameters.clone() };
    let error = controller.create_group(mixed).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused));
    let group = Group { name: "g".into(), volumes: [east].into(), parameters };
    let made = controller.create_group(group).await.unwrap();
    let id = crate::volume::GroupSnapshotId::new(made.backend, made.item.id);
    let member = "east/g-0".parse().unwrap();
    assert_eq!(controller.get_group(&id, &[member]).await.unwrap().item.members.len(), 1);
    for other in [vec![], vec!["west/g-0".parse().unwrap()], vec!["east/x".parse().unwrap()]] {
        assert_eq!(controller.get_group(&id, &other).await.unwrap_err().kind(), Kind::InvalidArgument);
    }
}

#[tokio::test]
async fn listings_walk_all_back_ends_and_refuse_foreign_tokens() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    for (name, backend) in [("a", "east"), ("b", "east"), ("sick", "west"), ("d", "west")] {
        volume(&controller, name, backend).await;
    }
    for max in [None, Some(1), Some(2), Some(3), Some(9)] {
        let (mut names, mut token) = (Vec::new(), None);
        for _ in 0..9 {
            let part = controller.list(&Page { max, token: token.take() }).await.unwrap();
            assert!(max.is_none_or(|max| part.items.len() <= max));
            names.extend(part.items.iter().map(|found| format!("{}/{}", found.backend, found.item.id)));
            token = part.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(names, ["east/a", "east/b", "west/d", "west/sick"], "{max:?}");
        assert_eq!(token, None);
    }
    for token in ["invalid-token", "north:", ":", "\0"] {
        let error = controller.list(&Page { max: None, token: Some(token.into()) }).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadToken, "{token:?}");
    }
    let sick = controller.list_health(&Page::default()).await.unwrap();
    assert_eq!(sick.items.len(), 1);
    assert_eq!(sick.items[0].item.0.to_string(), "west/sick");
}

#[tokio::test]
async fn snapshots_are_found_by_filters_that_may_match_nothing() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let id = volume(&controller, "v", "east").await;
    let cut = Cut { name: "s".into(), volume: id.clone(), parameters: Parameters::default() };
    let made = controller.create_snapshot(cut.clone()).await.unwrap();
    assert_eq!(controller.create_snapshot(cut).await.unwrap(), made);
    let count = |snapshot: Option<&str>, volume: Option<&str>| {
        let query = SnapshotQuery {
            snapshot: snapshot.map(|id| id.parse().unwrap()),
            volume: volume.map(|id| id.parse().unwrap()),
        };
        let controller = &controller;
        async move { controller.list_snapshots(&query, &Page::default()).await.unwrap().items.len() }
    };
    assert_eq!(count(None, None).await, 1);
    assert_eq!(count(Some("east/s"), Some("east/v")).await, 1);
    assert_eq!(count(Some("east/s"), Some("west/v")).await, 0);
    assert_eq!(count(Some("north/s"), None).await, 0);
    assert_eq!(count(Some("west/s"), None).await, 0);
}

#[tokio::test]
async fn capacity_is_that_of_the_chosen_back_end_or_of_all() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let room = |pairs: &[(&str, &str)]| Room { parameters: map(pairs), ..Room::default() };
    let one = controller.capacity(room(&[("backend", "west")])).await.unwrap();
    let all = controller.capacity(room(&[])).await.unwrap();
    assert_eq!((one.available, one.largest), (Bytes::gib(10), Bytes::gib(4)));
    assert_eq!((all.available, all.largest, all.smallest), (Bytes::gib(20), Bytes::gib(4), Bytes::mib(1)));
    let writers = Room { access: vec![mount(AccessMode::MultiNodeMultiWriter)], ..Room::default() };
    assert_eq!(controller.capacity(writers).await.unwrap().available, Bytes::ZERO);
    assert_eq!(controller.capacity(room(&[("x", "y")])).await.unwrap_err().kind(), Kind::InvalidArgument);
}

#[tokio::test]
async fn nothing_overtakes_a_change_of_the_same_volume_and_a_retry_joins_it() {
    let House { east, controller } = house(Fake::default(), Fake::default());
    let id = volume(&controller, "v", "east").await;
    east.gate.forget_permits(2000);
    let single = mount(AccessMode::SingleNodeWriter);
    let first = controller.attach(attach(&id, "n", single.clone(), false));
    assert!(tokio::time::timeout(Duration::from_millis(20), first).await.is_err());
    assert_eq!(controller.flights().first().map(|flight| flight.phase), Some("attach"));
    for error in [
        controller.delete(&id).await.unwrap_err(),
        controller.detach(&id, None).await.unwrap_err(),
        controller.attach(attach(&id, "n", single.clone(), true)).await.unwrap_err(),
        controller.expand(&id, SizeRange::at_least(Bytes::gib(2)), None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
    }
    let retry = controller.attach(attach(&id, "n", single, false));
    let (joined, ()) = tokio::join!(retry, async { east.gate.add_permits(1) });
    assert!(!joined.unwrap().readonly);
    assert!(controller.flights().is_empty());
    east.gate.add_permits(10);
    controller.delete(&id).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_create_goes_on_and_is_joined() {
    let House { east, controller } = house(Fake::default(), Fake::default());
    east.gate.forget_permits(2000);
    let first = controller.create(order("v", &[("backend", "east")]));
    assert!(tokio::time::timeout(Duration::from_millis(20), first).await.is_err());
    let other = Provision { size: SizeRange::at_least(Bytes::gib(3)), ..order("v", &[("backend", "east")]) };
    assert_eq!(controller.create(other).await.unwrap_err().kind(), Kind::Busy);
    let retry = controller.create(order("v", &[("backend", "east")]));
    let (joined, ()) = tokio::join!(retry, async { east.gate.add_permits(1) });
    joined.unwrap();
    assert_eq!(east.creates.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn taking_away_from_an_unconfigured_back_end_is_refused_not_called_done() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let (volume, snapshot) = ("north/v".parse().unwrap(), "north/s".parse().unwrap());
    for error in [
        controller.delete(&volume).await.unwrap_err(),
        controller.detach(&volume, None).await.unwrap_err(),
        controller.delete_snapshot(&snapshot).await.unwrap_err(),
        controller.delete_group(&"north/g".parse().unwrap(), &[]).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.outcome()), (Kind::FailedPrecondition, Outcome::Refused));
    }
    assert!(controller.get(&volume).await.unwrap_err().is_not_found());
    controller.delete(&"east/never-was".parse().unwrap()).await.unwrap();
}

/// A cluster in which `dead` is out of service, and of `lost` nothing can be found out.
#[derive(Debug, Default)]
struct Town {
    asked: AtomicUsize,
    told: Mutex<Vec<(String, Notice)>>,
    warned: Mutex<Vec<String>>,
}

#[async_trait]
impl Cluster for Town {
    async fn fencing(&self, _volume: &VolumeId, node: &NodeId) -> Result<Fencing> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match node.name() {
            "dead" => Ok(Fencing::Proven(FencingProof::OutOfService)),
            "lost" => Err(Error::unknown(Kind::Timeout, "the API server did not answer")),
            _ => Ok(Fencing::Unproven("the Node is there".into())),
        }
    }

    async fn check_server(&self, node: &NodeId) -> Result<()> {
        match node.name() {
            "former" => Err(Error::not_found("Node former is another server now")),
            _ => Ok(()),
        }
    }

    async fn tell(&self, volume: &VolumeId, node: &NodeId, notice: Notice) {
        self.told.lock().unwrap().push((format!("{volume} {node}"), notice));
    }

    async fn warn(&self, backend: &BackendName, warning: &Warning) {
        self.warned.lock().unwrap().push(format!("{backend}: {}", warning.text));
    }
}

#[tokio::test]
async fn nothing_is_attached_to_a_server_that_the_cluster_knows_as_another() {
    let fake = Arc::new(Fake::default());
    let backends = Backends::builder().add("east".parse().unwrap(), Arc::<Fake>::clone(&fake)).build();
    let controller = Controller::new(Arc::new(backends)).with_cluster(Arc::new(Town::default()));
    let id = volume(&controller, "v", "east").await;
    let single = mount(AccessMode::SingleNodeWriter);
    let error = controller.attach(attach(&id, "former", single.clone(), false)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::NotFound, Outcome::Refused));
    assert!(controller.get(&id).await.unwrap().attached.is_empty());
    controller.attach(attach(&id, "present", single, false)).await.unwrap();
    assert_eq!(controller.get(&id).await.unwrap().attached, ["present".parse().unwrap()]);
}

#[tokio::test]
async fn a_proof_is_looked_for_only_where_a_node_does_not_let_go() {
    let (fake, town) = (Arc::new(Fake::default()), Arc::new(Town::default()));
    let backends = Backends::builder().add("east".parse().unwrap(), Arc::<Fake>::clone(&fake)).build();
    let controller = Controller::new(Arc::new(backends)).with_cluster(Arc::<Town>::clone(&town));
    let id = volume(&controller, "v", "east").await;
    let detach = |node: Option<&str>| controller.detach(&id, node.map(|node| node.parse().unwrap()));
    detach(Some("dead")).await.unwrap();
    assert_eq!((fake.fence(), town.asked.load(Ordering::SeqCst)), (None, 0));
    fake.hold();
    for (node, refusal) in [
        (Some("alive"), "it is held open; the Node is there"),
        (
            Some("lost"),
            "it is held open; whether it is off could not be found out: the API server did not answer",
        ),
        (None, "it is held open"),
    ] {
        let error = detach(node).await.unwrap_err();
        assert_eq!(error.to_string(), format!("detach volume: {refusal}"), "{node:?}");
        assert_eq!((error.kind(), fake.fence()), (Kind::Busy, None), "{node:?}");
    }
    detach(Some("dead")).await.unwrap();
    assert_eq!(fake.fence(), Some(FencingProof::OutOfService));
    assert_eq!(town.asked.load(Ordering::SeqCst), 3, "nobody is asked about no node in particular");
    let told = std::mem::take(&mut *town.told.lock().unwrap());
    let wanted = [
        ("east/v alive", Notice::Held("it is held open; the Node is there".into())),
        ("east/v dead", Notice::Fenced(FencingProof::OutOfService)),
    ];
    assert_eq!(told, wanted.map(|(about, notice)| (about.to_owned(), notice)));
}

#[tokio::test]
async fn what_is_wrong_with_a_back_end_is_passed_on_to_the_cluster_as_long_as_it_is_so() {
    let (fake, town) = (Arc::new(Fake::default()), Arc::new(Town::default()));
    let backends = Backends::builder()
        .add("east".parse().unwrap(), Arc::<Fake>::clone(&fake))
        .add("west".parse().unwrap(), Arc::new(Fake::default()));
    let controller = Controller::new(Arc::new(backends.build())).with_cluster(Arc::<Town>::clone(&town));
    controller.pass_warnings_on().await;
    fake.warn(Some("it is old"));
    controller.pass_warnings_on().await;
    fake.warn(None);
    controller.pass_warnings_on().await;
    assert_eq!(*town.warned.lock().unwrap(), ["east: it is old"]);
}

#[tokio::test]
async fn validation_judges_uses_and_parameters_of_a_volume_that_exists() {
    let House { controller, .. } = house(Fake::default(), Fake::default());
    let id = volume(&controller, "v", "east").await;
    let single = [mount(AccessMode::SingleNodeWriter)];
    let none = Parameters::default();
    let verdict = |access: Vec<Access>, parameters: Parameters, mutable: Parameters| {
        let (controller, id) = (&controller, &id);
        async move { controller.validate(id, &access, parameters, mutable).await.unwrap() }
    };
    assert_eq!(verdict(single.to_vec(), none.clone(), none.clone()).await, Verdict::Confirmed);
    let fits = map(&[("backend", "east"), ("tier", "a")]);
    assert_eq!(verdict(single.to_vec(), fits, map(&[("iops", "5")])).await, Verdict::Confirmed);
    for (access, parameters, mutable) in [
        (vec![mount(AccessMode::MultiNodeMultiWriter)], none.clone(), none.clone()),
        (single.to_vec(), map(&[("backend", "west")]), none.clone()),
        (single.to_vec(), none.clone(), map(&[("x", "5")])),
    ] {
        assert!(matches!(verdict(access, parameters, mutable).await, Verdict::Unsupported(_)));
    }
    let gone = "east/gone".parse().unwrap();
    assert!(controller.validate(&gone, &single, none.clone(), none).await.unwrap_err().is_not_found());
}
