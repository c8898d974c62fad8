//! Quotas hold also in a race, and a refusal leaves nothing.

use std::sync::Arc;

use fairlead::backend::{Backend, Expansion};
use fairlead::error::Kind;
use fairlead::volume::{Bytes, SizeRange, Source};

use crate::facts;
use crate::fixture::{Fixture, Quotas, from, order, refused, units, volumes};

facts![
    Backend: no_race_makes_too_many_volumes,
    Backend: no_race_promises_too_many_bytes,
    Backend: growth_and_clones_count,
];

async fn race(fixture: &dyn Fixture, quotas: Quotas, mib: u64) -> usize {
    let backends = [fixture.limited(quotas).await, fixture.limited(quotas).await];
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let backend = Arc::clone(&backends[n % 2]);
            tokio::spawn(async move { backend.create(&order(&format!("v{n}"), mib)).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            error => drop(refused(error, Kind::ResourceExhausted)),
        }
    }
    assert_eq!(volumes(backends[0].as_ref()).await.len(), made);
    made
}

pub async fn no_race_makes_too_many_volumes(fixture: &dyn Fixture) {
    let quotas = Quotas { volumes: Some(5), ..Quotas::default() };
    assert_eq!(race(fixture, quotas, 1).await, 5);
    let backend = fixture.limited(quotas).await;
    let error = refused(backend.create(&order("more", 1)).await, Kind::ResourceExhausted);
    assert!(error.to_string().contains("5 of 5"), "{error}");
    assert_eq!(backend.capacity(&Default::default(), None).await.unwrap().available, Bytes::ZERO);
    let one = backend.list(&Default::default()).await.unwrap().items.remove(0);
    assert_eq!(
        backend.create(&order(&one.name, 1)).await.unwrap(),
        one,
        "what exists is found, also at the limit"
    );
    backend.delete(&one.id).await.unwrap();
    backend.create(&order("more", 1)).await.unwrap();
}

pub async fn no_race_promises_too_many_bytes(fixture: &dyn Fixture) {
    let quotas = Quotas { bytes: Some(units(10)), ..Quotas::default() };
    assert_eq!(race(fixture, quotas, 3).await, 3);
    let backend = fixture.limited(quotas).await;
    let error = refused(backend.create(&order("more", 2)).await, Kind::ResourceExhausted);
    let parts = [9, 10, 2].map(|count| units(count).to_string());
    assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    let capacity = backend.capacity(&Default::default(), None).await.unwrap();
    assert_eq!((capacity.available, capacity.largest), (units(1), units(1)));
    backend.create(&order("last", 1)).await.unwrap();
}

pub async fn growth_and_clones_count(fixture: &dyn Fixture) {
    let backend = fixture.limited(Quotas { bytes: Some(units(10)), ..Quotas::default() }).await;
    let v = backend.create(&order("v", 6)).await.unwrap();
    refused(backend.create(&from("c", 0, Source::Volume(v.id.clone()))).await, Kind::ResourceExhausted);
    if backend.capabilities().expansion != Expansion::Never {
        refused(backend.expand(&v.id, SizeRange::at_least(units(11))).await, Kind::ResourceExhausted);
        assert_eq!(backend.get(&v.id).await.unwrap().size, units(6));
        backend.expand(&v.id, SizeRange::at_least(units(10))).await.unwrap();
    }
    assert_eq!(volumes(backend.as_ref() as &dyn Backend).await, ["v"]);
}
