//! What an operator can set for the nodes of a `cinder` back end.

use std::path::PathBuf;

use super::uuid::ServerId;
use crate::backend::cinder::dialect::Dialect;

/// A place where a server can learn its own id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The firmware's tables (DMI): libvirt gives a server its id as the product's UUID.
    Dmi,
    /// The disk with the label `config-2` that Nova may give a server.
    ConfigDrive,
    /// The metadata service at a link-local address.
    Metadata,
}

impl Source {
    /// All of them, in the order in which they are asked where nothing else is said.
    pub const ALL: [Self; 3] = [Self::Dmi, Self::ConfigDrive, Self::Metadata];

    /// What it is called in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dmi => "dmi",
            Self::ConfigDrive => "configDrive",
            Self::Metadata => "metadata",
        }
    }
}

/// A server's id in a kind of cloud, from its text.
///
/// # Errors
/// That it is none.
pub fn server(dialect: &Dialect, text: &str) -> Result<String, String> {
    if dialect.servers.numbered {
        let number = text.trim().parse::<u64>().ok().filter(|number| *number > 0);
        return number.map(|number| number.to_string()).ok_or_else(|| {
            format!("{text:?} is no id of a server: those of {} are whole numbers", dialect.cloud)
        });
    }
    let id =
        ServerId::parse(text).ok_or_else(|| format!("{text:?} is no id of a server: Nova's are UUIDs"))?;
    Ok(id.as_str().to_owned())
}

/// The node's part of the settings of a `cinder` back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// This server's id at Nova, where the operator knows better than any source.
    pub server: Option<String>,
    /// Where to ask for it, in this order.
    pub sources: Vec<Source>,
    /// This server's availability zone, likewise.
    pub zone: Option<String>,
    /// A directory with links as udev's `/dev/disk/by-id` has them, which are then believed before sysfs.
    pub by_id: Option<PathBuf>,
    /// The metadata service's document.
    pub metadata_url: String,
    /// A directory for what must outlast the process; `None`: nothing does.
    pub state: Option<PathBuf>,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            server: None,
            sources: Source::ALL.into(),
            zone: None,
            by_id: None,
            metadata_url: "http://169.254.169.254/openstack/latest/meta_data.json".to_owned(),
            state: None,
        }
    }
}
