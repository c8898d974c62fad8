//! What only the `file` back end can show: leftovers of a crash, foreign directories, damage, a full disk, many volumes.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead::backend::file::{FileBackend, FileConfig};
use fairlead::backend::{Backend, GroupOrder, VolumeOrder};
use fairlead::error::{Kind, Outcome};
use fairlead::host::{lock, loopdev};
use fairlead::volume::{Bytes, HealthStatus, Parameters, Source, Topology, TopologyRequirement};
use libtest_mimic::Trial;

use crate::file::FileFixture;
use crate::fixture::{Fixture, cut, detach, from, id, order, refused, runtime, snapshots, volumes, writer};
use crate::storage::Storage;

pub fn trials(storages: &[(&'static str, Arc<Storage>)], root: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    macro_rules! add {
        ($($name:ident),* $(,)?) => { $(for (backend, storage) in storages {
            let storage = Arc::clone(storage);
            trials.push(trial(format!("{backend}::only::{}", stringify!($name)), move || async move {
                let fixture = FileFixture::new(&storage);
                fixture.start().await;
                $name(fixture).await;
            }));
        })* };
    }
    add![
        leftovers_are_removed_at_start,
        work_under_way_is_not_removed,
        an_image_without_a_record_is_not_touched,
        foreign_directories_are_refused,
        damage_is_named,
        a_late_record_is_made_good,
        promises_use_up_the_room,
        topology_is_kept,
        a_thousand_volumes_are_fast,
        checks_of_limits_exclude_each_other,
    ];
    for (backend, storage) in storages {
        let storage = Arc::clone(storage);
        let run = move || async move {
            let fixture = FileFixture::new(&storage);
            fixture.start().await;
            a_stale_hold_ends_with_the_next_join(fixture).await;
        };
        let name = format!("{backend}::only::a_stale_hold_ends_with_the_next_join");
        trials.push(trial(name, run).with_ignored_flag(!root));
    }
    for (backend, storage) in storages {
        let (shares, storage) = (*backend == "file-xfs", Arc::clone(storage));
        let run = move || async move {
            let fixture = FileFixture::new(&storage);
            fixture.start().await;
            an_open_volume_is_cut_only_by_sharing_blocks(fixture, shares).await;
        };
        let name = format!("{backend}::only::an_open_volume_is_cut_only_by_sharing_blocks");
        trials.push(trial(name, run).with_ignored_flag(!root));
    }
    trials.push(
        trial("file::only::a_full_disk_leaves_nothing".into(), a_full_disk_leaves_nothing)
            .with_ignored_flag(!root),
    );
    trials
}

fn trial<F: Future<Output = ()>>(name: String, run: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        runtime(Bytes::mib(1)).block_on(run());
        Ok(())
    })
}

/// Every file below a directory.
fn tree(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.display().to_string());
        }
    }
    found
}

async fn leftovers_are_removed_at_start(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    let group =
        GroupOrder { name: "g".into(), volumes: vec![volume.id.clone()], parameters: Parameters::default() };
    let members = backend.create_group(&group).await.unwrap().members;
    let whole = tree(&fixture.config.directory);
    let at = |name: &str| fixture.config.directory.join(name);
    for (name, content) in [
        ("volumes/half.part", "torn {"),
        ("volumes/half.img", "x"),
        ("volumes/begun.part", ""),
        ("volumes/v.json.tmp", "{"),
        ("snapshots/half.part", "{}"),
        ("snapshots/half.img", "x"),
        ("attachments/beta/v.json.tmp", "{"),
    ] {
        fs::write(at(name), content).unwrap();
    }
    assert_eq!(volumes(backend.as_ref()).await, ["v"], "what is half-made is not listed");
    let backend = fixture.backend().await;
    assert_eq!(tree(&fixture.config.directory), whole);
    // A retry needs no restart.
    fs::write(at("volumes/half.part"), "{").unwrap();
    fs::write(at("volumes/half.img"), "old content").unwrap();
    let half = backend.create(&order("half", 1)).await.unwrap();
    assert!(fs::read(fixture.image(&half.id)).unwrap().iter().all(|byte| *byte == 0));
    // A group whose making or deleting broke off takes its members along.
    fs::rename(at("groups/g.json"), at("groups/g.part")).unwrap();
    assert!(snapshots(backend.as_ref()).await.is_empty(), "members are there only together");
    refused(backend.get_snapshot(&members[0].id).await, Kind::NotFound);
    refused(backend.create(&from("r", 0, Source::Snapshot(members[0].id.clone()))).await, Kind::NotFound);
    fixture.backend().await;
    assert!(fs::read_dir(at("snapshots")).unwrap().next().is_none());
    assert!(fs::read_dir(at("groups")).unwrap().next().is_none());
}

async fn work_under_way_is_not_removed(fixture: FileFixture) {
    let _backend = fixture.backend().await;
    let at = |name: &str| fixture.config.directory.join(name);
    fs::write(at("volumes/busy.part"), "{}").unwrap();
    fs::write(at("volumes/busy.img"), "being made").unwrap();
    let guard = lock::acquire(&at("lock"), &[("volumes/busy".into(), lock::Mode::Exclusive)], Duration::ZERO)
        .unwrap();
    fixture.backend().await;
    assert!(at("volumes/busy.img").exists(), "its maker is alive");
    drop(guard);
    fixture.backend().await;
    assert!(!at("volumes/busy.img").exists());
}

async fn an_image_without_a_record_is_not_touched(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    let record = fixture.config.directory.join("volumes/v.json");
    let content = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    let backend = fixture.backend().await;
    assert!(fixture.image(&volume.id).exists());
    let error = refused(backend.create(&order("v", 1)).await, Kind::FailedPrecondition);
    assert!(error.to_string().contains("v.img"), "{error}");
    fs::write(&record, content).unwrap();
    assert_eq!(backend.get(&volume.id).await.unwrap(), volume);
}

async fn foreign_directories_are_refused(fixture: FileFixture) {
    let directory = fixture.config.directory.with_extension("foreign");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("precious"), "x").unwrap();
    let open = || FileBackend::open(FileConfig::new(directory.clone()));
    let error = open().await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(tree(&directory).len(), 1, "nothing is made in it");
    fs::remove_file(directory.join("precious")).unwrap();
    fs::create_dir(directory.join("lost+found")).unwrap();
    let backend = open().await.unwrap();
    let marker = directory.join("format.json");
    fs::write(&marker, fs::read_to_string(&marker).unwrap().replace(": 1", ": 2")).unwrap();
    for error in [open().await.unwrap_err(), backend.ready().await.unwrap_err()] {
        assert!(error.to_string().contains("version 2"), "{error}");
    }
    fs::remove_file(&marker).unwrap();
    assert!(backend.ready().await.unwrap_err().to_string().contains("format.json is missing"));
    let mut config = FileConfig::new(directory.join("none/deeper"));
    assert!(FileBackend::open(config.clone()).await.is_err(), "a missing parent is not made");
    config.thin_factor = 0.5;
    refused(FileBackend::open(config).await, Kind::InvalidArgument);
}

async fn damage_is_named(fixture: FileFixture) {
    let backend = fixture.backend().await;
    for name in ["a", "b", "c"] {
        backend.create(&order(name, 1)).await.unwrap();
    }
    let at = |name: &str| fixture.config.directory.join("volumes").join(name);
    fs::write(at("a.json"), "{ torn").unwrap();
    for error in
        [backend.list(&Default::default()).await.unwrap_err(), backend.get(&id("a")).await.unwrap_err()]
    {
        assert_eq!((error.kind(), error.outcome()), (Kind::Internal, Outcome::Unknown));
        assert!(error.to_string().contains("volumes/a.json is damaged"), "{error}");
    }
    assert_eq!(backend.create(&order("a", 1)).await.unwrap_err().outcome(), Outcome::Unknown);
    fs::File::options().write(true).open(at("b.img")).unwrap().set_len(4096).unwrap();
    fs::remove_file(at("c.img")).unwrap();
    for (name, status, reason) in [
        ("a", HealthStatus::Inaccessible, "RecordUnreadable"),
        ("b", HealthStatus::DataLoss, "ImageTruncated"),
        ("c", HealthStatus::DataLoss, "ImageMissing"),
    ] {
        let health = backend.health(&id(name)).await.unwrap();
        assert_eq!(health.iter().map(|f| (f.status, f.reason)).collect::<Vec<_>>(), [(status, reason)]);
    }
    let lost = backend.create_snapshot(&cut("s", &id("b"))).await.unwrap_err();
    assert!(lost.to_string().contains("data is lost"), "{lost}");
    assert!(snapshots(backend.as_ref()).await.is_empty());
}

async fn a_late_record_is_made_good(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    // As after a crash between the image's growth and its record's.
    fs::File::options().write(true).open(fixture.image(&volume.id)).unwrap().set_len(3 << 20).unwrap();
    assert_eq!(backend.get(&volume.id).await.unwrap().size, Bytes::mib(3));
    let record = fixture.config.directory.join("volumes/v.json");
    let before = fs::read(&record).unwrap();
    let grown =
        backend.expand(&volume.id, fairlead::volume::SizeRange::at_least(Bytes::mib(2))).await.unwrap();
    assert_eq!(grown.size, Bytes::mib(3));
    assert_ne!(fs::read(&record).unwrap(), before);
}

async fn promises_use_up_the_room(fixture: FileFixture) {
    let mut config = fixture.config.clone();
    config.thin_factor = 1.0;
    let backend = FileBackend::open(config).await.unwrap();
    let before = backend.capacity(&Parameters::default(), None).await.unwrap().available;
    backend.create(&order("v", 1024)).await.unwrap();
    let after = backend.capacity(&Parameters::default(), None).await.unwrap().available;
    let promised = before.saturating_sub(after).get();
    // Others write to the same file system meanwhile.
    assert!(promised.abs_diff(1 << 30) < 512 << 20, "1 GiB is promised, {promised} bytes less are left");
    let error =
        refused(backend.create(&order("w", (before.get() >> 20) + 4096)).await, Kind::ResourceExhausted);
    assert!(error.to_string().contains("room for"), "{error}");
    assert_eq!(volumes(&backend).await, ["v"]);
}

async fn topology_is_kept(fixture: FileFixture) {
    let zone = |value: &str| Topology([("zone".to_owned(), value.to_owned())].into());
    let mut config = fixture.config.clone();
    config.reach = zone("a");
    let backend = FileBackend::open(config).await.unwrap();
    let to = |zones: &[&str]| TopologyRequirement {
        requisite: zones.iter().map(|value| zone(value)).collect(),
        preferred: vec![],
    };
    refused(
        backend.create(&VolumeOrder { topology: to(&["b"]), ..order("v", 1) }).await,
        Kind::ResourceExhausted,
    );
    let volume = backend.create(&VolumeOrder { topology: to(&["b", "a"]), ..order("v", 1) }).await.unwrap();
    assert_eq!(volume.reach, zone("a"));
    refused(
        backend.create(&VolumeOrder { topology: to(&["b"]), ..order("v", 1) }).await,
        Kind::AlreadyExists,
    );
    let there =
        async |value: &str| backend.capacity(&Parameters::default(), Some(&zone(value))).await.unwrap();
    assert!(there("a").await.available > Bytes::ZERO);
    assert_eq!((there("b").await.available, there("b").await.largest), (Bytes::ZERO, Bytes::ZERO));
}

async fn a_thousand_volumes_are_fast(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let start = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|lane| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                for n in 0..125 {
                    backend.create(&order(&format!("v{lane}-{n}"), 1)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let made = start.elapsed();
    let start = Instant::now();
    assert_eq!(volumes(backend.as_ref()).await.len(), 1000);
    let listed = start.elapsed();
    eprintln!("1,000 volumes: created in {made:?}, listed in {listed:?}");
    assert!(listed < Duration::from_secs(2), "{listed:?}");
    assert!(made < Duration::from_secs(40), "{made:?}");
}

/// The races in the list of facts are short; here another controller is in the middle of its check for sure.
async fn checks_of_limits_exclude_each_other(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap().id;
    let file = fixture.config.directory.join("lock");
    let hold =
        |key: &str| lock::acquire(&file, &[(key.to_owned(), lock::Mode::Shared)], Duration::ZERO).unwrap();
    let node = fixture.nodes()[0].clone();
    for (number, key) in ["account", "servers/alpha", "account"].into_iter().enumerate() {
        let guard = hold(key);
        let (backend, volume, node) = (Arc::clone(&backend), volume.clone(), node.clone());
        let call = tokio::spawn(async move {
            match number {
                0 => drop(backend.create(&order("w", 1)).await.unwrap()),
                1 => drop(backend.attach(&writer(&volume, &node)).await.unwrap()),
                _ => {
                    let size = fairlead::volume::SizeRange::at_least(Bytes::mib(2));
                    backend.expand(&volume, size).await.unwrap();
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!call.is_finished(), "{key}");
        drop(guard);
        call.await.unwrap();
    }
}

async fn a_stale_hold_ends_with_the_next_join(fixture: FileFixture) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 1)).await.unwrap().id);
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let connector = fixture.connector(&nodes[0]);
    let device = connector.connect(&volume, &attachment).await.unwrap();
    // As a reboot does.
    for found in loopdev::find("v.img", |tag| tag.starts_with("fairlead:")).unwrap() {
        if found.number == device.number {
            loopdev::detach(&found, Duration::from_secs(5)).unwrap();
        }
    }
    assert_eq!(backend.detach(&detach(&volume, None)).await.unwrap_err().kind(), Kind::Busy);
    connector.join().await.unwrap();
    backend.detach(&detach(&volume, None)).await.unwrap();
    backend.delete(&volume).await.unwrap();
}

/// On xfs it must work, so that no fault of the reflink hides behind a refusal; where the temporary directory cannot
/// share blocks it must be refused.
async fn an_open_volume_is_cut_only_by_sharing_blocks(fixture: FileFixture, shares: bool) {
    let backend = fixture.backend().await;
    let (nodes, volume) = (fixture.nodes(), backend.create(&order("v", 32)).await.unwrap().id);
    fs::write(fixture.config.directory.join("probe"), [7; 4096]).unwrap();
    let source = fs::File::open(fixture.config.directory.join("probe")).unwrap();
    let target = fs::File::create(fixture.config.directory.join("copy")).unwrap();
    let can = fairlead::host::files::reflink(&source, &target).unwrap();
    assert!(can || !shares, "xfs shares blocks");
    let attachment = backend.attach(&writer(&volume, &nodes[0])).await.unwrap();
    let connector = fixture.connector(&nodes[0]);
    let device = connector.connect(&volume, &attachment).await.unwrap();
    let found = loopdev::find("v.img", |tag| tag.starts_with("fairlead:")).unwrap();
    let mine = found.iter().find(|found| found.number == device.number).unwrap();
    assert!(mine.direct_io || !shares, "xfs on a 512-byte device allows direct I/O");
    let cut = backend.create_snapshot(&cut("s", &volume)).await;
    if can {
        cut.unwrap();
    } else {
        refused(cut, Kind::FailedPrecondition);
    }
    connector.disconnect(&volume).await.unwrap();
}

async fn a_full_disk_leaves_nothing() {
    let storage = Storage::tmpfs(48);
    let fixture = FileFixture::new(&storage);
    fixture.start().await;
    let backend = fixture.backend().await;
    let (v, w) = (
        backend.create(&order("v", 64)).await.unwrap().id,
        backend.create(&order("w", 64)).await.unwrap().id,
    );
    fs::write(fixture.image(&v), vec![7; 30 << 20]).unwrap();
    fs::File::options().write(true).open(fixture.image(&v)).unwrap().set_len(64 << 20).unwrap();
    let whole = tree(&fixture.config.directory);
    let group = GroupOrder {
        name: "g".into(),
        volumes: vec![w.clone(), v.clone()],
        parameters: Parameters::default(),
    };
    for _ in 0..2 {
        refused(backend.create(&from("c", 0, Source::Volume(v.clone()))).await, Kind::ResourceExhausted);
        refused(backend.create_snapshot(&cut("s", &v)).await, Kind::ResourceExhausted);
        refused(backend.create_group(&group).await, Kind::ResourceExhausted);
        assert_eq!(tree(&fixture.config.directory), whole);
    }
    // Not even a record fits.
    let filler = fixture.config.directory.join("filler");
    assert!(fs::write(&filler, vec![7; 48 << 20]).is_err());
    refused(backend.create(&order("x", 1)).await, Kind::ResourceExhausted);
    refused(backend.create_snapshot(&cut("x", &w)).await, Kind::ResourceExhausted);
    fs::remove_file(&filler).unwrap();
    assert_eq!(tree(&fixture.config.directory), whole);
    assert!(fairlead::host::files::available(storage.root()).unwrap() > 10 << 20, "the room came back");
    backend.create_snapshot(&cut("s", &w)).await.unwrap();
}
