//! What an operator can set for a `file` back end.

use std::path::PathBuf;

use crate::volume::{Bytes, Topology};

/// Settings of one `file` back end. Controller and nodes get the same.
#[derive(Clone, Debug, PartialEq)]
pub struct FileConfig {
    /// The directory, the same storage on the controller and on every node (one machine, NFS, CephFS).
    pub directory: PathBuf,
    /// From where it can be reached; empty: from everywhere.
    pub reach: Topology,
    /// Volumes that one server can have at once.
    pub per_server: Option<u32>,
    /// Volumes all together.
    pub max_volumes: Option<u64>,
    /// Bytes all together, as promised to users (not as used on disk).
    pub max_bytes: Option<Bytes>,
    /// How many times the real room may be promised; 1.0 or more, 1.0 promises no more than there is.
    pub thin_factor: f64,
}

impl FileConfig {
    /// The defaults, for a directory.
    #[must_use]
    pub const fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            reach: Topology(std::collections::BTreeMap::new()),
            per_server: None,
            max_volumes: None,
            max_bytes: None,
            thin_factor: 1.0,
        }
    }
}
