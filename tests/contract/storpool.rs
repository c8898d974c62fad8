//! The `storpool` back end as a cloud for facts, each on a simulated cluster of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fairlead::backend::storpool::config::IscsiSettings;
use fairlead::backend::storpool::{StorpoolBackend, StorpoolConfig, StorpoolConnector};
use fairlead::backend::{Backend, Connector};
use fairlead::volume::{Bytes, NativeId, NodeId};
use libtest_mimic::{Failed, Trial};
use storpoolsim::{Config, Devices, Sim};

use crate::fixture::{Fact, Fixture, Needs, Quotas, runtime};

/// The facts with devices that are true here. A node cannot let go of a StorPool device, and it keeps no record of what a
/// volume holds, so what others say of either is not true of it.
const WITH_DEVICES: [&str; 5] = [
    "what_one_server_wrote_another_reads",
    "a_read_only_attachment_cannot_write",
    "a_device_grows_in_use",
    "a_snapshot_outlives_its_volume",
    "a_clone_has_the_content_and_the_holes",
];

/// The portal group of a cluster whose nodes have no `storpool_block`.
const GROUP: &str = "pg";

pub struct StorpoolFixture {
    config: StorpoolConfig,
    devices: PathBuf,
}

#[async_trait]
impl Fixture for StorpoolFixture {
    async fn start(&self) {}

    async fn backend(&self) -> Arc<dyn Backend> {
        self.limited(Quotas::default()).await
    }

    async fn limited(&self, quotas: Quotas) -> Arc<dyn Backend> {
        let mut config = self.config.clone();
        (config.max_volumes, config.max_bytes, config.per_server) =
            (quotas.volumes, quotas.bytes, quotas.per_server);
        Arc::new(StorpoolBackend::open("storpool", config, Arc::default()).await.unwrap())
    }

    fn nodes(&self) -> Vec<NodeId> {
        let node = |(name, number): (&str, u16)| match &self.config.iscsi {
            None => format!("{name};storpool=d.n.{number}").parse().unwrap(),
            Some(_) => format!("{name};iscsi=iqn.2026-01.example:{name}").parse().unwrap(),
        };
        [("alpha", 1), ("beta", 2), ("gamma", 3)].map(node).to_vec()
    }

    fn connector(&self, node: &NodeId) -> Arc<dyn Connector> {
        let number = node.identity("storpool").unwrap().rsplit('.').next().unwrap();
        let mut config = self.config.clone();
        config.node.by_id = self.devices.join(number).join("storpool-byid");
        config.node.by_name = self.devices.join(number).join("storpool");
        let connector = StorpoolConnector::new(config, node.name().to_owned());
        Arc::new(connector.with_patience(Duration::from_secs(10)))
    }

    fn allocated(&self, _: &NativeId) -> Option<u64> {
        None
    }
}

/// The facts, and how many of them are left out.
pub fn trials(facts: &[Fact], root: bool) -> (Vec<Trial>, usize) {
    let is_served = |fact: &&Fact| fact.needs == Needs::Backend || WITH_DEVICES.contains(&fact.name);
    let (served, left_out): (Vec<&Fact>, Vec<&Fact>) = facts.iter().partition(is_served);
    let trial = |fact: &&Fact| {
        let fact = **fact;
        let skipped = fact.needs == Needs::Devices && !root;
        let test = move || run(fact, false);
        Trial::test(format!("storpool::{}", fact.name), test).with_ignored_flag(skipped)
    };
    let exported = |fact: &&Fact| {
        let fact = **fact;
        Trial::test(format!("storpool-iscsi::{}", fact.name), move || run(fact, true))
    };
    let without_devices: Vec<_> = served.iter().filter(|fact| fact.needs == Needs::Backend).collect();
    eprintln!(
        "SKIPPED: {} facts on storpool-iscsi: a login needs a kernel that has iSCSI",
        facts.len() - without_devices.len()
    );
    let trials: Vec<_> = served.iter().map(trial).chain(without_devices.into_iter().map(exported)).collect();
    (trials, left_out.len())
}

fn run(fact: Fact, iscsi: bool) -> Result<(), Failed> {
    runtime(Bytes::mib(1)).block_on(async {
        // Dropped in the other order: the devices go before what they show.
        let directory = tempfile::tempdir()?;
        let mut sim = Sim::start(Config::default()).await?;
        let devices = directory.path().join("devices");
        std::fs::create_dir(&devices)?;
        if fact.needs == Needs::Devices {
            sim.show(Devices::new(&devices)?);
        }
        for client in 1..=3 {
            sim.cluster().add_client(client);
        }
        let token = directory.path().join("token");
        std::fs::write(&token, &sim.cluster().config.token)?;
        let mut config = StorpoolConfig::new(&sim.url(), &token);
        config.template = Some("nvme".to_owned());
        if iscsi {
            config.iscsi = Some(IscsiSettings::new(GROUP));
            let words = |words: &[(&str, &str)]| {
                words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
            };
            let commands = [
                ("setBaseName".to_owned(), words(&[("name", "iqn.2026-01.example:sim")])),
                ("createPortalGroup".to_owned(), words(&[("name", GROUP)])),
                (
                    "portalGroupAddNetwork".to_owned(),
                    words(&[("portalGroup", GROUP), ("net", "10.0.0.1/24")]),
                ),
            ];
            sim.cluster().configure_iscsi(&commands).map_err(|refusal| refusal.text)?;
        }
        let fixture = StorpoolFixture { config, devices };
        (fact.run)(&fixture).await;
        let cluster = sim.cluster();
        assert!(
            cluster.ledger.cut_off.is_empty(),
            "open devices were taken away: {:?}",
            cluster.ledger.cut_off
        );
        assert!(!iscsi || cluster.attachments().next().is_none(), "a client got what was to be exported");
        Ok(())
    })
}
