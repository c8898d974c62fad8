//! What was found in a file or in the environment, under the names that `clouds.yaml` has for it.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use crate::document::{Fault, Place};

use super::Heritage;

/// The keys that are read, all others are passed over: other tools have their own.
pub(super) const AUTH: [&str; 22] = [
    "auth_url",
    "username",
    "user_id",
    "password",
    "token",
    "api_key",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "project_id",
    "project_name",
    "user_domain_id",
    "user_domain_name",
    "project_domain_id",
    "project_domain_name",
    "domain_id",
    "domain_name",
    "default_domain",
    "trust_id",
    "system_scope",
    "tenant_id",
    "tenant_name",
];

/// The keys beside `auth`.
pub(super) const CLOUD: [&str; 9] = [
    "auth_type",
    "region_name",
    "interface",
    "endpoint_type",
    "identity_api_version",
    "verify",
    "cacert",
    "cert",
    "key",
];

/// A value and where it stands. Any of them may be a secret, because people mix keys up.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) value: SecretString,
    pub(super) place: Place,
}

/// All that was found for one cloud.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Where it begins: for what is missing in it.
    pub(super) place: Place,
    pub(super) values: BTreeMap<&'static str, Given>,
    pub(super) heritage: Heritage,
}

impl Keys {
    pub(super) const fn new(place: Place) -> Self {
        Self {
            place,
            values: BTreeMap::new(),
            heritage: Heritage { per_server: None, ignore_volume_az: false },
        }
    }

    /// Sets a key; nothing that is empty counts.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<String>, place: Place) {
        let value: String = value.into();
        let key = match key {
            "tenant_id" => "project_id",
            "tenant_name" => "project_name",
            key => key,
        };
        if !value.is_empty() {
            self.values.insert(key, Given { value: value.into(), place });
        }
    }

    /// Takes what `above` has over what is here.
    pub(super) fn overlay(&mut self, above: Self) {
        self.values.extend(above.values);
        self.heritage = above.heritage;
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        Some(self.values.get(key)?.value.expose_secret())
    }

    pub(super) fn secret(&self, key: &str) -> Option<SecretString> {
        Some(self.values.get(key)?.value.clone())
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(str::to_owned)
    }

    /// A fault at a key, or at the beginning where it is missing.
    pub(super) fn fault(&self, key: &str, text: String) -> Fault {
        let place = self.values.get(key).map_or(&self.place, |given| &given.place);
        Fault { place: place.clone(), text }
    }
}
