//! The operator's limits, whatever the order in which StorPool gives out ids and times.

use std::sync::Arc;

use storpoolsim::{Fault, Rule};

use super::world::{World, told};
use crate::backend::storpool::config::Prefix;
use crate::backend::storpool::{StorpoolBackend, StorpoolConfig};
use crate::backend::{Backend, Page, SnapshotFilter, SnapshotOrder};
use crate::error::{Kind, Outcome};
use crate::volume::{Parameters, Volume};

#[tokio::test]
async fn those_who_make_the_last_one_at_once_never_both_get_it() {
    let world = World::new(|config| config.max_volumes = Some(2)).await;
    let other = StorpoolBackend::open("other", world.config.clone(), Arc::default()).await.unwrap();
    world.create("first").await.unwrap();
    for round in 0..5 {
        // Both have looked before either has made one.
        world.sim.order(Rule::once("POST", "/VolumeCreate", Fault::Late(60)).times(2));
        let (one, two) = (format!("a{round}"), format!("b{round}"));
        let order = super::world::order(&two);
        let (one, two) = tokio::join!(world.create(&one), other.create(&order));
        world.sim.clear_orders();
        let made: Vec<_> = [&one, &two].into_iter().flatten().collect();
        assert_eq!((made.len(), world.volumes().len()), (1, 2), "{one:?} {two:?}");
        let lost = if one.is_err() { one.clone() } else { two.clone() };
        let (kind, outcome, text) = told(lost);
        assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
        world.backend.delete(&made[0].id).await.unwrap();
    }
}

/// What another one made meanwhile may have any id and any time of birth.
#[tokio::test]
async fn one_that_came_in_between_counts_wherever_it_stands_in_the_order() {
    for created in [0, u64::MAX / 2] {
        let world = World::new(|config| config.max_volumes = Some(1)).await;
        world.sim.order(Rule::once("POST", "/VolumeCreate", Fault::Late(80)));
        let another = async {
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            world.foreign(Some("csi--other"));
            let make_ours = |volume: &mut storpoolsim::state::Object| {
                volume.tags.insert("fl-cluster".into(), "kubernetes".into());
                (volume.created, volume.global_id) = (created, format!("d.n.zz{created}"));
            };
            world.sim.cluster().alter("csi--other", make_ours).unwrap();
        };
        let (made, ()) = tokio::join!(world.create("v"), another);
        let (kind, outcome, text) = told(made);
        assert_eq!((kind, outcome), (Kind::ResourceExhausted, Outcome::Refused), "{text}");
        assert_eq!(world.volumes(), ["csi--other"]);
    }
}

/// They mark their volumes alike, but for the names.
#[tokio::test]
async fn two_back_ends_with_one_mark_keep_to_their_own_prefix() {
    let prefix = |text: &str| Prefix::parse(text).unwrap();
    let world = World::new(|config| {
        config.siblings = vec![prefix("other--")];
        config.max_volumes = Some(1);
    })
    .await;
    let config = StorpoolConfig {
        prefix: prefix("other--"),
        siblings: vec![world.config.prefix.clone()],
        ..world.config.clone()
    };
    let other = StorpoolBackend::open("other", config, Arc::default()).await.unwrap();
    let one = world.create("v").await.unwrap();
    let two = other.create(&super::world::order("v")).await.unwrap();
    for (backend, own, their) in [(&world.backend, &one, &two), (&other, &two, &one)] {
        let cut = |volume: &Volume| SnapshotOrder {
            name: "s".to_owned(),
            volume: volume.id.clone(),
            parameters: Parameters::default(),
        };
        let snapshot = backend.create_snapshot(&cut(own)).await.unwrap();
        let listed = backend.list(&Page::default()).await.unwrap().items;
        assert_eq!(listed, std::slice::from_ref(own));
        let snapshots = backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap();
        assert_eq!(snapshots.items, [snapshot]);
        let (kind, outcome, text) = told(backend.delete(&their.id).await);
        assert_eq!((kind, outcome), (Kind::FailedPrecondition, Outcome::Refused), "{text}");
    }
    assert_eq!(world.volumes().len(), 2);
}
