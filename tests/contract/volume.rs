//! Create, delete, get, list, expand, modify, capacity.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead::backend::{Expansion, Page, VolumeOrder};
use fairlead::error::{Kind, Outcome, Result};
use fairlead::volume::{Bytes, Content, SizeRange, Source, Topology, TopologyRequirement};

use crate::facts;
use crate::fixture::{Fixture, from, id, order, parameters, refused, units, volumes};

facts![
    Backend: create_finds_what_an_earlier_try_made,
    Backend: parallel_creates_make_one_volume,
    Backend: sizes_follow_the_rules,
    Backend: unknown_parameters_are_named_and_leave_nothing,
    Backend: any_name_makes_a_volume_of_its_own,
    Backend: delete_may_be_repeated,
    Backend: missing_sources_are_not_found,
    Backend: pages_survive_deletes,
    Backend: volumes_grow_and_never_shrink,
    Backend: modify_is_all_or_nothing,
    Backend: capacity_knows_the_limits,
    Backend: everything_is_there_after_a_restart,
    Backend: a_lost_answer_is_found_by_the_retry,
    Backend: two_controllers_may_storm,
];

pub async fn create_finds_what_an_earlier_try_made(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 8)).await.unwrap();
    assert_eq!((volume.size, volume.content, volume.name.as_str()), (units(8), Content::New, "v"));
    assert_eq!(backend.create(&order("v", 8)).await.unwrap(), volume);
    assert_eq!(backend.create(&order("v", 4)).await.unwrap(), volume, "8 are at least 4");
    refused(backend.create(&order("v", 16)).await, Kind::AlreadyExists);
    let narrow =
        VolumeOrder { size: SizeRange::new(units(1).as_i64(), units(2).as_i64()).unwrap(), ..order("v", 0) };
    refused(backend.create(&narrow).await, Kind::AlreadyExists);
    refused(backend.create(&from("v", 8, Source::Volume(volume.id.clone()))).await, Kind::AlreadyExists);
    assert_eq!(backend.get(&volume.id).await.unwrap(), volume);
    assert_eq!(volumes(backend.as_ref()).await, ["v"]);
    assert!(backend.health(&volume.id).await.unwrap().is_empty());
    backend.ready().await.unwrap();
}

pub async fn parallel_creates_make_one_volume(fixture: &dyn Fixture) {
    let backends = [fixture.backend().await, fixture.backend().await];
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let backend = Arc::clone(&backends[n % 2]);
            tokio::spawn(async move { backend.create(&order("v", 8)).await })
        })
        .collect();
    let mut made = BTreeSet::new();
    for task in tasks {
        made.insert(task.await.unwrap().unwrap().id);
    }
    assert_eq!(made.len(), 1);
    assert_eq!(volumes(backends[0].as_ref()).await, ["v"]);
}

pub async fn sizes_follow_the_rules(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let rules = backend.limits().sizes;
    let ask = |name: &str, required: u64, limit: u64| {
        let size = SizeRange::new(required.cast_signed(), limit.cast_signed()).unwrap();
        VolumeOrder { size, ..order(name, 0) }
    };
    for (name, required, limit, expected) in [
        ("default", 0, 0, rules.default.get()),
        ("least", 1, 0, rules.min.get()),
        ("step", rules.min.get() + 1, 0, rules.min.get() + rules.step.get()),
    ] {
        assert_eq!(backend.create(&ask(name, required, limit)).await.unwrap().size.get(), expected, "{name}");
    }
    let over = rules.max.get() + 1;
    for (required, limit) in [(over, 0), (rules.min.get() + 1, rules.min.get() + 2), (1, rules.min.get() - 1)]
    {
        refused(backend.create(&ask("bad", required, limit)).await, Kind::OutOfRange);
    }
    refused(backend.get(&id("bad")).await, Kind::NotFound);
}

pub async fn unknown_parameters_are_named_and_leave_nothing(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let bad = parameters("no-such-key", "x");
    for order in [
        VolumeOrder { parameters: bad.clone(), ..order("v", 1) },
        VolumeOrder { mutable: bad.clone(), ..order("v", 1) },
    ] {
        let error = refused(backend.create(&order).await, Kind::InvalidArgument);
        assert!(error.to_string().contains("no-such-key"), "{error}");
    }
    refused(backend.check_parameters(&bad), Kind::InvalidArgument);
    refused(backend.check_mutable(&bad), Kind::InvalidArgument);
    refused(backend.capacity(&bad, None).await, Kind::InvalidArgument);
    assert!(volumes(backend.as_ref()).await.is_empty());
}

pub async fn any_name_makes_a_volume_of_its_own(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let names = [
        "A".repeat(128),
        "..".into(),
        "a/b".into(),
        "a.json".into(),
        "a".into(),
        "a.img".into(),
        "ä b".into(),
    ];
    for name in &names {
        assert_eq!(backend.create(&order(name, 1)).await.unwrap().name, *name);
    }
    let mut sorted = names.to_vec();
    sorted.sort();
    assert_eq!(volumes(backend.as_ref()).await, sorted);
    for name in ["", "a\0b", &"x".repeat(129)] {
        refused(backend.create(&order(name, 1)).await, Kind::InvalidArgument);
    }
}

pub async fn delete_may_be_repeated(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    for _ in 0..2 {
        backend.delete(&volume.id).await.unwrap();
        refused(backend.get(&volume.id).await, Kind::NotFound);
        refused(backend.health(&volume.id).await, Kind::NotFound);
    }
    backend.delete(&id("never-was")).await.unwrap();
    backend.create(&order("v", 2)).await.unwrap();
}

pub async fn missing_sources_are_not_found(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let capabilities = backend.capabilities();
    if capabilities.clones {
        refused(backend.create(&from("c", 1, Source::Volume(id("none")))).await, Kind::NotFound);
    }
    if capabilities.snapshots {
        refused(backend.create(&from("r", 1, Source::Snapshot(id("none")))).await, Kind::NotFound);
    }
    assert!(volumes(backend.as_ref()).await.is_empty());
}

pub async fn pages_survive_deletes(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(backend.create(&order(&format!("v{n}"), 1)).await.unwrap().id);
    }
    let page = |token: Option<String>| Page { max: Some(3), token };
    let first = backend.list(&page(None)).await.unwrap();
    let seen: Vec<_> = first.items.iter().map(|volume| volume.id.clone()).collect();
    assert_eq!(seen.len(), 3);
    // What the token stands for, something before it and something after it.
    let after = ids.iter().find(|id| !seen.contains(id)).unwrap().clone();
    for id in [&seen[2], &seen[0], &after] {
        backend.delete(id).await.unwrap();
    }
    let second = backend.list(&page(first.next)).await.unwrap();
    let rest: Vec<_> = second.items.iter().map(|volume| volume.id.clone()).collect();
    assert_eq!((rest.len(), second.next), (3, None), "exactly what is left, and no empty page behind it");
    assert!(rest.iter().all(|id| !seen.contains(id) && *id != after));
    for token in ["", "nonsense", "after:", "after:a/b"] {
        refused(backend.list(&page(Some(token.into()))).await, Kind::BadToken);
    }
}

pub async fn volumes_grow_and_never_shrink(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let rules = backend.limits().sizes;
    if backend.capabilities().expansion == Expansion::Never {
        return;
    }
    let volume = backend.create(&order("v", 4)).await.unwrap();
    for (required, expected) in [(8, 8), (8, 8), (4, 8), (0, 8)] {
        let grown = backend.expand(&volume.id, SizeRange::at_least(units(required))).await.unwrap();
        assert_eq!(grown.size, units(expected));
        assert_eq!(backend.get(&volume.id).await.unwrap().size, grown.size);
    }
    let odd = backend.expand(&volume.id, SizeRange::at_least(Bytes::new(units(8).get() + 1))).await.unwrap();
    assert_eq!(odd.size.get(), units(8).get() + rules.step.get());
    refused(
        backend.expand(&volume.id, SizeRange::new(1, units(4).as_i64()).unwrap()).await,
        Kind::OutOfRange,
    );
    refused(backend.expand(&volume.id, SizeRange::at_least(Bytes::MAX)).await, Kind::OutOfRange);
    refused(backend.expand(&id("none"), SizeRange::at_least(units(8))).await, Kind::NotFound);
    assert_eq!(backend.get(&volume.id).await.unwrap().size, odd.size);
}

pub async fn modify_is_all_or_nothing(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 1)).await.unwrap();
    backend.modify(&volume.id, &Default::default()).await.unwrap();
    let error =
        refused(backend.modify(&volume.id, &parameters("no-such-key", "1")).await, Kind::InvalidArgument);
    assert!(error.to_string().contains("no-such-key"), "{error}");
    refused(backend.modify(&id("none"), &Default::default()).await, Kind::NotFound);
    assert_eq!(backend.get(&volume.id).await.unwrap(), volume);
}

pub async fn capacity_knows_the_limits(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let rules = backend.limits().sizes;
    let capacity = backend.capacity(&Default::default(), None).await.unwrap();
    assert_eq!(capacity.smallest, rules.min);
    assert!(capacity.largest <= capacity.available && capacity.largest <= rules.max, "{capacity:?}");
    assert!(capacity.largest.get().is_multiple_of(rules.step.get()));
    let place = Topology([("zone".to_owned(), "z".to_owned())].into());
    let there = backend.capacity(&Default::default(), Some(&place)).await.unwrap();
    assert!(there.available > Bytes::ZERO, "this cloud is reached from everywhere");
    let anywhere = TopologyRequirement { requisite: vec![place], preferred: vec![] };
    backend.create(&VolumeOrder { topology: anywhere, ..order("v", 1) }).await.unwrap();
}

pub async fn everything_is_there_after_a_restart(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    let volume = backend.create(&order("v", 4)).await.unwrap();
    drop(backend);
    let backend = fixture.backend().await;
    assert_eq!(backend.get(&volume.id).await.unwrap(), volume);
    assert_eq!(backend.create(&order("v", 4)).await.unwrap(), volume);
}

/// The caller gives up, but its call goes on beside the retry, as a flight does.
pub async fn a_lost_answer_is_found_by_the_retry(fixture: &dyn Fixture) {
    let backend = fixture.backend().await;
    for n in 0..10_u64 {
        let name = format!("v{n}");
        let wait = std::time::Duration::from_micros(200 * n);
        let creating = Arc::clone(&backend);
        let first = beside(wait, {
            let name = name.clone();
            async move { creating.create(&order(&name, 2)).await }
        })
        .await;
        let retry = backend.create(&order(&name, 2)).await.unwrap();
        assert_eq!(first.await.unwrap().unwrap(), retry);
        let deleting = Arc::clone(&backend);
        let id = retry.id.clone();
        let first = beside(wait, async move { deleting.delete(&id).await }).await;
        backend.delete(&retry.id).await.unwrap();
        first.await.unwrap().unwrap();
        refused(backend.get(&retry.id).await, Kind::NotFound);
    }
    assert!(volumes(backend.as_ref()).await.is_empty());
}

pub async fn two_controllers_may_storm(fixture: &dyn Fixture) {
    let mut tasks = Vec::new();
    for n in 0..6 {
        let backend = fixture.backend().await;
        tasks.push(tokio::spawn(async move {
            for round in 0..15 {
                let name = format!("v{}", (n + round) % 4);
                let wanted = order(&name, 2);
                let volume = in_the_end(|| backend.create(&wanted)).await;
                assert_eq!((volume.name.as_str(), volume.size), (name.as_str(), units(2)));
                backend.list(&Page::default()).await.unwrap();
                in_the_end(|| backend.delete(&volume.id)).await;
            }
        }));
    }
    // Others start and clean up meanwhile.
    for _ in 0..10 {
        fixture.backend().await.ready().await.unwrap();
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(volumes(fixture.backend().await.as_ref()).await.is_empty());
}

/// As a sidecar calls: again, where that is what the error asks for.
async fn in_the_end<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> T {
    for _ in 0..20 {
        match call().await {
            Ok(done) => return done,
            Err(error) => assert_ne!(error.outcome(), Outcome::Refused, "{error}"),
        }
    }
    panic!("it does not come to an end")
}

/// Starts a call and leaves it alone after `wait`.
async fn beside<T: Send + 'static>(
    wait: std::time::Duration,
    call: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let call = tokio::spawn(call);
    tokio::time::sleep(wait).await;
    call
}
