//! Snapshots, clones and groups.

use fairlead::backend::{Backend, Expansion, GroupOrder, Page, SnapshotFilter};
use fairlead::error::Kind;
use fairlead::volume::{Content, NativeId, Parameters, SizeRange, Source};

use crate::device::{read, write};
use crate::facts;
use crate::fixture::{Fixture, cut, from, id, order, parameters, refused, snapshots, units, volumes, writer};

facts![
    Backend: a_snapshot_is_cut_once,
    Backend: snapshots_are_listed_by_filter_and_page,
    Backend: groups_are_whole_or_not_there,
    Backend: a_group_is_deleted_whole,
    Devices: a_snapshot_outlives_its_volume,
    Devices: a_clone_has_the_content_and_the_holes,
    Devices: a_volume_in_use_is_cut_at_one_moment_or_not_at_all,
];

fn group(name: &str, volumes: &[&NativeId]) -> GroupOrder {
    GroupOrder {
        name: name.to_owned(),
        volumes: volumes.iter().map(|id| (*id).clone()).collect(),
        parameters: Parameters::default(),
    }
}

async fn volume(backend: &dyn Backend, name: &str, mib: u64) -> NativeId {
    backend.create(&order(name, mib)).await.unwrap().id
}

pub async fn a_snapshot_is_cut_once(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (v, w) = (volume(backend.as_ref(), "v", 2).await, volume(backend.as_ref(), "w", 2).await);
    let snapshot = backend.create_snapshot(&cut("s", &v)).await.unwrap();
    assert_eq!(
        (&snapshot.volume, snapshot.size, snapshot.ready, &snapshot.group),
        (&v, units(2), true, &None)
    );
    if backend.capabilities().expansion != Expansion::Never {
        backend.expand(&v, SizeRange::at_least(units(4))).await.unwrap();
    }
    assert_eq!(fixture.backend().await.create_snapshot(&cut("s", &v)).await.unwrap(), snapshot);
    assert_eq!(backend.get_snapshot(&snapshot.id).await.unwrap(), snapshot);
    refused(backend.create_snapshot(&cut("s", &w)).await, Kind::AlreadyExists);
    refused(backend.create_snapshot(&cut("t", &id("none"))).await, Kind::NotFound);
    let mut bad = cut("t", &v);
    bad.parameters = parameters("no-such-key", "x");
    refused(backend.create_snapshot(&bad).await, Kind::InvalidArgument);
    assert_eq!(snapshots(backend.as_ref()).await, std::slice::from_ref(&snapshot.id));
    refused(backend.create(&from("r", 1, Source::Snapshot(snapshot.id.clone()))).await, Kind::OutOfRange);
    let restored = backend.create(&from("r", 0, Source::Snapshot(snapshot.id.clone()))).await.unwrap();
    assert_eq!((restored.size, restored.content), (units(2), Content::Data));
    for _ in 0..2 {
        backend.delete_snapshot(&snapshot.id).await.unwrap();
        refused(backend.get_snapshot(&snapshot.id).await, Kind::NotFound);
    }
    backend.delete_snapshot(&id("none")).await.unwrap();
    let again = backend.create(&from("r", 0, Source::Snapshot(snapshot.id))).await.unwrap();
    assert_eq!(again, restored, "the retry finds it, though its source is gone");
}

pub async fn snapshots_are_listed_by_filter_and_page(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (v, w) = (volume(backend.as_ref(), "v", 1).await, volume(backend.as_ref(), "w", 1).await);
    for n in 0..5 {
        backend.create_snapshot(&cut(&format!("s{n}"), if n == 2 { &w } else { &v })).await.unwrap();
    }
    let list = async |filter: SnapshotFilter, page: Page| backend.list_snapshots(&filter, &page).await;
    let of = |volume: &NativeId| SnapshotFilter { volume: Some(volume.clone()), snapshot: None };
    let first = list(of(&v), Page { max: Some(2), token: None }).await.unwrap();
    assert_eq!(first.items.len(), 2);
    backend.delete_snapshot(&first.items[1].id).await.unwrap();
    let second = list(of(&v), Page { max: Some(2), token: first.next }).await.unwrap();
    assert_eq!((second.items.len(), second.next), (2, None));
    assert!(second.items.iter().all(|snapshot| snapshot.volume == v));
    for filter in [of(&id("none")), SnapshotFilter { snapshot: Some(id("none")), volume: None }] {
        assert!(list(filter, Page::default()).await.unwrap().items.is_empty());
    }
    let one = SnapshotFilter { snapshot: Some(first.items[0].id.clone()), volume: None };
    assert_eq!(list(one, Page::default()).await.unwrap().items, first.items[..1]);
    let bad = Page { max: None, token: Some("nonsense".into()) };
    refused(list(SnapshotFilter::default(), bad).await, Kind::BadToken);
}

pub async fn groups_are_whole_or_not_there(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    if !backend.capabilities().group_snapshots {
        return;
    }
    let (v, w) = (volume(backend.as_ref(), "v", 1).await, volume(backend.as_ref(), "w", 2).await);
    refused(backend.create_group(&group("g", &[&v, &id("none"), &w])).await, Kind::NotFound);
    assert!(snapshots(backend.as_ref()).await.is_empty());
    refused(backend.get_group(&id("g")).await, Kind::NotFound);

    let made = backend.create_group(&group("g", &[&w, &v])).await.unwrap();
    let mut of: Vec<_> = made.members.iter().map(|member| (member.volume.clone(), member.size)).collect();
    of.sort();
    let mut expected = [(v.clone(), units(1)), (w.clone(), units(2))];
    expected.sort();
    assert_eq!(of, expected);
    assert!(
        made.members
            .iter()
            .all(|m| m.ready && m.group.as_ref() == Some(&made.id) && m.created == made.created)
    );
    assert_eq!(fixture.backend().await.create_group(&group("g", &[&v, &w])).await.unwrap(), made);
    assert_eq!(backend.get_group(&made.id).await.unwrap(), made);
    refused(backend.create_group(&group("g", &[&v])).await, Kind::AlreadyExists);
    assert_eq!(snapshots(backend.as_ref()).await.len(), 2);
    let restored = backend.create(&from("r", 0, Source::Snapshot(made.members[0].id.clone()))).await.unwrap();
    assert_eq!(restored.size, made.members[0].size);
}

pub async fn a_group_is_deleted_whole(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    if !backend.capabilities().group_snapshots {
        return;
    }
    let (v, w) = (volume(backend.as_ref(), "v", 1).await, volume(backend.as_ref(), "w", 1).await);
    let made = backend.create_group(&group("g", &[&v, &w])).await.unwrap();
    let members: Vec<_> = made.members.iter().map(|member| member.id.clone()).collect();
    refused(backend.delete_snapshot(&members[0]).await, Kind::InvalidArgument);
    refused(backend.delete_group(&made.id, &members[..1]).await, Kind::InvalidArgument);
    let other = backend.create_snapshot(&cut("s", &v)).await.unwrap();
    let with_other = [members.as_slice(), std::slice::from_ref(&other.id)].concat();
    refused(backend.delete_group(&made.id, &with_other).await, Kind::InvalidArgument);
    assert_eq!(snapshots(backend.as_ref()).await.len(), 3);
    for _ in 0..2 {
        backend.delete_group(&made.id, &members).await.unwrap();
        refused(backend.get_group(&made.id).await, Kind::NotFound);
    }
    assert_eq!(snapshots(backend.as_ref()).await, [other.id]);
    for member in &members {
        refused(backend.get_snapshot(member).await, Kind::NotFound);
        backend.delete_snapshot(member).await.unwrap();
    }
    backend.create_group(&group("g", &[&w])).await.unwrap();
}

pub async fn a_snapshot_outlives_its_volume(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let v = volume(backend.as_ref(), "v", 8).await;
    write(fixture, backend.as_ref(), &v, &[(0, b"before"), (6 << 20, b"deep")]).await;
    let before = read(fixture, backend.as_ref(), &v).await;
    let snapshot = backend.create_snapshot(&cut("s", &v)).await.unwrap();
    write(fixture, backend.as_ref(), &v, &[(0, b"after!")]).await;
    backend.delete(&v).await.unwrap();
    assert_eq!(backend.get_snapshot(&snapshot.id).await.unwrap(), snapshot);
    let restored = backend.create(&from("r", 16, Source::Snapshot(snapshot.id.clone()))).await.unwrap();
    assert_eq!((restored.size, restored.content), (units(16), Content::Data));
    let mut after = read(fixture, backend.as_ref(), &restored.id).await;
    assert!(after.split_off(8 << 20).iter().all(|byte| *byte == 0));
    assert!(before == after, "the content at the cut");
    backend.delete_snapshot(&snapshot.id).await.unwrap();
    assert!(read(fixture, backend.as_ref(), &restored.id).await.starts_with(b"before"));
}

pub async fn a_clone_has_the_content_and_the_holes(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let v = volume(backend.as_ref(), "v", 64).await;
    let data = vec![0x5a; 256 << 10];
    write(fixture, backend.as_ref(), &v, &[(1 << 20, &data), (40 << 20, &data), ((64 << 20) - 4, b"tail")])
        .await;
    let clone = backend.create(&from("c", 0, Source::Volume(v.clone()))).await.unwrap();
    assert_eq!((clone.size, clone.source.clone()), (units(64), Some(Source::Volume(v.clone()))));
    if let Some(allocated) = fixture.allocated(&clone.id) {
        assert!(allocated <= 2 << 20, "holes stay holes: {allocated} bytes of 64 MiB");
    }
    assert!(read(fixture, backend.as_ref(), &v).await == read(fixture, backend.as_ref(), &clone.id).await);
    write(fixture, backend.as_ref(), &clone.id, &[(1 << 20, b"mine")]).await;
    assert!(read(fixture, backend.as_ref(), &v).await[1 << 20..].starts_with(&data), "they are independent");
}

pub async fn a_volume_in_use_is_cut_at_one_moment_or_not_at_all(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let (v, w) = (volume(backend.as_ref(), "v", 4).await, volume(backend.as_ref(), "w", 4).await);
    let node = &fixture.nodes()[0];
    let connector = fixture.connector(node);
    let attachment = backend.attach(&writer(&v, node)).await.unwrap();
    let device = connector.connect(&v, &attachment).await.unwrap();
    let file = std::fs::File::options().write(true).open(&device.path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"synced", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    match backend.create_snapshot(&cut("s", &v)).await {
        Ok(snapshot) => {
            let restored =
                backend.create(&from("r", 0, Source::Snapshot(snapshot.id.clone()))).await.unwrap();
            assert!(read(fixture, backend.as_ref(), &restored.id).await.starts_with(b"synced"));
            backend.create(&from("c", 0, Source::Volume(v.clone()))).await.unwrap();
            let one = backend.create_group(&group("one", &[&v, &w])).await.unwrap();
            let members: Vec<_> = one.members.iter().map(|member| member.id.clone()).collect();
            backend.delete_group(&one.id, &members).await.unwrap();
            backend.delete_snapshot(&snapshot.id).await.unwrap();
        }
        Err(error) => {
            let error = refused(Err::<(), _>(error), Kind::FailedPrecondition);
            assert!(error.to_string().contains("alpha") && error.to_string().contains("detach"), "{error}");
            refused(backend.create(&from("c", 0, Source::Volume(v.clone()))).await, Kind::FailedPrecondition);
            refused(backend.create_group(&group("one", &[&v, &w])).await, Kind::FailedPrecondition);
            assert_eq!(volumes(backend.as_ref()).await, ["v", "w"]);
        }
    }
    let second = backend.attach(&writer(&w, node)).await.unwrap();
    connector.connect(&w, &second).await.unwrap();
    let error = refused(backend.create_group(&group("two", &[&v, &w])).await, Kind::FailedPrecondition);
    assert!(error.to_string().contains("v on alpha; w on alpha"), "{error}");
    assert!(snapshots(backend.as_ref()).await.is_empty());
    connector.disconnect(&v).await.unwrap();
    connector.disconnect(&w).await.unwrap();
    backend.create_group(&group("two", &[&v, &w])).await.unwrap();
}
