//! The contract's facts on a simulated OpenStack, each on one of its own.

use fairlead::backend::cinder::credentials::Source;
use fairlead::volume::Bytes;
use libtest_mimic::{Failed, Trial};

use crate::cinder::CinderFixture;
use crate::fixture::{Fact, Needs, runtime};

/// The facts, and how many of them are left out: a simulated server has no devices on this machine.
pub fn trials(facts: &[Fact]) -> (Vec<Trial>, usize) {
    let (served, left_out): (Vec<&Fact>, Vec<&Fact>) =
        facts.iter().partition(|fact| fact.needs == Needs::Backend);
    let trial = |fact: &Fact| {
        let fact = *fact;
        Trial::test(format!("cinder::{}", fact.name), move || run(fact))
    };
    (served.into_iter().map(trial).collect(), left_out.len())
}

fn run(fact: Fact) -> Result<(), Failed> {
    // Cinder counts in gibibytes.
    runtime(Bytes::gib(1)).block_on(async {
        let sim = cloudsim::Sim::start(cloudsim::Config::openstack()).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("clouds.yaml");
        std::fs::write(&file, sim.clouds_yaml())?;
        let servers = ["alpha", "beta", "gamma"].map(|name| sim.add_server("csi", name));
        let source = Source::Clouds { file, cloud: Some("csi".to_owned()) };
        let fixture = CinderFixture::new(source, servers.into(), "facts".to_owned(), fact.name);
        (fact.run)(&fixture).await;
        fixture.clean().await;
        let cloud = sim.cloud();
        assert_eq!(cloud.ledger.violations(), [], "what must never happen");
        assert_eq!(cloud.leaks(&[]), [""; 0], "what nothing shows that there is");
        Ok(())
    })
}
