//! Where the management API is, and the token that it wants.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use crate::backend::storpool::conf::Conf;
use crate::backend::storpool::config::StorpoolConfig;
use crate::error::{Error, Result};
use crate::http::{Rate, Rates, Url};

/// Far above what is needed: the cluster is our own, and its answers pace the calls.
pub(super) const RATES: Rates =
    Rates { read: Rate { per_second: 2000.0, burst: 2000 }, write: Rate { per_second: 2000.0, burst: 2000 } };

/// Addresses and token.
pub struct Access {
    config: StorpoolConfig,
    endpoints: Vec<Url>,
    /// The cluster's id, where the file that names the address tells it too.
    cluster: Option<String>,
    token: Mutex<SecretString>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints: Vec<_> = self.endpoints.iter().map(|url| url.origin().ascii_serialization()).collect();
        f.debug_struct("Access").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

pub(super) fn no_endpoint() -> Error {
    Error::precondition("no management address is known: set \"endpoint\"")
}

impl Access {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// `FailedPrecondition` naming what is missing or cannot be used.
    pub(super) fn open(config: &StorpoolConfig) -> Result<Self> {
        let (mut texts, mut cluster) = (config.endpoints.clone(), None);
        if texts.is_empty() {
            let conf = Conf::read(&config.conf_file, config.host.as_deref())?;
            texts.extend(conf.endpoint()?);
            cluster = conf.cluster()?;
        }
        let parse = |text: &String| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.ok_or_else(|| {
                Error::precondition(format!("{text:?} is no management address: write http://<host>:81"))
            })
        };
        let endpoints = texts.iter().map(parse).collect::<Result<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(no_endpoint());
        }
        Ok(Self { token: Mutex::new(token(config)?), endpoints, cluster, config: config.clone() })
    }

    pub(super) fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    pub(super) fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    pub(super) fn refresh(&self) -> Result<()> {
        let new = token(&self.config)?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn current(&self) -> SecretString {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The header by which the API knows us.
    pub(super) fn authorization(&self) -> SecretString {
        format!("Storpool v1:{}", self.current().expose_secret()).into()
    }

    /// A text without the token.
    pub(super) fn scrub(&self, text: &str) -> String {
        text.replace(self.current().expose_secret(), "<redacted>")
    }
}

fn token(config: &StorpoolConfig) -> Result<SecretString> {
    let found = match &config.token_file {
        Some(file) => read(file)?,
        None => Conf::read(&config.conf_file, config.host.as_deref())?.token().ok_or_else(|| {
            Error::precondition(format!(
                "no token is known: set \"tokenFile\", or SP_AUTH_TOKEN in {}",
                config.conf_file.display()
            ))
        })?,
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !found.expose_secret().is_empty() && found.expose_secret().chars().all(sound) {
        true => Ok(found),
        false => Err(Error::precondition("the token is empty or holds characters that no token has")),
    }
}

fn read(file: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::precondition(format!("the token cannot be read from {}", file.display())).caused_by(error)
    })?;
    Ok(text.trim().to_owned().into())
}
