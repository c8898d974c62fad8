//! The contract's facts on the real cloud: each in a cluster of its own, on servers that exist.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fairlead::backend::cinder::dialect::Dialect;
use fairlead::volume::Bytes;
use futures_util::FutureExt as _;
use libtest_mimic::{Failed, Trial};

use crate::cinder::CinderFixture;
use crate::fixture::{Fact, Fixture as _, Needs, runtime};
use crate::servers::Pool;
use crate::{Cloud, attach, device, quota, snapshot, volume};

/// What a fixture has.
const SERVERS: usize = 3;

/// The facts, and how many of them are left out for want of devices or servers.
pub fn trials(cloud: &Cloud, pool: &Arc<Pool>, reachable: bool) -> (Vec<Trial>, usize) {
    let facts = [volume::FACTS, attach::FACTS, device::FACTS, snapshot::FACTS, quota::FACTS].concat();
    let needed = |fact: &Fact| match attach::FACTS.iter().any(|one| one.name == fact.name) {
        true => SERVERS,
        false => 0,
    };
    let served =
        |fact: &Fact| reachable && fact.needs == Needs::Backend && needed(fact) <= cloud.servers.len();
    let left_out = facts.iter().filter(|fact| !served(fact)).count();
    let trial = |fact: &Fact| {
        let (cloud, pool, fact, ignored) = (cloud.clone(), Arc::clone(pool), *fact, !served(fact));
        let count = needed(&fact);
        let run = move || -> Result<(), Failed> {
            let lease = pool.take(count);
            // Cinder counts in gibibytes.
            runtime(Bytes::gib(1)).block_on(async {
                let fixture = CinderFixture::new(
                    Dialect::OPENSTACK,
                    cloud.source("csi"),
                    lease.servers.clone(),
                    crate::name("fact"),
                    fact.name,
                );
                fixture.start().await;
                let ended = AssertUnwindSafe((fact.run)(&fixture)).catch_unwind().await;
                fixture.clean().await;
                ended.map_err(|_| Failed::from("see above"))
            })
        };
        Trial::test(format!("contract::{}", fact.name), run).with_ignored_flag(ignored)
    };
    (facts.iter().map(trial).collect(), left_out)
}
