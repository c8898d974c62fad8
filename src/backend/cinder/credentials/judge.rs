//! From the keys that were found to credentials that can be used, or to all that is wrong with them.

use crate::document::Fault;
use crate::http::{Identity, Trust, Url};

use super::keys::Keys;
use super::{Choice, Credential, Credentials, Domain, Interface, Named, Proof, Scope, Version};

/// The domain of clouds that never made another.
const DEFAULT_DOMAIN: &str = "default";

/// The ways to log in, by the names that `auth_type` has for them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Password,
    ApplicationCredential,
    Token,
    ApiKey,
}

/// Judges the keys. Every fault is told; `None` where one of them leaves nothing to build.
pub(super) fn judge(keys: &Keys, choice: &Choice, faults: &mut Vec<Fault>) -> Option<Credentials> {
    let mut bad = |key: &str, text: String| faults.push(keys.fault(key, text));
    let (way, named_version) = way(keys, &mut bad);
    let url = auth_url(keys, &mut bad);
    let version = named_version.or_else(|| url.as_ref().and_then(url_version));
    let version = version.unwrap_or(if way == Way::ApiKey { Version::V2 } else { Version::V3 });
    if way == Way::ApplicationCredential && version == Version::V2 {
        bad(
            "application_credential_id",
            "application credentials need version 3 of the identity service".to_owned(),
        );
    }
    if way == Way::ApiKey && version == Version::V3 {
        bad("api_key", "an API key needs version 2.0 of the identity service".to_owned());
    }
    let proof = proof(keys, way, version, &mut bad);
    let scope = scope(keys, way, version, &mut bad);
    let trust = trust(keys, &mut bad);
    let interface = match (choice.interface, keys.get("endpoint_type").or_else(|| keys.get("interface"))) {
        (Some(chosen), _) => chosen,
        (None, Some(text)) => Interface::parse(text).unwrap_or_else(|| {
            let key = if keys.get("endpoint_type").is_some() { "endpoint_type" } else { "interface" };
            bad(key, format!("{key:?} is not public, internal or admin"));
            Interface::default()
        }),
        (None, None) => Interface::default(),
    };
    Some(Credentials {
        auth_url: versioned(url?, version),
        version,
        proof: proof?,
        scope: scope?,
        region: choice.region.clone().or_else(|| keys.text("region_name")),
        interface,
        trust,
        heritage: keys.heritage,
    })
}

fn way(keys: &Keys, bad: &mut impl FnMut(&str, String)) -> (Way, Option<Version>) {
    let version = keys.get("identity_api_version").and_then(|text| match text.trim_start_matches('v') {
        "2" | "2.0" => Some(Version::V2),
        "3" | "3.0" => Some(Version::V3),
        _ => {
            bad("identity_api_version", "\"identity_api_version\" is neither 2 nor 3".to_owned());
            None
        }
    });
    let has = |key| keys.get(key).is_some();
    let found = match keys.get("auth_type") {
        None if has("application_credential_id") || has("application_credential_name") => {
            Way::ApplicationCredential
        }
        None if has("api_key") => Way::ApiKey,
        None if has("token") && !has("password") => Way::Token,
        None | Some("password") => Way::Password,
        Some("v3password") => return (Way::Password, Some(Version::V3)),
        Some("v2password") => return (Way::Password, Some(Version::V2)),
        Some("token") => Way::Token,
        Some("v3token") => return (Way::Token, Some(Version::V3)),
        Some("v2token") => return (Way::Token, Some(Version::V2)),
        Some("v3applicationcredential") => Way::ApplicationCredential,
        Some("rackspace_apikey") => Way::ApiKey,
        Some(_) => {
            let known = "password, v3password, v2password, token, v3token, v2token, v3applicationcredential, rackspace_apikey";
            bad("auth_type", format!("this \"auth_type\" is not known here: known are {known}"));
            Way::Password
        }
    };
    (found, version)
}

fn auth_url(keys: &Keys, bad: &mut impl FnMut(&str, String)) -> Option<Url> {
    let Some(text) = keys.get("auth_url") else {
        bad("auth_url", "\"auth_url\" is missing".to_owned());
        return None;
    };
    let Ok(url) = text.parse::<Url>() else {
        bad("auth_url", "\"auth_url\" is no URL: use https://<host>[:<port>]/v3".to_owned());
        return None;
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bad("auth_url", "\"auth_url\" begins with neither http:// nor https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        bad("auth_url", "\"auth_url\" has a user or password in it: give them by their own keys".to_owned());
    }
    Some(url)
}

/// The version that the URL ends in.
fn url_version(url: &Url) -> Option<Version> {
    match url.path().trim_end_matches('/').rsplit('/').next() {
        Some("v3") => Some(Version::V3),
        Some("v2.0") => Some(Version::V2),
        _ => None,
    }
}

/// The URL, ending in the version.
fn versioned(mut url: Url, version: Version) -> Url {
    let path = url.path().trim_end_matches('/');
    let path = match url_version(&url) {
        // Many tools were told the old version and ask for the new one.
        Some(known) if known != version => path.rsplit_once('/').map_or("", |(path, _)| path),
        _ => path,
    };
    let suffix = match (url_version(&url) == Some(version), version) {
        (true, _) => "",
        (false, Version::V2) => "/v2.0",
        (false, Version::V3) => "/v3",
    };
    let path = format!("{path}{suffix}");
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

fn proof(keys: &Keys, way: Way, version: Version, bad: &mut impl FnMut(&str, String)) -> Option<Proof> {
    let secret = |key: &str, bad: &mut dyn FnMut(&str, String)| {
        let found = keys.secret(key);
        if found.is_none() {
            bad(key, format!("{key:?} is missing"));
        }
        found
    };
    match way {
        Way::Password => {
            let password = secret("password", bad);
            let user = user(keys, bad);
            if version == Version::V2 && matches!(user, Some(Named::Id(_))) {
                bad("user_id", "version 2.0 of the identity service knows users by \"username\"".to_owned());
            }
            Some(Proof::Password { user: user?, password: password? })
        }
        Way::ApplicationCredential => {
            let secret = secret("application_credential_secret", bad);
            let credential =
                match (keys.text("application_credential_id"), keys.text("application_credential_name")) {
                    (Some(id), _) => Some(Credential::Id(id)),
                    (None, Some(name)) => user(keys, bad).map(|user| Credential::Name(name, user)),
                    (None, None) => {
                        bad(
                            "application_credential_id",
                            "\"application_credential_id\" is missing".to_owned(),
                        );
                        None
                    }
                };
            Some(Proof::ApplicationCredential { credential: credential?, secret: secret? })
        }
        Way::Token => secret("token", bad).map(Proof::Token),
        Way::ApiKey => {
            let key = secret("api_key", bad);
            let user = keys.text("username");
            if user.is_none() {
                bad("username", "\"username\" is missing".to_owned());
            }
            Some(Proof::ApiKey { user: user?, key: key? })
        }
    }
}

fn user(keys: &Keys, bad: &mut impl FnMut(&str, String)) -> Option<Named> {
    let found = match (keys.text("user_id"), keys.text("username")) {
        (Some(id), _) => Some(Named::Id(id)),
        (None, Some(name)) => Some(Named::Name(name, domain(keys, &["user_domain", "domain"]))),
        (None, None) => None,
    };
    if found.is_none() {
        bad("username", "\"username\" or \"user_id\" is missing".to_owned());
    }
    found
}

/// The domain under the first of these keys (with `_id` or `_name`) that is there.
fn domain(keys: &Keys, prefixes: &[&str]) -> Domain {
    let found = prefixes.iter().find_map(|prefix| {
        let id = keys.text(&format!("{prefix}_id")).map(Domain::Id);
        id.or_else(|| keys.text(&format!("{prefix}_name")).map(Domain::Name))
    });
    found.unwrap_or_else(|| {
        Domain::Id(keys.text("default_domain").unwrap_or_else(|| DEFAULT_DOMAIN.to_owned()))
    })
}

fn scope(keys: &Keys, way: Way, version: Version, bad: &mut impl FnMut(&str, String)) -> Option<Scope> {
    if keys.get("system_scope").is_some() {
        bad(
            "system_scope",
            "volumes live in a project, not in the system: give \"project_id\" or \"project_name\""
                .to_owned(),
        );
    }
    if way == Way::ApplicationCredential {
        return Some(Scope::Implied);
    }
    if let Some(trust) = keys.text("trust_id") {
        return Some(Scope::Trust(trust));
    }
    let project = match (keys.text("project_id"), keys.text("project_name")) {
        (Some(id), _) => Some(Named::Id(id)),
        (None, Some(name)) => {
            Some(Named::Name(name, domain(keys, &["project_domain", "domain", "user_domain"])))
        }
        (None, None) => None,
    };
    match project {
        Some(project) => Some(Scope::Project(project)),
        None if way == Way::Password && version == Version::V3 => {
            bad(
                "project_id",
                "\"project_id\" or \"project_name\" is missing: volumes live in a project".to_owned(),
            );
            None
        }
        None => Some(Scope::Implied),
    }
}

fn trust(keys: &Keys, bad: &mut impl FnMut(&str, String)) -> Trust {
    let insecure = match keys.get("verify").map(str::to_ascii_lowercase).as_deref() {
        None | Some("true" | "yes" | "on" | "1") => false,
        Some("false" | "no" | "off" | "0") => true,
        Some(_) => {
            bad("verify", "\"verify\" is neither true nor false".to_owned());
            false
        }
    };
    let path = |key| keys.text(key).map(std::path::PathBuf::from);
    let identity = match (path("cert"), path("key")) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        // openstacksdk's own form: both in one file.
        (Some(file), None) => Some(Identity { certificate: file.clone(), key: file }),
        (None, Some(_)) => {
            bad("key", "\"key\" is here without \"cert\"".to_owned());
            None
        }
        (None, None) => None,
    };
    Trust { ca_file: path("cacert"), identity, insecure }
}
