//! The `OS_*` variables, as the command-line tools read them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use crate::document::Place;

use super::keys::Keys;

/// Where `clouds.yaml` is when nothing else is said.
const CLOUDS_FILE: &str = "/etc/openstack/clouds.yaml";

/// The variables, and what they are in `clouds.yaml`. Of two for one key the later one wins.
const NAMES: [(&str, &str); 35] = [
    ("OS_AUTH_URL", "auth_url"),
    ("OS_USERNAME", "username"),
    ("OS_USERID", "user_id"),
    ("OS_USER_ID", "user_id"),
    ("OS_PASSWORD", "password"),
    ("OS_TOKEN", "token"),
    ("OS_AUTH_TOKEN", "token"),
    ("OS_API_KEY", "api_key"),
    ("OS_TENANT_ID", "project_id"),
    ("OS_TENANT_NAME", "project_name"),
    ("OS_PROJECT_ID", "project_id"),
    ("OS_PROJECT_NAME", "project_name"),
    ("OS_DOMAIN_ID", "domain_id"),
    ("OS_DOMAIN_NAME", "domain_name"),
    ("OS_USER_DOMAIN_ID", "user_domain_id"),
    ("OS_USER_DOMAIN_NAME", "user_domain_name"),
    ("OS_PROJECT_DOMAIN_ID", "project_domain_id"),
    ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
    ("OS_DEFAULT_DOMAIN", "default_domain"),
    ("OS_APPLICATION_CREDENTIAL_ID", "application_credential_id"),
    ("OS_APPLICATION_CREDENTIAL_NAME", "application_credential_name"),
    ("OS_APPLICATION_CREDENTIAL_SECRET", "application_credential_secret"),
    ("OS_SYSTEM_SCOPE", "system_scope"),
    ("OS_TRUST_ID", "trust_id"),
    ("OS_AUTH_TYPE", "auth_type"),
    ("OS_IDENTITY_API_VERSION", "identity_api_version"),
    ("OS_REGION_NAME", "region_name"),
    ("OS_ENDPOINT_TYPE", "interface"),
    ("OS_INTERFACE", "interface"),
    ("OS_CACERT", "cacert"),
    ("OS_CERT", "cert"),
    ("OS_KEY", "key"),
    ("OS_INSECURE", ""),
    ("OS_CLOUD", ""),
    ("OS_CLIENT_CONFIG_FILE", ""),
];

/// The variables that are set. `Debug` shows their names alone.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<&'static str, SecretString>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        let exposed = |variables: &Self| -> Vec<_> {
            variables.0.iter().map(|(name, value)| (*name, value.expose_secret().to_owned())).collect()
        };
        exposed(self) == exposed(other)
    }
}

impl Variables {
    /// Asks for each variable that has a meaning here.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = NAMES.iter().filter_map(|(name, _)| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some((*name, SecretString::from(value)))
        });
        Self(set.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        Some(self.0.get(name)?.expose_secret())
    }

    /// The `clouds.yaml` and its entry, where the variables name one of them.
    pub(super) fn clouds(&self) -> Option<(PathBuf, Option<String>)> {
        let (cloud, file) = (self.get("OS_CLOUD"), self.get("OS_CLIENT_CONFIG_FILE"));
        (cloud.is_some() || file.is_some())
            .then(|| (file.unwrap_or(CLOUDS_FILE).into(), cloud.map(str::to_owned)))
    }

    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new(Place::Other("the environment".to_owned()));
        let place = |name: &str| Place::Other(format!("environment variable {name}"));
        for (name, key) in NAMES.iter().filter(|(_, key)| !key.is_empty()) {
            if let Some(value) = self.get(name) {
                keys.set(key, value, place(name));
            }
        }
        let insecure = self.get("OS_INSECURE").map(str::to_ascii_lowercase);
        if insecure.is_some_and(|text| matches!(text.as_str(), "true" | "yes" | "on" | "1")) {
            keys.set("verify", "false", place("OS_INSECURE"));
        }
        keys
    }
}
