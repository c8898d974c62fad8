//! The contract's facts on simulated clouds of each kind, each fact on one of its own.

use cloudsim::Config;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::Dialect;
use fairlead::volume::Bytes;
use libtest_mimic::{Failed, Trial};

use crate::cinder::CinderFixture;
use crate::fixture::{Fact, Needs, runtime};

/// A kind of cloud.
struct Kind {
    /// What its trials begin with.
    name: &'static str,
    dialect: &'static Dialect,
    config: fn() -> Config,
    /// GiB in which sizes are counted: the least that the cloud makes.
    unit: u64,
    /// Facts about what it cannot do, and what that is.
    lacks: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 3] = [
    Kind { name: "cinder", dialect: Dialect::OPENSTACK, config: Config::openstack, unit: 1, lacks: &[] },
    Kind {
        name: "rackspace",
        dialect: Dialect::RACKSPACE,
        config: Config::rackspace,
        unit: 75,
        lacks: &[
            ("volumes_grow_and_never_shrink", "it grows no volumes"),
            ("groups_are_whole_or_not_there", "it has no groups"),
            ("a_group_is_deleted_whole", "it has no groups"),
            ("only_matching_modes_share_a_volume", "one server has a volume at a time"),
        ],
    },
    Kind {
        name: "cyclades",
        dialect: Dialect::CYCLADES,
        config: Config::cyclades,
        unit: 1,
        lacks: &[
            ("volumes_grow_and_never_shrink", "it grows no volumes"),
            ("growth_and_clones_count", "it grows no volumes and makes no clones"),
            ("a_snapshot_is_cut_once", "its copies cannot be told from their sources"),
            ("snapshots_are_listed_by_filter_and_page", "its copies cannot be told from their sources"),
            ("groups_are_whole_or_not_there", "it has no groups"),
            ("a_group_is_deleted_whole", "it has no groups"),
            ("only_matching_modes_share_a_volume", "one server has a volume at a time"),
        ],
    },
];

/// The facts, of which those are left out, loudly, that a simulated cloud cannot show: its servers have no devices on this
/// machine.
pub fn trials(facts: &[Fact]) -> Vec<Trial> {
    KINDS.iter().flat_map(|kind| of_kind(kind, facts)).collect()
}

fn of_kind(kind: &'static Kind, facts: &[Fact]) -> Vec<Trial> {
    let (served, left_out): (Vec<&Fact>, Vec<&Fact>) =
        facts.iter().partition(|fact| fact.needs == Needs::Backend);
    let name = kind.name;
    eprintln!(
        "SKIPPED: {} facts on {name}: its servers are simulated and have no devices on this machine",
        left_out.len()
    );
    for (fact, why) in kind.lacks {
        assert!(served.iter().any(|served| served.name == *fact), "there is no fact {fact}");
        eprintln!("SKIPPED: {fact} on {name}: {why}");
    }
    let trial = |fact: &Fact| {
        let fact = *fact;
        let lacks = kind.lacks.iter().any(|(lacking, _)| *lacking == fact.name);
        Trial::test(format!("{name}::{}", fact.name), move || run(kind, fact)).with_ignored_flag(lacks)
    };
    served.into_iter().map(trial).collect()
}

fn run(kind: &Kind, fact: Fact) -> Result<(), Failed> {
    runtime(Bytes::gib(kind.unit)).block_on(async {
        let sim = cloudsim::Sim::start((kind.config)()).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("clouds.yaml");
        std::fs::write(&file, sim.clouds_yaml())?;
        let servers = ["alpha", "beta", "gamma"].map(|name| sim.add_server("csi", name));
        let source = Source::Clouds { file, cloud: Some("csi".to_owned()) };
        let fixture = CinderFixture::new(kind.dialect, source, servers.into(), "facts".to_owned(), fact.name);
        (fact.run)(&fixture).await;
        fixture.clean().await;
        let cloud = sim.cloud();
        assert_eq!(cloud.ledger.violations(), [], "what must never happen");
        assert_eq!(cloud.leaks(&[]), [""; 0], "what nothing shows that there is");
        Ok(())
    })
}
