//! The back end's volumes against the cloud: what is answered is so, and costs no more requests than it should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::client::Client;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::model::Status;
use fairlead::backend::{Backend, Page, SnapshotFilter, SnapshotOrder, VolumeOrder};
use fairlead::error::{Error, Kind, Outcome};
use fairlead::metrics::Metrics;
use fairlead::volume::{
    Access, AccessKind, AccessMode, Bytes, Content, FsType, MountFlags, NativeId, Owner, Parameters,
    SizeRange, Source, TopologyRequirement,
};

use crate::Cloud;

/// A back end with a cluster of its own.
pub struct House {
    pub backend: Arc<CinderBackend>,
    pub client: Client,
    pub config: CinderConfig,
    metrics: Arc<Metrics>,
}

impl House {
    pub async fn open(cloud: &Cloud, user: &str, configure: impl FnOnce(&mut CinderConfig)) -> Self {
        let mut config = CinderConfig::new(cloud.source(user));
        config.cluster = crate::name("cluster");
        config.name_prefix = "vol-".to_owned();
        configure(&mut config);
        let metrics = Arc::new(Metrics::default());
        let backend = CinderBackend::open("lab", config.clone(), Arc::clone(&metrics)).await.unwrap();
        Self { backend: Arc::new(backend), client: cloud.open(cloud.source(user)), config, metrics }
    }

    /// Another controller of the same cluster, or this one after a restart.
    pub async fn again(&self) -> CinderBackend {
        CinderBackend::open("lab", self.config.clone(), Arc::default()).await.unwrap()
    }

    /// The requests so far, by service and call.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let page = self.metrics.encode();
        let mut counts = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("fairlead_cloud_seconds_count{")) {
            let call = line.split("call=\"").nth(1).unwrap().split('"').next().unwrap();
            *counts.entry(call.to_owned()).or_insert(0) +=
                line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        }
        counts
    }

    /// Removes everything of the cluster, and says so where there was something.
    pub async fn end(self) {
        let mut left = Vec::new();
        for snapshot in
            self.backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap().items
        {
            left.push(format!("snapshot {}", snapshot.id));
            self.backend.delete_snapshot(&snapshot.id).await.unwrap();
        }
        for volume in self.backend.list(&Page::default()).await.unwrap().items {
            left.push(format!("volume {}", volume.id));
            self.backend.delete(&volume.id).await.unwrap();
        }
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// What was asked since `before`.
pub fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> (u64, String) {
    let mut total = 0;
    let mut parts = Vec::new();
    for (call, count) in after {
        let more = count - before.get(call).copied().unwrap_or(0);
        if more > 0 {
            total += more;
            parts.push(format!("{more} {call}"));
        }
    }
    (total, parts.join(", "))
}

pub fn order(name: &str, gib: u64) -> VolumeOrder {
    VolumeOrder {
        name: name.to_owned(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        source: None,
        access: vec![Access {
            kind: AccessKind::Mount { fs: FsType::Ext4, flags: MountFlags::default() },
            mode: AccessMode::SingleNodeWriter,
        }],
        parameters: Parameters::default(),
        mutable: Parameters::default(),
        topology: TopologyRequirement::default(),
        owner: Owner::default(),
    }
}

pub fn parameters(key: &str, value: &str) -> Parameters {
    Parameters([(key.to_owned(), value.to_owned())].into())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Refused), "{error:?}");
    error.to_string()
}

fn cut(name: &str, volume: &NativeId, parameters: Parameters) -> SnapshotOrder {
    SnapshotOrder { name: name.to_owned(), volume: volume.clone(), parameters }
}

pub async fn the_back_end_makes_and_deletes_volumes(cloud: Cloud) {
    let house = House::open(&cloud, "csi", |_| {}).await;
    let backend = &house.backend;
    let made = backend.create(&order("life", 1)).await.unwrap();
    let seen = house.client.volume(made.id.as_str()).await.unwrap();
    assert!(seen.status == Status::Available && seen.service_uuid.is_some(), "{seen:?}");
    assert_eq!(seen.name.as_deref(), Some("vol-life"));
    assert_eq!((made.content, made.size), (Content::New, Bytes::gib(1)));
    assert_eq!(house.again().await.create(&order("life", 1)).await.unwrap(), made);
    refused(backend.create(&order("life", 2)).await, Kind::AlreadyExists);

    let grown = backend.expand(&made.id, SizeRange::at_least(Bytes::gib(2))).await.unwrap();
    assert_eq!(grown.size, Bytes::gib(2));
    assert_eq!(house.client.volume(made.id.as_str()).await.unwrap().status, Status::Available);
    backend.modify(&made.id, &parameters("metadata", "tier=gold")).await.unwrap();
    backend.modify(&made.id, &parameters("type", "__DEFAULT__")).await.unwrap();
    let changed = house.client.volume(made.id.as_str()).await.unwrap();
    assert_eq!(
        (changed.volume_type.as_deref(), changed.metadata["tier"].as_str()),
        (Some("__DEFAULT__"), "gold")
    );
    refused(backend.modify(&made.id, &parameters("type", "golden")).await, Kind::InvalidArgument);

    let snapshot = backend.create_snapshot(&cut("cut", &made.id, Parameters::default())).await.unwrap();
    assert!(snapshot.ready && snapshot.size == Bytes::gib(2), "{snapshot:?}");
    assert_eq!(
        backend.create_snapshot(&cut("cut", &made.id, Parameters::default())).await.unwrap(),
        snapshot
    );
    let text = refused(backend.delete(&made.id).await, Kind::FailedPrecondition);
    assert!(text.contains(snapshot.id.as_str()), "{text}");
    let from = VolumeOrder { source: Some(Source::Snapshot(snapshot.id.clone())), ..order("restored", 3) };
    let restored = backend.create(&from).await.unwrap();
    assert_eq!((restored.size, restored.content), (Bytes::gib(3), Content::Data));
    let from = VolumeOrder { source: Some(Source::Volume(made.id.clone())), ..order("clone", 0) };
    let clone = backend.create(&from).await.unwrap();
    assert_eq!((clone.size, clone.source.clone()), (Bytes::gib(2), Some(Source::Volume(made.id.clone()))));

    let page = Page { max: Some(2), token: None };
    let first = backend.list(&page).await.unwrap();
    let second = backend.list(&Page { max: Some(2), token: first.next.clone() }).await.unwrap();
    let names: Vec<_> = first.items.iter().chain(&second.items).map(|volume| volume.name.as_str()).collect();
    assert_eq!((names.len(), second.next), (3, None), "{names:?}");
    backend.delete_snapshot(&snapshot.id).await.unwrap();
    assert_eq!(
        backend
            .create(&VolumeOrder {
                source: Some(Source::Snapshot(snapshot.id.clone())),
                ..order("restored", 3)
            })
            .await
            .unwrap(),
        restored
    );
    for id in [&clone.id, &restored.id, &made.id] {
        backend.delete(id).await.unwrap();
        assert!(house.client.volume(id.as_str()).await.unwrap_err().is_not_found());
        backend.delete(id).await.unwrap();
    }
    house.end().await;
}

pub async fn the_back_end_tells_what_there_is_instead(cloud: Cloud) {
    let house = House::open(&cloud, "csi2", |_| {}).await;
    let backend = &house.backend;
    let with = |key, value| VolumeOrder { parameters: parameters(key, value), ..order("bad", 1) };
    let text = refused(backend.create(&with("type", "golden")).await, Kind::InvalidArgument);
    assert!(text.contains("golden") && text.contains("multiattach, standard"), "{text}");
    let text = refused(backend.create(&with("availability", "mars")).await, Kind::InvalidArgument);
    assert!(text.contains("mars") && text.contains("the zones are nova"), "{text}");
    refused(
        backend.create(&with("imageID", "11111111-2222-3333-4444-555555555555")).await,
        Kind::InvalidArgument,
    );
    let text = refused(backend.create(&order("bad", 11)).await, Kind::ResourceExhausted);
    assert!(text.contains("of 10 GiB") && text.contains("11 GiB were asked for"), "{text}");
    let room = backend.capacity(&Parameters::default(), None).await.unwrap();
    assert!(room.available <= Bytes::gib(10), "{room:?}");
    let backup = parameters("type", "backup");
    let made = backend.create(&order("v", 1)).await.unwrap();
    let error = backend.create_snapshot(&cut("b", &made.id, backup)).await.unwrap_err();
    assert!(error.to_string().contains("backup"), "{error}");
    let text =
        refused(backend.expand(&made.id, SizeRange::at_least(Bytes::gib(20))).await, Kind::ResourceExhausted);
    assert!(text.contains("19 GiB were asked for"), "{text}");
    assert_eq!(house.client.volume(made.id.as_str()).await.unwrap().status, Status::Available);
    backend.delete(&made.id).await.unwrap();
    house.end().await;
}

pub async fn two_controllers_make_one_volume(cloud: Cloud) {
    let house = House::open(&cloud, "csi", |_| {}).await;
    let other = Arc::new(house.again().await);
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let backend = if n % 2 == 0 { Arc::clone(&house.backend) } else { Arc::clone(&other) };
            tokio::spawn(async move { backend.create(&order("same", 1)).await.unwrap().id })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    let started = Instant::now();
    loop {
        let all = house.client.volumes(&[("name", "vol-same".to_owned())]).await.unwrap();
        let ours = |one: &&fairlead::backend::cinder::model::Volume| {
            one.metadata.get("csi.fairlead.dev/cluster") == Some(&house.config.cluster)
        };
        if all.iter().filter(ours).count() == 1 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "a twin is left: {all:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    house.backend.delete(ids.first().unwrap()).await.unwrap();
    house.end().await;
}

pub async fn a_volumes_life_is_cheap(cloud: Cloud) {
    let house = House::open(&cloud, "csi", |_| {}).await;
    // What is asked once, and what an earlier process may have left, are no part of a volume's life.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let before = house.requests();
    let began = Instant::now();
    let made = house.backend.create(&order("one", 1)).await.unwrap();
    let created = began.elapsed();
    let (create, told) = since(&before, &house.requests());
    println!("create: {create} requests in {created:.2?}: {told}");
    let middle = house.requests();
    house.backend.delete(&made.id).await.unwrap();
    let (delete, told) = since(&middle, &house.requests());
    println!("delete: {delete} requests: {told}");
    let looks = created.as_secs() * 2 + 3;
    assert!(create <= 2 + looks && delete <= 6, "{create} and {delete}");

    let before = house.requests();
    let began = Instant::now();
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let backend = Arc::clone(&house.backend);
            tokio::spawn(async move { backend.create(&order(&format!("many-{n}"), 1)).await.unwrap().id })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    let (create, told) = since(&before, &house.requests());
    let creating = began.elapsed();
    println!("30 creates: {create} requests in {creating:.1?}: {told}");
    let before = house.requests();
    let began = Instant::now();
    let tasks: Vec<_> = ids
        .into_iter()
        .map(|id| {
            let backend = Arc::clone(&house.backend);
            tokio::spawn(async move { backend.delete(&id).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (delete, told) = since(&before, &house.requests());
    println!("30 deletes: {delete} requests in {:.1?}: {told}", began.elapsed());
    // Besides two for each, what grows with the time that the cloud takes.
    let looks = creating.as_secs() * 4 + 10;
    assert!(create <= 30 * 2 + looks && delete <= 30 * 3, "{create} and {delete}");
    let idle = house.requests();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(since(&idle, &house.requests()).0, 0, "nothing is asked when nothing is to be done");
    house.end().await;
}
