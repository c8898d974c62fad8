//! The cluster under test, and the release of the chart that is found in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::harness::{Doing, Need, Result};

/// The classes that the suite uses, as tests/cluster/values.yaml names them.
pub const EXT4: &str = "fairlead-ext4";
pub const XFS: &str = "fairlead-xfs";
pub const BTRFS: &str = "fairlead-btrfs";
/// Of another driver, with `limits.perServer: 3`.
pub const CAPPED: &str = "fairlead-capped";

pub struct Cluster {
    pub client: Client,
    /// The driver of the classes above.
    pub driver: String,
    /// Where the release is installed.
    pub release: String,
    /// The nodes where the driver is, by name.
    pub nodes: Vec<String>,
    /// The driver's back ends of kind `file`, and their directories.
    pub directories: BTreeMap<String, String>,
    /// What test pods run: anything with a shell, sha256sum and dd.
    pub image: String,
    /// The directory of the test cluster's scripts, if this is that cluster.
    pub scripts: Option<PathBuf>,
}

impl Cluster {
    /// Finds what KUBECONFIG leads to.
    pub async fn find() -> Result<Self> {
        let client = Client::try_default().await.doing("read the kubeconfig (set KUBECONFIG)")?;
        let class = Api::<StorageClass>::all(client.clone())
            .get_opt(EXT4)
            .await
            .doing("ask the API server")?
            .ok_or_else(|| {
                format!("there is no StorageClass {EXT4}: install the chart with the classes of tests/cluster/values.yaml")
            })?;
        let driver = class.provisioner;
        let daemons = Api::<DaemonSet>::all(client.clone())
            .list(&ListParams::default().labels(&component(&driver, "node")))
            .await
            .doing("list DaemonSets")?;
        let daemon =
            daemons.items.first().ok_or_else(|| format!("no DaemonSet runs {driver}: install the chart"))?;
        let release = daemon.namespace().ok_or("a DaemonSet without a namespace")?;
        let directories = directories(daemon);
        let nodes = nodes(&client, &driver).await?;
        let (image, scripts) = environment();
        Ok(Self { client, driver, release, nodes, directories, image, scripts })
    }

    /// What is missing, if it is.
    pub fn lacks(&self, need: Need) -> Option<String> {
        match need {
            Need::TwoNodes if self.nodes.len() < 2 => {
                Some(format!("needs two nodes, there are {}", self.nodes.len()))
            }
            Need::Scripts if self.scripts.is_none() => Some(
                "needs a cluster that may be broken: the project's own (FAIRLEAD_E2E_SCRIPTS=tests/cluster)"
                    .to_owned(),
            ),
            Need::TwoNodes | Need::Scripts => None,
        }
    }

    /// Two nodes with the driver, for tests that have said that they need them.
    pub fn two_nodes(&self) -> [&str; 2] {
        [&self.nodes[0], &self.nodes[1]]
    }

    /// The driver's pods: `controller` or `node`.
    pub async fn pods(&self, part: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.release);
        let chosen = ListParams::default().labels(&component(&self.driver, part));
        Ok(pods.list(&chosen).await.doing(format!("list {part} pods"))?.items)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, release, nodes, image, scripts, .. } = self;
        write!(f, "driver {driver} of namespace {release} on {}; pods run {image}; ", nodes.join(", "))?;
        match scripts {
            Some(scripts) => write!(f, "nodes are broken with {}", scripts.display()),
            None => write!(f, "nothing is broken on purpose (FAIRLEAD_E2E_SCRIPTS is not set)"),
        }
    }
}

fn component(driver: &str, part: &str) -> String {
    format!("app.kubernetes.io/name=fairlead,app.kubernetes.io/component={part},fairlead.dev/driver={driver}")
}

/// The chart names the volume with a back end's directory after the back end.
fn directories(daemon: &DaemonSet) -> BTreeMap<String, String> {
    let spec = daemon.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let volumes = spec.and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes
        .filter_map(|volume| {
            let backend = volume.name.strip_prefix("backend-")?;
            Some((backend.to_owned(), volume.host_path.as_ref()?.path.clone()))
        })
        .collect()
}

/// Where the driver is registered and pods may go.
async fn nodes(client: &Client, driver: &str) -> Result<Vec<String>> {
    let all = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.doing("list nodes")?;
    let mut nodes = Vec::new();
    for node in all.items.iter().filter(|node| {
        let spec = node.spec.clone().unwrap_or_default();
        !spec.unschedulable.unwrap_or_default() && spec.taints.unwrap_or_default().is_empty()
    }) {
        let csi =
            Api::<CSINode>::all(client.clone()).get_opt(&node.name_any()).await.doing("get a CSINode")?;
        if csi.is_some_and(|csi| csi.spec.drivers.iter().any(|found| found.name == driver)) {
            nodes.push(node.name_any());
        }
    }
    if nodes.is_empty() {
        return Err(
            format!("{driver} is registered on no node that takes pods: look at its node pods").into()
        );
    }
    Ok(nodes)
}

#[allow(clippy::disallowed_methods, reason = "the suite's own settings")]
fn environment() -> (String, Option<PathBuf>) {
    let image = std::env::var("FAIRLEAD_E2E_IMAGE").unwrap_or_else(|_| "busybox".to_owned());
    (image, std::env::var_os("FAIRLEAD_E2E_SCRIPTS").map(PathBuf::from))
}
