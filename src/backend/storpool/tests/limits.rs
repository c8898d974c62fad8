//! The operator's limits, whatever the order in which StorPool gives out ids and times.

use std::sync::Arc;

use storpoolsim::{Fault, Rule};

use super::world::{World, told};
use crate::backend::Backend;
use crate::backend::storpool::StorpoolBackend;
use crate::error::{Kind, Outcome};

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
