//! What an operator can set for a back end of kind `cinder`.

use crate::http::Rates;

use super::connector::settings::NodeSettings;
use super::credentials::{Choice, Source};

/// Settings of one `cinder` back end.
#[derive(Clone, Debug, PartialEq)]
pub struct CinderConfig {
    /// Where the credentials come from.
    pub source: Source,
    /// What stands above what they say.
    pub choice: Choice,
    /// How fast each service of the cloud may be called.
    pub rates: Rates,
    /// Volumes that one server can have at once, where the operator knows better than the cloud tells.
    pub per_server: Option<u32>,
    /// What nodes alone read.
    pub node: NodeSettings,
}

impl CinderConfig {
    /// The defaults, with credentials from there.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            choice: Choice::default(),
            rates: Rates::default(),
            per_server: None,
            node: NodeSettings::default(),
        }
    }
}
