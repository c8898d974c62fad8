//! Version 2.0 of the identity service's API: Rackspace with its API keys, Synnefo's Astakos, old Keystones.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::backend::cinder::credentials::{Credentials, Named, Proof, Scope};
use crate::backend::cinder::moment;
use crate::error::{Error, Result};
use crate::http::Answer;

use super::catalog::ServiceV2;
use super::token::{Life, Token};

/// The body of a log-in, and the secret in it.
pub(super) fn body(credentials: &Credentials) -> Result<(Value, &SecretString)> {
    let unknown =
        |what: &str| Err(Error::precondition(format!("version 2.0 of the identity service knows no {what}")));
    let (mut auth, secret) = match &credentials.proof {
        Proof::Password { user: Named::Name(name, _), password } => {
            let content = json!({"username": name, "password": password.expose_secret()});
            (json!({"passwordCredentials": content}), password)
        }
        Proof::ApiKey { user, key } => {
            let content = json!({"username": user, "apiKey": key.expose_secret()});
            (json!({"RAX-KSKEY:apiKeyCredentials": content}), key)
        }
        Proof::Token(token) => (json!({"token": {"id": token.expose_secret()}}), token),
        Proof::Password { .. } => return unknown("users by id"),
        Proof::ApplicationCredential { .. } => return unknown("application credentials"),
    };
    // Only one of id and name may be given.
    match &credentials.scope {
        Scope::Implied => {}
        Scope::Project(Named::Id(id)) => auth["tenantId"] = id.as_str().into(),
        Scope::Project(Named::Name(name, _)) => auth["tenantName"] = name.as_str().into(),
        Scope::Trust(_) => return unknown("trusts"),
    }
    Ok((json!({"auth": auth}), secret))
}

#[derive(Deserialize)]
struct Body {
    access: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    token: Issued,
    #[serde(default)]
    service_catalog: Vec<ServiceV2>,
}

#[derive(Deserialize)]
struct Issued {
    id: SecretString,
    issued_at: Option<String>,
    expires: Option<String>,
    tenant: Option<Tenant>,
}

#[derive(Deserialize)]
struct Tenant {
    id: String,
}

/// The token of an answer.
pub(super) fn token(answer: &Answer) -> Result<Token> {
    let Body { access } = answer.json()?;
    let issued = access.token.issued_at.as_deref().and_then(moment::parse);
    let expires = access.token.expires.as_deref().and_then(moment::parse);
    let life = Life::new(issued.unwrap_or_else(|| answer.date()), expires);
    let project = access.token.tenant.map(|tenant| tenant.id);
    Ok(Token::new(access.token.id, project, access.service_catalog.into(), life))
}
