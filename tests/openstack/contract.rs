//! The contract's facts on the real cloud: each in a cluster of its own, on servers that exist.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::{Backend, Connector, DetachOrder, Page, SnapshotFilter};
use fairlead::volume::{NativeId, NodeId};
use futures_util::FutureExt as _;
use libtest_mimic::{Failed, Trial};

use crate::fixture::{Fact, Fixture, Needs, Quotas, runtime};
use crate::{Cloud, attach, device, quota, snapshot, volume};

/// Group types whose snapshots count as consistent here: the facts cut volumes that nobody writes to.
const GROUP_TYPE: &str = "default-group";

/// The fact whose volumes several servers are to have.
const SHARING: &str = "only_matching_modes_share_a_volume";

pub struct CinderFixture {
    config: CinderConfig,
    servers: Vec<String>,
}

impl CinderFixture {
    fn new(cloud: &Cloud, fact: &str) -> Self {
        let mut config = CinderConfig::new(cloud.source("csi"));
        config.cluster = crate::name("fact");
        config.name_prefix = "vol-".to_owned();
        config.consistent_group_types = vec![GROUP_TYPE.to_owned()];
        // Of all others Cinder itself sees to it that one server has a volume.
        config.volume_type = (fact == SHARING).then(|| "multiattach".to_owned());
        Self { config, servers: cloud.servers.clone() }
    }

    async fn open(&self, quotas: Quotas) -> CinderBackend {
        let mut config = self.config.clone();
        (config.max_volumes, config.max_bytes, config.per_server) =
            (quotas.volumes, quotas.bytes, quotas.per_server);
        CinderBackend::open("lab", config, Arc::default()).await.unwrap()
    }

    /// Removes all that the fact left.
    async fn clean(&self) {
        let backend = self.open(Quotas::default()).await;
        for snapshot in
            backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap().items
        {
            match &snapshot.group {
                None => backend.delete_snapshot(&snapshot.id).await.unwrap(),
                Some(group) => match backend.get_group(group).await {
                    Ok(whole) => {
                        let members: Vec<_> = whole.members.into_iter().map(|member| member.id).collect();
                        backend.delete_group(group, &members).await.unwrap();
                    }
                    Err(error) => assert!(error.is_not_found(), "{error}"),
                },
            }
        }
        for volume in backend.list(&Page::default()).await.unwrap().items {
            let order = DetachOrder { volume: volume.id.clone(), node: None, fence: None };
            if !volume.attached.is_empty() {
                backend.detach(&order).await.unwrap();
            }
            backend.delete(&volume.id).await.unwrap();
        }
    }
}

#[async_trait]
impl Fixture for CinderFixture {
    async fn start(&self) {}

    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.open(Quotas::default()).await)
    }

    async fn limited(&self, quotas: Quotas) -> Arc<dyn Backend> {
        Arc::new(self.open(quotas).await)
    }

    fn nodes(&self) -> Vec<NodeId> {
        let names = ["alpha", "beta", "gamma"].iter().zip(&self.servers);
        names.map(|(name, server)| format!("{name};nova={server}").parse().unwrap()).collect()
    }

    fn connector(&self, node: &NodeId) -> Arc<dyn Connector> {
        panic!("{node} is not this machine, so facts with devices are not run here")
    }

    fn allocated(&self, _: &NativeId) -> Option<u64> {
        None
    }
}

/// The facts, and how many of them are left out for want of devices or servers.
pub fn trials(cloud: &Cloud, reachable: bool) -> (Vec<Trial>, usize) {
    let facts = [volume::FACTS, attach::FACTS, device::FACTS, snapshot::FACTS, quota::FACTS].concat();
    let served = |fact: &Fact| {
        let attaches = attach::FACTS.iter().any(|one| one.name == fact.name);
        reachable && fact.needs == Needs::Backend && (!attaches || cloud.servers.len() >= 3)
    };
    let left_out = facts.iter().filter(|fact| !served(fact)).count();
    let trial = |fact: &Fact| {
        let (cloud, fact, ignored) = (cloud.clone(), *fact, !served(fact));
        let run = move || -> Result<(), Failed> {
            runtime().block_on(async {
                let fixture = CinderFixture::new(&cloud, fact.name);
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
