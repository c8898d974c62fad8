//! Who we are at a cloud, and where it is: read from what other tools of OpenStack use, so that nobody has to write a
//! Secret anew.
//!
//! `clouds.yaml` with `secure.yaml` and profiles, the INI file of the Kubernetes cloud provider for OpenStack, and the
//! `OS_*` variables all become the same keys (those of `clouds.yaml`), which are judged once. All faults are told
//! together with their places, and none of them quotes a value that may be secret.

mod clouds;
mod conf;
mod ini;
mod judge;
mod keys;
#[cfg(test)]
mod tests;
mod variables;

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::document::{Fault, Faults, read, text};
use crate::http::{Trust, Url};

pub use variables::Variables;

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A `clouds.yaml`, with the `secure.yaml` and `clouds-public.yaml` beside it.
    Clouds {
        /// The file.
        file: PathBuf,
        /// The entry; `None`: the only one.
        cloud: Option<String>,
    },
    /// A `cloud.conf` of the Kubernetes cloud provider for OpenStack. Later files stand above earlier ones.
    Conf {
        /// The files.
        files: Vec<PathBuf>,
        /// The name in `[Global "name"]`; `None`: the section without a name, or the only one.
        cloud: Option<String>,
    },
    /// The `OS_*` variables.
    Environment(Variables),
}

/// What the driver's own settings choose, above what the credentials say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The region.
    pub region: Option<String>,
    /// Which of a service's endpoints.
    pub interface: Option<Interface>,
}

/// Which of a service's endpoints is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// For everybody.
    #[default]
    Public,
    /// Within the cloud.
    Internal,
    /// For administrators.
    Admin,
}

impl Interface {
    /// As the catalog has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }

    /// From what people write: also with `URL` at the end, as old tools have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix("URL").unwrap_or(text) {
            "public" => Some(Self::Public),
            "internal" => Some(Self::Internal),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Something in the identity service that has an id, and a name that is unique in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By id.
    Id(String),
    /// By name, in a domain.
    Name(String, Domain),
}

/// A domain of the identity service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// The version of the identity service's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Of old clouds, of Rackspace and of Synnefo.
    V2,
    /// Of all others.
    V3,
}

/// How we prove who we are.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A user's password.
    Password {
        /// The user.
        user: Named,
        /// The password.
        password: SecretString,
    },
    /// A secret that was made for one application, in one project.
    ApplicationCredential {
        /// By id; or by name, which belongs to a user.
        credential: Credential,
        /// The secret.
        secret: SecretString,
    },
    /// A token that was got elsewhere.
    Token(SecretString),
    /// Rackspace's API key of a user.
    ApiKey {
        /// The user's name.
        user: String,
        /// The key.
        key: SecretString,
    },
}

/// Which application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By id.
    Id(String),
    /// By name, of a user.
    Name(String, Named),
}

/// What a token is to be good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What the proof itself implies.
    Implied,
    /// A project.
    Project(Named),
    /// What another user allowed us to do for them, by the trust's id.
    Trust(String),
}

/// What the `[BlockStorage]` section of a `cloud.conf` says beside the credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heritage {
    /// `node-volume-attach-limit`.
    pub per_server: Option<u32>,
    /// `ignore-volume-az`.
    pub ignore_volume_az: bool,
}

/// Complete credentials of one cloud.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The URL of the identity service, with its version.
    pub auth_url: Url,
    /// Its version.
    pub version: Version,
    /// How we prove who we are.
    pub proof: Proof,
    /// What for.
    pub scope: Scope,
    /// The region; `None`: the first one that the catalog has.
    pub region: Option<String>,
    /// Which of a service's endpoints is used.
    pub interface: Interface,
    /// How the cloud proves who it is.
    pub trust: Trust,
    /// What else the file said.
    pub heritage: Heritage,
}

impl Source {
    /// Reads and judges them.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn read(&self, choice: &Choice) -> Result<Credentials, Vec<Fault>> {
        let mut faults = Vec::new();
        let raw = match self {
            Self::Clouds { file, cloud } => clouds::read(file, cloud.as_deref(), choice, &mut faults),
            Self::Conf { files, cloud } => conf::read(files, cloud.as_deref(), choice, &mut faults),
            Self::Environment(variables) => match variables.clouds() {
                Some((file, cloud)) => clouds::read(&file, cloud.as_deref(), choice, &mut faults),
                None => Some(variables.keys()),
            },
        };
        let judged = raw.and_then(|raw| judge::judge(&raw, choice, &mut faults));
        match judged {
            Some(credentials) if faults.is_empty() => Ok(credentials),
            _ => {
                faults.sort();
                Err(faults)
            }
        }
    }

    /// The files whose change may change the credentials, except those that the credentials themselves name.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Clouds { file, .. } => clouds::files(file),
            Self::Conf { files, .. } => files.clone(),
            Self::Environment(variables) => {
                variables.clouds().map(|(file, _)| clouds::files(&file)).unwrap_or_default()
            }
        }
    }
}

impl Credentials {
    /// The files that they name.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let identity = self.trust.identity.iter();
        let identity = identity.flat_map(|identity| [&identity.certificate, &identity.key]);
        self.trust.ca_file.iter().chain(identity).cloned().collect()
    }
}

/// Reads a file and gives its text to `parse`; what is wrong goes to `faults`.
fn with_text<T>(
    file: &Path,
    faults: &mut Vec<Fault>,
    parse: impl FnOnce(&str, &Faults) -> Option<T>,
) -> Option<T> {
    let found = Faults::new(file.display().to_string());
    let parsed = match read(file) {
        Ok(bytes) => text(&bytes, &found).and_then(|text| parse(text, &found)),
        Err(why) => {
            found.add_whole(why);
            None
        }
    };
    faults.extend(found.into_sorted());
    parsed
}
