//! Rackspace's classic cloud.

use std::time::{Duration, Instant};

use cloudsim::{Config, Fault, Rule};
use fairlead::backend::cinder::config::TypeLimits;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::backend::{Backend, Expansion, Page};
use fairlead::error::Kind;
use fairlead::volume::{AccessMode, Bytes, Connection, Content, SizeRange, Source};

use crate::scene::{Scene, attach, cut, detach, order, parameters, raw, refused, until};

const CREATE: &str = "POST /volume/v1/{id}/volumes";
const LIST: &str = "GET /volume/v1/{id}/volumes/detail";

async fn rackspace() -> Scene {
    Scene::new(Dialect::RACKSPACE, Config::rackspace()).await
}

#[tokio::test]
async fn each_type_has_its_sizes() {
    let scene = rackspace().await;
    let make = async |name: &str, gib: u64, kind: &[(&str, &str)]| {
        scene.backend.create(&order(name, gib, kind)).await.map(|volume| volume.size)
    };
    for (name, asked, kind, made) in [
        ("default", 0, &[][..], 75),
        ("small", 1, &[], 75),
        ("sata", 80, &[("type", "SATA")], 80),
        ("ssd", 1, &[("type", "SSD")], 50),
        ("by-id", 0, &[("type", "2")], 50),
        ("largest", 1024, &[("type", "SSD")], 1024),
    ] {
        assert_eq!(make(name, asked, kind).await.unwrap(), Bytes::gib(made), "{name}");
    }
    let before = scene.count(CREATE);
    let text = refused(make("more", 1025, &[]).await, Kind::OutOfRange);
    assert!(text.contains("1 TiB"), "{text}");
    assert_eq!(scene.count(CREATE), before, "the cloud is not asked in vain");
    let capacity = async |kind| scene.backend.capacity(&parameters(&[("type", kind)]), None).await.unwrap();
    assert_eq!(capacity("SSD").await.smallest, Bytes::gib(50));
    assert_eq!(capacity("SATA").await.largest, Bytes::gib(1024));
}

#[tokio::test]
async fn the_operator_knows_of_other_sizes_and_what_the_cloud_says_of_them_is_understood() {
    let scene = Scene::with(Dialect::RACKSPACE, Config::rackspace(), |config| {
        let mut sizes = config.sizes(Some("SSD"));
        sizes.min = Bytes::gib(5);
        sizes.default = Bytes::gib(5);
        config.types.insert("SSD".to_owned(), TypeLimits { sizes: Some(sizes), ..TypeLimits::default() });
    })
    .await;
    // This cloud still makes 50 at least.
    let text = refused(scene.backend.create(&order("v", 5, &[("type", "SSD")])).await, Kind::OutOfRange);
    assert!(text.contains("'size' parameter must be between 50 and 1024"), "{text}");
}

#[tokio::test]
async fn a_full_region_is_told_before_the_order() {
    let scene = rackspace().await;
    scene.sim.cloud().config.projects[0].quotas =
        [("volumes", 4), ("gigabytes_SATA", 200)].map(|(key, limit)| (key.to_owned(), limit)).into();
    for name in ["a", "b"] {
        scene.make(name, 75, "SATA").await;
    }
    let before = scene.count(CREATE);
    let text = refused(scene.backend.create(&order("c", 75, &[])).await, Kind::ResourceExhausted);
    for part in ["2 of 4 volumes", "150 of 200 GiB of SATA", "75 GiB were asked for"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let capacity = async |kind| scene.backend.capacity(&parameters(&[("type", kind)]), None).await.unwrap();
    let sata = capacity("SATA").await;
    assert_eq!((sata.available, sata.largest), (Bytes::gib(50), Bytes::ZERO), "no volume is so small");
    assert_eq!(scene.count(CREATE), before);
    // Of the other type nothing is told, so what is usual holds; but there are two more volumes at most.
    assert_eq!(capacity("SSD").await.available, Bytes::gib(2 << 10));
    for name in ["d", "e"] {
        scene.make(name, 50, "SSD").await;
    }
    let text =
        refused(scene.backend.create(&order("f", 50, &[("type", "SSD")])).await, Kind::ResourceExhausted);
    assert!(text.contains("4 of 4 volumes") && text.contains("2 of 50 volumes of SSD"), "{text}");
    assert_eq!(capacity("SSD").await.available, Bytes::ZERO);
    assert_eq!(scene.count(CREATE), before + 2);
    // What is there is still found.
    scene.make("a", 75, "SATA").await;
}

#[tokio::test]
async fn the_operators_word_stands_above_the_clouds() {
    let scene = Scene::with(Dialect::RACKSPACE, Config::rackspace(), |config| {
        let bytes = Some(Bytes::gib(160));
        config
            .types
            .insert("SATA".to_owned(), TypeLimits { volumes: Some(3), bytes, ..TypeLimits::default() });
    })
    .await;
    scene.make("a", 75, "SATA").await;
    scene.make("b", 75, "1").await;
    let text = refused(scene.backend.create(&order("c", 75, &[])).await, Kind::ResourceExhausted);
    assert!(text.contains("150 of 160 GiB of SATA") && text.contains("2 of 3 volumes of SATA"), "{text}");
    // What others made without us is refused by the cloud itself, and told likewise.
    scene.sim.cloud().config.projects[0].quotas.insert("gigabytes_SSD".to_owned(), 10);
    let text =
        refused(scene.backend.create(&order("d", 50, &[("type", "SSD")])).await, Kind::ResourceExhausted);
    assert!(text.contains("gigabytes_SSD") || text.contains("GiB of SSD"), "{text}");
}

#[tokio::test]
async fn lists_go_on_by_offset_to_their_true_end() {
    let scene = rackspace().await;
    scene.sim.cloud().config.page = 2;
    let mut names = Vec::new();
    for number in 0..5 {
        names.push(format!("v{number}"));
        scene.make(&names[number], 50, "SSD").await;
    }
    let list = async || {
        let listed = scene.backend.list(&Page::default()).await.unwrap();
        listed.items.into_iter().map(|volume| volume.name).collect::<Vec<_>>()
    };
    assert_eq!(list().await, names);
    scene.sim.forget_counts();
    list().await;
    assert_eq!(
        scene.count(LIST),
        5,
        "each page begins with the last of the one before, and the last brings nothing else"
    );
    // The oldest are listed last.
    let again = scene.backend.create(&order("v0", 50, &[("type", "SSD")])).await.unwrap();
    assert_eq!((scene.sim.cloud().volumes.iter().count(), again.name.as_str()), (5, "v0"));
    let first = scene.backend.list(&Page { max: Some(3), token: None }).await.unwrap();
    let rest = scene.backend.list(&Page { max: Some(3), token: first.next }).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (3, 2, None));
}

#[tokio::test]
async fn what_is_deleted_meanwhile_hides_nothing_behind_it() {
    let scene = rackspace().await;
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(scene.make(&format!("v{number}"), 50, "SSD").await);
    }
    scene.sim.cloud().config.page = 3;
    // The newest come first: v7, v6 and v5 are the first page, and go while the second is asked for.
    scene.sim.order(Rule::once("GET", "/volumes/detail", Fault::Late(500)).after(1));
    let all = Page::default();
    let listing = scene.backend.list(&all);
    let meanwhile = async {
        until("the first page", async || scene.sim.orders().is_empty().then_some(())).await;
        for id in &ids[5..] {
            scene.backend.delete(id).await.unwrap();
        }
    };
    let (listed, ()) = tokio::join!(listing, meanwhile);
    let listed: Vec<_> = listed.unwrap().items.into_iter().map(|volume| volume.id).collect();
    assert!(ids[..5].iter().all(|id| listed.contains(id)), "{listed:?}");
}

#[tokio::test]
async fn a_throttled_call_is_made_again_and_makes_one_volume() {
    let scene = rackspace().await;
    for (method, path) in
        [("POST", "/volumes"), ("GET", "/volumes/detail"), ("POST", "/os-volume_attachments")]
    {
        scene.sim.order(Rule::once(method, path, Fault::Throttle(1)));
    }
    let node = scene.node("alpha");
    let begun = Instant::now();
    let id = scene.make("v", 50, "SSD").await;
    scene.backend.attach(&attach(&id, &node)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(scene.sim.orders().is_empty());
    assert_eq!(scene.sim.cloud().volumes.iter().count(), 1);
}

#[tokio::test]
async fn one_copy_of_a_volume_is_made_after_the_other() {
    let scene = rackspace().await;
    let source = scene.make("source", 50, "SSD").await;
    let times = |create: u64, snapshot: u64| {
        let mut cloud = scene.sim.cloud();
        cloud.config.timings.create = Duration::from_millis(create);
        cloud.config.timings.snapshot = Duration::from_millis(snapshot);
    };
    times(700, 700);
    let clone = |name: &str| {
        let mut order = order(name, 0, &[("type", "SSD")]);
        order.source = Some(Source::Volume(source.clone()));
        order
    };
    let (one, two) = (clone("one"), clone("two"));
    let (first, second) = (cut("s1", &source, &[]), cut("s2", &source, &[]));
    let begun = Instant::now();
    let (one, two, first, second) = tokio::join!(
        scene.backend.create(&one),
        scene.backend.create(&two),
        scene.backend.create_snapshot(&first),
        scene.backend.create_snapshot(&second),
    );
    assert!(begun.elapsed() >= Duration::from_millis(2800), "{:?}", begun.elapsed());
    let source = Some(Source::Volume(source));
    assert_eq!((one.unwrap().source, two.unwrap().source), (source.clone(), source));
    assert!(first.unwrap().ready && second.unwrap().ready);
    assert!(scene.sim.cloud().twins().values().all(|twins| twins.len() == 1));
}

#[tokio::test]
async fn a_snapshot_too_many_is_told_at_once() {
    let scene = rackspace().await;
    let id = scene.make("v", 50, "SSD").await;
    let text = "SnapshotQuotaExceeded: a volume has at most 500 snapshots";
    scene.sim.order(Rule::once("POST", "/snapshots", Fault::Refuse(429, text.to_owned())));
    let begun = Instant::now();
    let told = refused(scene.backend.create_snapshot(&cut("s", &id, &[])).await, Kind::ResourceExhausted);
    assert!(told.contains(text) && begun.elapsed() < Duration::from_secs(5), "{told}");
}

#[tokio::test]
async fn a_server_has_fourteen_volumes_and_each_its_device() {
    let scene = rackspace().await;
    scene.sim.cloud().config.timings.attach = Duration::ZERO;
    let node = scene.node("alpha");
    for number in 0..14_u8 {
        let id = scene.make(&format!("v{number}"), 50, "SSD").await;
        let attached = scene.backend.attach(&attach(&id, &node)).await.unwrap();
        let device = Some(format!("/dev/xvd{}", char::from(b'b' + number)));
        assert_eq!(attached.connection, Connection::Disk { serial: id.to_string(), device });
    }
    let id = scene.make("more", 50, "SSD").await;
    let attaches = "POST /compute/v2/{id}/servers/{id}/os-volume_attachments";
    let before = scene.count(attaches);
    assert_eq!(before, 14);
    let text = refused(scene.backend.attach(&attach(&id, &node)).await, Kind::ResourceExhausted);
    assert!(text.contains("alpha holds 14 of 14 volumes"), "{text}");
    assert_eq!(scene.count(attaches), before);
    assert_eq!(scene.backend.limits().per_server, Some(14));
}

#[tokio::test]
async fn an_act_of_attaching_is_noted_in_the_description() {
    let scene = rackspace().await;
    let (node, id) = (scene.node("alpha"), scene.make("v", 50, "SSD").await);
    scene.sim.cloud().touch(id.as_str(), |volume| volume.description = Some("my \"disk\"".to_owned()));
    let first = scene.backend.attach(&attach(&id, &node)).await.unwrap();
    let noted = scene.described(&id);
    assert!(noted.contains(&first.nonce) && noted.contains("my \\\"disk\\\""), "{noted}");
    assert_eq!(scene.backend.attach(&attach(&id, &node)).await.unwrap(), first);
    assert_eq!(first.content, Content::New);
    scene.backend.detach(&detach(&id, &node)).await.unwrap();
    assert!(!scene.described(&id).contains(&first.nonce), "whoever attaches it next does something else");
    let second = scene.backend.attach(&attach(&id, &node)).await.unwrap();
    assert_ne!(second.nonce, first.nonce);
    // Somebody attaches it by hand: nothing tells that act from another.
    scene.backend.detach(&detach(&id, &node)).await.unwrap();
    scene.sim.cloud().touch(id.as_str(), |volume| volume.description = None);
    let read_only = fairlead::backend::AttachOrder {
        readonly: true,
        access: fairlead::volume::Access {
            mode: AccessMode::SingleNodeReaderOnly,
            ..crate::scene::mounted()
        },
        ..attach(&id, &node)
    };
    let third = scene.backend.attach(&read_only).await.unwrap();
    assert!(third.readonly);
    assert_eq!(scene.backend.attach(&read_only).await.unwrap(), third);
    scene.sim.cloud().touch(id.as_str(), |volume| volume.description = None);
    let unknown = scene.backend.attach(&attach(&id, &node)).await.unwrap();
    assert_eq!(unknown.content, Content::Data, "it is not formatted");
}

#[tokio::test]
async fn a_raw_volume_is_never_taken_for_new() {
    let scene = rackspace().await;
    let mut wanted = order("raw", 50, &[("type", "SSD")]);
    wanted.access = vec![raw()];
    let made = scene.backend.create(&wanted).await.unwrap();
    assert_eq!(made.content, Content::Data);
    let node = scene.node("alpha");
    let attached = fairlead::backend::AttachOrder { access: raw(), ..attach(&made.id, &node) };
    assert_eq!(scene.backend.attach(&attached).await.unwrap().content, Content::Data);
}

#[tokio::test]
async fn hints_are_noted_and_one_of_them_at_most() {
    let scene = rackspace().await;
    let other = scene.make("other", 50, "SSD").await;
    let hint = format!("{other}, {other}");
    let id =
        scene.backend.create(&order("v", 50, &[("type", "SSD"), ("differentNode", &hint)])).await.unwrap().id;
    let noted = scene.sim.cloud().volumes.get(id.as_str()).unwrap().metadata.clone();
    assert_eq!(noted["different_node"], format!("{other},{other}"));
    let both = order("w", 50, &[("differentNode", other.as_str()), ("differentRack", other.as_str())]);
    let text = refused(scene.backend.create(&both).await, Kind::InvalidArgument);
    assert!(text.contains("differentNode") && text.contains("differentRack"), "{text}");
    for foreign in ["sameHost", "availability"] {
        let text =
            refused(scene.backend.create(&order("w", 50, &[(foreign, "x")])).await, Kind::InvalidArgument);
        assert!(text.contains(foreign) && text.contains("differentRack"), "{text}");
    }
}

#[tokio::test]
async fn what_the_cloud_cannot_do_is_refused_and_not_advertised() {
    let scene = rackspace().await;
    let backend = &scene.backend;
    let can = backend.capabilities();
    assert!(can.snapshots && can.clones && can.readonly_attach);
    assert!(!can.group_snapshots && !can.modify && !can.multi_attach);
    assert_eq!(can.expansion, Expansion::Never);
    let id = scene.make("v", 50, "SSD").await;
    let requests = scene.sim.requests();
    let text =
        refused(backend.create_snapshot(&cut("b", &id, &[("type", "backup")])).await, Kind::Unsupported);
    assert!(text.contains("Rackspace's classic cloud cannot make backups"), "{text}");
    assert_eq!(scene.sim.requests(), requests, "it is not asked");
    let text = refused(backend.expand(&id, SizeRange::at_least(Bytes::gib(51))).await, Kind::Unsupported);
    assert!(
        text.contains("Rackspace's classic cloud cannot grow volumes") && text.contains(id.as_str()),
        "{text}"
    );
    assert_eq!(backend.expand(&id, SizeRange::at_least(Bytes::gib(50))).await.unwrap().size, Bytes::gib(50));
    refused(backend.modify(&id, &parameters(&[("type", "SATA")])).await, Kind::Unsupported);
    refused(backend.modify(&id, &parameters(&[("metadata", "a=1")])).await, Kind::Unsupported);
    backend.modify(&id, &parameters(&[("type", "SSD")])).await.unwrap();
    assert!(backend.health(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_volume_of_version_one_is_not_taken_for_openstacks() {
    let sim = cloudsim::Sim::start(Config::rackspace()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clouds.yaml");
    std::fs::write(&file, sim.clouds_yaml()).unwrap();
    let source =
        fairlead::backend::cinder::credentials::Source::Clouds { file, cloud: Some("csi".to_owned()) };
    let config = fairlead::backend::cinder::config::CinderConfig::new(source);
    let error =
        fairlead::backend::cinder::CinderBackend::open("sim", config, Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("\"dialect\""), "{error}");
}
