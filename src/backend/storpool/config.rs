//! What an operator can set for a back end of kind `storpool`. A node gets the same settings and reads no token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::volume::{Bytes, SizeRules, Topology};

pub use super::names::Prefix;

/// Where hosts of a cluster have its configuration.
pub const CONF_FILE: &str = "/etc/storpool.conf";
/// Whose the volumes are when nothing else is said.
pub const CLUSTER: &str = "kubernetes";
/// How long a client may take to confirm that it has a volume. Below the time that a sidecar waits for a call.
const ATTACH: Duration = Duration::from_secs(10);

/// Settings of one `storpool` back end.
#[derive(Clone, Debug, PartialEq)]
pub struct StorpoolConfig {
    /// The URLs of the management API, best first; empty: [`CONF_FILE`] names it.
    pub endpoints: Vec<String>,
    /// A file with the token; `None`: [`CONF_FILE`] has it.
    pub token_file: Option<PathBuf>,
    /// The hosts' configuration, which names what is not set here.
    pub conf_file: PathBuf,
    /// This host's name in [`StorpoolConfig::conf_file`], whose section wins; `None`: what is for all hosts.
    pub host: Option<String>,
    /// A PEM file of the only authorities to trust, where the API is reached over TLS.
    pub ca_file: Option<PathBuf>,
    /// Whether calls are made for the whole location, not for one cluster of it. Nodes and volumes may then be in any of its
    /// clusters; what is made from nothing is made in the one whose API is asked.
    pub multi_cluster: bool,
    /// The template of volumes whose StorageClass names none.
    pub template: Option<String>,
    /// Whose the volumes are: those of other clusters in the same StorPool are neither listed nor touched.
    pub cluster: String,
    /// What names in StorPool begin with, before the CSI name.
    pub prefix: Prefix,
    /// The prefixes of other back ends with the same [`StorpoolConfig::cluster`] on the same StorPool: what has them is
    /// theirs.
    pub siblings: Vec<Prefix>,
    /// How long a client may take to confirm that it has a volume, in whole seconds.
    pub attach_timeout: Duration,
    /// How long StorPool keeps a snapshot of a volume that is deleted; `None`: it keeps none.
    pub delete_after: Option<Duration>,
    /// Volumes that one server can have at once.
    pub per_server: Option<u32>,
    /// Volumes of this cluster all together.
    pub max_volumes: Option<u64>,
    /// Bytes of this cluster's volumes all together, as promised to users.
    pub max_bytes: Option<Bytes>,
    /// From where it can be reached; empty: from everywhere.
    pub reach: Topology,
    /// How nodes without `storpool_block` are served; `None`: not at all.
    pub iscsi: Option<IscsiSettings>,
    /// What nodes alone read.
    pub node: NodeSettings,
}

/// Which nodes are served over iSCSI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// Those that have no number of a client.
    #[default]
    WithoutBlock,
    /// All.
    All,
}

/// The part of the settings that is about iSCSI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IscsiSettings {
    /// The portal group in which volumes are exported. An administrator has made it, with its networks.
    pub portal_group: String,
    /// For which nodes.
    pub nodes: Served,
    /// Whether a node logs in at all portals and takes nothing but the map that multipathd makes of them.
    pub multipath: bool,
    /// Where a node's driver sees the root directory of its host, which has open-iscsi.
    pub host_root: PathBuf,
}

impl IscsiSettings {
    /// The defaults, in this portal group.
    #[must_use]
    pub fn new(portal_group: &str) -> Self {
        Self {
            portal_group: portal_group.to_owned(),
            nodes: Served::default(),
            multipath: false,
            host_root: "/".into(),
        }
    }
}

/// The node's part of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// This host's number (SP_OURID); `None`: the hosts' configuration has it.
    pub client: Option<u16>,
    /// The cluster's id (SP_CLUSTER_ID), likewise.
    pub cluster_id: Option<String>,
    /// Links to devices by global id.
    pub by_id: PathBuf,
    /// Links to devices by name.
    pub by_name: PathBuf,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            client: None,
            cluster_id: None,
            by_id: "/dev/storpool-byid".into(),
            by_name: "/dev/storpool".into(),
        }
    }
}

impl Default for StorpoolConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            token_file: None,
            conf_file: CONF_FILE.into(),
            host: None,
            ca_file: None,
            multi_cluster: false,
            template: None,
            cluster: CLUSTER.to_owned(),
            prefix: Prefix::default(),
            siblings: Vec::new(),
            attach_timeout: ATTACH,
            delete_after: None,
            per_server: None,
            max_volumes: None,
            max_bytes: None,
            reach: Topology::default(),
            iscsi: None,
            node: NodeSettings::default(),
        }
    }
}

impl StorpoolConfig {
    /// The defaults, with the API there.
    #[must_use]
    pub fn new(endpoint: &str, token_file: &Path) -> Self {
        Self {
            endpoints: vec![endpoint.to_owned()],
            token_file: Some(token_file.to_owned()),
            ..Self::default()
        }
    }
}

/// Sizes: StorPool counts in sectors of 512 bytes, file systems and their tools in pages. No source tells the largest.
pub(super) const SIZES: SizeRules = SizeRules {
    min: Bytes::mib(1),
    max: Bytes::gib(1 << 20),
    step: Bytes::new(4096),
    default: Bytes::gib(1),
};
