//! The `cinder` back end as a cloud for facts.

use std::sync::Arc;

use async_trait::async_trait;
use fairlead::backend::cinder::CinderBackend;
use fairlead::backend::cinder::config::CinderConfig;
use fairlead::backend::cinder::credentials::Source;
use fairlead::backend::cinder::dialect::{Dialect, Feature};
use fairlead::backend::{Backend, Connector, DetachOrder, Page, SnapshotFilter};
use fairlead::volume::{NativeId, NodeId};

use crate::fixture::{Fixture, Quotas};

/// Group types whose snapshots count as consistent here: the facts cut volumes that nobody writes to.
const GROUP_TYPE: &str = "default-group";

/// The fact whose volumes several servers are to have.
const SHARING: &str = "only_matching_modes_share_a_volume";

/// One cluster's volumes in a cloud, on servers that exist.
pub struct CinderFixture {
    config: CinderConfig,
    servers: Vec<String>,
}

impl CinderFixture {
    /// For this fact, as a cluster of this name.
    pub fn new(
        dialect: &'static Dialect,
        source: Source,
        servers: Vec<String>,
        cluster: String,
        fact: &str,
    ) -> Self {
        let mut config = CinderConfig::of(dialect, source);
        config.cluster = cluster;
        config.name_prefix = "vol-".to_owned();
        if dialect.can(Feature::Groups) {
            config.consistent_group_types = vec![GROUP_TYPE.to_owned()];
        }
        // Of all others Cinder itself sees to it that one server has a volume.
        config.volume_type = (fact == SHARING).then(|| "multiattach".to_owned());
        Self { config, servers }
    }

    async fn open(&self, quotas: Quotas) -> CinderBackend {
        let mut config = self.config.clone();
        (config.max_volumes, config.max_bytes, config.per_server) =
            (quotas.volumes, quotas.bytes, quotas.per_server);
        CinderBackend::open("cinder", config, Arc::default()).await.unwrap()
    }

    /// Removes all that the fact left.
    pub async fn clean(&self) {
        let backend = self.open(Quotas::default()).await;
        let snapshots = match backend.capabilities().snapshots {
            true => backend.list_snapshots(&SnapshotFilter::default(), &Page::default()).await.unwrap().items,
            false => Vec::new(),
        };
        for snapshot in snapshots {
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
