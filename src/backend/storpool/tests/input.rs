//! Bad input and bad settings: each is told with what to do, and leaves nothing.

use std::sync::Arc;

use storpoolsim::{Config, Sim, Status};

use super::world::{World, id, order, parameters, told, world};
use crate::backend::storpool::{StorpoolBackend, StorpoolConfig};
use crate::backend::{Backend, SnapshotOrder, VolumeOrder};
use crate::error::{Kind, Outcome};
use crate::http::fake::self_signed;
use crate::volume::{Bytes, Content, Parameters, SizeRange};

#[tokio::test]
async fn bad_input_is_named_and_leaves_nothing() {
    let world = world().await;
    let missing = VolumeOrder { parameters: parameters(&[("template", "gold")]), ..order("v") };
    let (kind, outcome, text) = told(world.backend.create(&missing).await);
    assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    assert!(text.contains("\"gold\"") && text.contains("nvme, hybrid"), "{text}");
    let (kind, _, text) = told(world.backend.capacity(&missing.parameters, None).await);
    assert!(kind == Kind::InvalidArgument && text.contains("nvme, hybrid"), "{text}");
    let large = VolumeOrder { size: SizeRange::at_least(Bytes::gib(1 << 21)), ..order("v") };
    assert_eq!(told(world.backend.create(&large).await).0, Kind::OutOfRange);
    let volume = world.create("full").await.unwrap();
    world.sim.cluster().alter("csi--full", |volume| volume.stored = 1 << 44).unwrap();
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
    world.backend.delete(&volume.id).await.unwrap();
    assert!(world.volumes().is_empty(), "{:?}", world.volumes());
    for odd in ["a~b", "list", "ä"] {
        let cut = SnapshotOrder { name: "s".into(), volume: id(odd), parameters: Parameters::default() };
        let (kind, outcome, text) = told(world.backend.create_snapshot(&cut).await);
        assert_eq!((kind, outcome), (Kind::NotFound, Outcome::Refused), "{text}");
    }
    let untemplated = World::new(|config| config.template = None).await;
    let (kind, _, text) = told(untemplated.create("v").await);
    assert!(kind == Kind::InvalidArgument && text.contains("\"template\""), "{text}");
}

#[tokio::test]
async fn what_is_not_ours_is_never_touched() {
    let world = world().await;
    world.foreign(Some("csi--v"));
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::AlreadyExists, Outcome::Refused), "{text}");
    assert!(text.contains("namePrefix") && text.contains("fl-cluster=kubernetes"), "{text}");
    let (kind, outcome, text) = told(world.backend.delete(&id("csi--v")).await);
    assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    assert!(world.backend.list(&Default::default()).await.unwrap().items.is_empty());
    world
        .sim
        .cluster()
        .cut(vec![storpoolsim::state::Cutting {
            volume: "csi--v".into(),
            name: Some("csi--w".into()),
            ..Default::default()
        }])
        .unwrap();
    let (kind, outcome, text) = told(world.create("w").await);
    assert_eq!((kind, outcome), (Kind::AlreadyExists, Outcome::Refused), "{text}");
    assert!(text.contains("a snapshot has that name"), "{text}");
}

#[tokio::test]
async fn a_bad_token_is_told_and_a_new_one_taken_over() {
    let world = world().await;
    world.sim.cluster().config.token = "42".to_owned();
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::Unauthenticated, Outcome::Unknown), "{text}");
    assert!(text.contains("tokenFile") && text.contains("SP_AUTH_TOKEN"), "{text}");
    assert!(StorpoolBackend::open("again", world.config.clone(), Default::default()).await.is_err());
    std::fs::write(world.config.token_file.as_ref().unwrap(), "42\n").unwrap();
    world.backend.ready().await.unwrap();
    world.create("v").await.unwrap();
    let shown = format!("{:?}", world.backend);
    assert!(!shown.contains("42\"") && !shown.contains("1556129910218014736"), "{shown}");
}

#[tokio::test]
async fn a_foreign_volume_is_used_once_its_tag_says_so_and_is_never_formatted() {
    let world = world().await;
    world.foreign(Some("csi--v"));
    assert_eq!(told(world.create("v").await).0, Kind::AlreadyExists);
    let tell = |volume: &mut storpoolsim::state::Object| {
        volume.tags.insert("fl-cluster".into(), "kubernetes".into());
    };
    world.sim.cluster().alter("csi--v", tell).unwrap();
    let volume = world.create("v").await.unwrap();
    assert_eq!(volume.content, Content::Data);
    world.backend.delete(&volume.id).await.unwrap();
    assert!(world.volumes().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_into_tags_is_told() {
    let world = world().await;
    let tier = "g".repeat(200);
    let long = VolumeOrder { parameters: parameters(&[("tier", &tier)]), ..order("v") };
    let (kind, outcome, text) = told(world.backend.create(&long).await);
    assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    assert!(text.contains("\"tier\"") && text.contains("127"), "{text}");
    // Each of them fits, and all together do not.
    world.sim.cluster().config.room = Some(40);
    let (kind, outcome, text) = told(world.create("v").await);
    assert_eq!((kind, outcome), (Kind::InvalidArgument, Outcome::Refused), "{text}");
    assert!(text.contains("too long") && text.contains("volume=csi--v"), "{text}");
    assert!(world.volumes().is_empty());
}

/// The names that Kubernetes makes.
#[tokio::test]
async fn names_and_tags_of_kubernetes_fit_into_the_room_that_the_vendor_tells() {
    let world = world().await;
    world.sim.cluster().config.room = Some(200);
    let uuid = "3f0c4b0e-9d2c-4b7e-8a55-0d1f3c1b2a99";
    let owner = crate::volume::Owner {
        claim: Some("data-postgres-cluster-0".into()),
        namespace: Some("production".into()),
        volume: None,
    };
    let made = world.backend.create(&VolumeOrder { owner, ..order(&format!("pvc-{uuid}")) }).await.unwrap();
    let tags = || {
        let cluster = world.sim.cluster();
        cluster.get(made.id.as_str(), storpoolsim::state::Kind::Volume).unwrap().tags.clone()
    };
    assert!(tags().contains_key("fl-pvc"), "{:?}", tags());
    for client in 1..=4 {
        let mut wanted =
            crate::backend::AttachOrder { readonly: true, ..super::world::attach(&made.id, client) };
        wanted.access.mode = crate::volume::AccessMode::MultiNodeReaderOnly;
        world.backend.attach(&wanted).await.unwrap();
    }
    assert_eq!(world.holders()[made.id.as_str()], [1, 2, 3, 4]);
    let name = format!("snapshot-{uuid}");
    let cut = SnapshotOrder { name, volume: made.id.clone(), parameters: Parameters::default() };
    world.backend.create_snapshot(&cut).await.unwrap();
    let (name, volumes) = (format!("groupsnapshot-{uuid}"), vec![made.id.clone()]);
    let group = crate::backend::GroupOrder { name, volumes, parameters: Parameters::default() };
    let group = world.backend.create_group(&group).await.unwrap();
    assert_eq!(world.backend.get_group(&group.id).await.unwrap(), group);
    let copied = VolumeOrder {
        source: Some(crate::volume::Source::Volume(made.id.clone())),
        parameters: parameters(&[("template", "hybrid")]),
        ..order("pvc-4f0c4b0e-9d2c-4b7e-8a55-0d1f3c1b2a99")
    };
    world.backend.create(&copied).await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_does_not_work_is_told_and_nothing_is_final() {
    let world = world().await;
    let volume = world.create("v").await.unwrap();
    let (waiting, down) = ("the cluster is waiting", "does not tell its state");
    for (status, idle, shown) in [
        (Status::Waiting, "notOperational", waiting),
        (Status::Waiting, "preconditionViolation", waiting),
        (Status::Down, "notOperational", down),
    ] {
        world.sim.cluster().config.status = status;
        world.sim.cluster().config.idle = idle;
        let results = [
            world.create("w").await.map(drop),
            world.attach(&volume.id, 1).await.map(drop),
            world.detach(&volume.id, 1).await,
            world.backend.delete(&volume.id).await,
            world.backend.expand(&volume.id, SizeRange::at_least(Bytes::gib(2))).await.map(drop),
        ];
        for result in results {
            let (kind, outcome, text) = told(result);
            assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
            assert!(text.contains(shown) && text.contains("maintenance"), "{text}");
        }
        assert_eq!(told(world.backend.ready().await).1, Outcome::Unknown);
    }
    world.sim.cluster().config.status = Status::Running;
    world.backend.ready().await.unwrap();
    assert_eq!(world.volumes(), ["csi--v"]);
    world.create("w").await.unwrap();
}

async fn refused(config: &StorpoolConfig) -> String {
    let (kind, outcome, text) = told(StorpoolBackend::open("fast", config.clone(), Arc::default()).await);
    assert_eq!((kind, outcome), (Kind::Unavailable, Outcome::Unknown), "{text}");
    text
}

#[tokio::test]
async fn an_api_is_reached_in_the_way_that_it_speaks() {
    let (pem, tls) = self_signed();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let sim = Sim::start_tls(Config::default(), tls).await.unwrap();
    let world = World::on(sim, |config| config.ca_file = Some(file.clone())).await;
    let volume = world.create("v").await.unwrap();
    world.attach(&volume.id, 1).await.unwrap();
    let before = world.sim.requests();
    let plain = world.config.endpoints[0].replace("https:", "http:");
    let text = refused(&StorpoolConfig { endpoints: vec![plain], ..world.config.clone() }).await;
    assert!(text.contains("write https instead of http"), "{text}");
    let text = refused(&StorpoolConfig { ca_file: None, ..world.config.clone() }).await;
    assert!(text.contains("signed by no authority") && text.contains("CA file"), "{text}");
    assert_eq!(world.sim.requests(), before, "nobody saw the token");
    let other = World::new(|config| config.ca_file = Some(file.clone())).await;
    let secure = other.config.endpoints[0].replace("http:", "https:");
    let text = refused(&StorpoolConfig { endpoints: vec![secure], ..other.config.clone() }).await;
    assert!(text.contains("write http instead of https"), "{text}");
}

/// Others may use the same prefix, and names of any length.
#[tokio::test]
async fn a_group_of_another_cluster_is_not_deleted_and_other_snapshots_do_not_matter() {
    let world = world().await;
    let volume = world.create("v").await.unwrap().id;
    let cut = |name: &str, tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (volume, name) = (volume.to_string(), Some(name.to_owned()));
        world
            .sim
            .cluster()
            .cut(vec![storpoolsim::state::Cutting { volume, name, tags, ..Default::default() }])
            .unwrap();
    };
    let there = |name: &str| world.sim.cluster().get(name, storpoolsim::state::Kind::Snapshot).is_ok();
    let long = "x".repeat(150);
    cut(&long, &[]);
    cut("csi--snap--g.0", &[("fl-cluster", "other"), ("fl-group", "0")]);
    world.backend.delete_group(&id("csi--group--g"), &[]).await.unwrap();
    let member = [id("csi--snap--g.0")];
    let (kind, _, text) = told(world.backend.delete_group(&id("csi--group--g"), &member).await);
    assert_eq!(kind, Kind::InvalidArgument, "{text}");
    assert!(there("csi--snap--g.0"), "it is another cluster's");
    let volumes = vec![volume.clone()];
    let order = crate::backend::GroupOrder { name: "h".into(), volumes, parameters: Parameters::default() };
    let group = world.backend.create_group(&order).await.unwrap();
    world.backend.delete_group(&group.id, &[group.members[0].id.clone()]).await.unwrap();
    assert!(!there(group.members[0].id.as_str()) && there(&long));
}

/// Which name the error has is nowhere said.
#[tokio::test]
async fn a_status_of_401_says_that_the_token_is_refused() {
    for name in ["denied", "invalidParam", ""] {
        let world = world().await;
        world.sim.cluster().config.unauthorized = (401, name);
        world.sim.cluster().config.token = "42".to_owned();
        let (kind, outcome, text) = told(world.create("v").await);
        assert_eq!((kind, outcome), (Kind::Unauthenticated, Outcome::Unknown), "{name}: {text}");
        assert!(text.contains("tokenFile"), "{text}");
    }
}
