//! Version 3 of the identity service's API (Keystone).

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::backend::cinder::credentials::{Credential, Credentials, Domain, Named, Proof, Scope};
use crate::backend::cinder::moment;
use crate::error::{Error, Result};
use crate::http::Answer;

use super::catalog::ServiceV3;
use super::token::{Life, Token};

/// The body of a log-in, and the secret in it.
pub(super) fn body(credentials: &Credentials) -> Result<(Value, &SecretString)> {
    let (method, content, secret) = match &credentials.proof {
        Proof::Password { user, password } => {
            let mut user = named(user);
            user["password"] = password.expose_secret().into();
            ("password", json!({"user": user}), password)
        }
        Proof::ApplicationCredential { credential, secret } => {
            let mut content = match credential {
                Credential::Id(id) => json!({"id": id}),
                Credential::Name(name, user) => json!({"name": name, "user": named(user)}),
            };
            content["secret"] = secret.expose_secret().into();
            ("application_credential", content, secret)
        }
        Proof::Token(token) => ("token", json!({"id": token.expose_secret()}), token),
        Proof::ApiKey { .. } => {
            return Err(Error::precondition("version 3 of the identity service knows no API keys"));
        }
    };
    let mut auth = json!({"identity": {"methods": [method], method: content}});
    match &credentials.scope {
        Scope::Implied => {}
        Scope::Project(project) => auth["scope"] = json!({"project": named(project)}),
        Scope::Trust(id) => auth["scope"] = json!({"OS-TRUST:trust": {"id": id}}),
    }
    Ok((json!({"auth": auth}), secret))
}

fn named(named: &Named) -> Value {
    match named {
        Named::Id(id) => json!({"id": id}),
        Named::Name(name, Domain::Id(id)) => json!({"name": name, "domain": {"id": id}}),
        Named::Name(name, Domain::Name(domain)) => json!({"name": name, "domain": {"name": domain}}),
    }
}

#[derive(Deserialize)]
struct Body {
    token: Content,
}

#[derive(Deserialize)]
struct Content {
    expires_at: Option<String>,
    issued_at: Option<String>,
    project: Option<Project>,
    #[serde(default)]
    catalog: Vec<ServiceV3>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

/// The token of an answer: its secret is in a header.
pub(super) fn token(answer: &Answer) -> Result<Token> {
    let secret = answer
        .header("x-subject-token")
        .map(SecretString::from)
        .ok_or_else(|| answer.fault("the identity service answered without a token"))?;
    let Body { token } = answer.json()?;
    let issued = token.issued_at.as_deref().and_then(moment::parse);
    let expires = token.expires_at.as_deref().and_then(moment::parse);
    let life = Life::new(issued.unwrap_or_else(|| answer.date()), expires);
    Ok(Token::new(secret, token.project.map(|project| project.id), token.catalog.into(), life))
}
