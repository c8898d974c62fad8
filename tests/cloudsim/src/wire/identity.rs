//! The identity service: Keystone's version 3, and version 2.0 as Rackspace and Astakos have it.

use serde_json::{Value, json};

use crate::config::{Dialect, User};
use crate::state::{Cloud, Token, moment_text};

use super::Reply;
use super::request::Request;

/// Answers a request to the identity service.
pub(super) fn answer(cloud: &mut Cloud, request: &Request) -> Reply {
    let rest = request.rest(1);
    match (request.method.as_str(), rest.as_slice(), cloud.config.dialect) {
        ("GET", [] | ["v3"], Dialect::Openstack) => versions(request),
        ("POST", ["v3", "auth", "tokens"], Dialect::Openstack) => log_in(cloud, request),
        ("POST", ["v2.0", "tokens"], Dialect::Rackspace | Dialect::Cyclades) => log_in_v2(cloud, request),
        _ => fault(404, "Not Found", "The resource could not be found."),
    }
}

fn fault(code: u16, title: &str, message: &str) -> Reply {
    Reply::json(code, &json!({"error": {"code": code, "message": message, "title": title}}))
}

/// What a service answers to a token that is none or has expired.
pub(super) fn unauthorized(request: &Request) -> Reply {
    fault(401, "Unauthorized", "The request you have made requires authentication.")
        .header("www-authenticate", format!("Keystone uri=\"{}/identity\"", request.root()))
}

fn versions(request: &Request) -> Reply {
    let version = json!({"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{}/identity/v3/", request.root())}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]});
    match request.rest(1).as_slice() {
        [] => Reply::json(300, &json!({"versions": {"values": [version]}})),
        _ => Reply::json(200, &json!({"version": version})),
    }
}

/// Finds who a request is from, by its token.
pub(super) fn authenticate(cloud: &Cloud, request: &mut Request) -> Result<(), Reply> {
    let token = request.header("x-auth-token").and_then(|secret| cloud.tokens.get(secret));
    let Some(token) = token.filter(|token| token.end > cloud.now()) else {
        return Err(unauthorized(request));
    };
    request.caller.project.clone_from(&token.project);
    request.caller.user.clone_from(&token.user);
    Ok(())
}

/// The user whom the credentials of a log-in prove.
fn proven<'a>(cloud: &'a Cloud, identity: &Value) -> Option<&'a User> {
    let users = || cloud.config.users.iter();
    let named = |user: &User, wanted: &Value| {
        wanted["id"] == user.id.as_str() || wanted["name"] == user.name.as_str()
    };
    let methods = identity["methods"].as_array()?;
    match methods.first()?.as_str()? {
        "password" => {
            let wanted = &identity["password"]["user"];
            users().find(|user| named(user, wanted) && wanted["password"] == user.password.as_str())
        }
        "application_credential" => {
            let wanted = &identity["application_credential"];
            users().find(|user| {
                let (id, name, secret) = &user.credential;
                let known = wanted["id"] == id.as_str()
                    || wanted["name"] == name.as_str() && named(user, &wanted["user"]);
                known && wanted["secret"] == secret.as_str()
            })
        }
        "token" => {
            let token = cloud.tokens.get(identity["token"]["id"].as_str()?)?;
            users().find(|user| token.end > cloud.now() && user.id == token.user)
        }
        _ => None,
    }
}

fn log_in(cloud: &mut Cloud, request: &Request) -> Reply {
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return fault(400, "Bad Request", "The request body is malformed: it is no JSON.");
    };
    let auth = &body["auth"];
    if !auth["identity"]["methods"].is_array() {
        let text = "Invalid input for field 'auth': 'identity' is a required property";
        return fault(400, "Bad Request", text);
    }
    let refused = || fault(401, "Unauthorized", "The request you have made requires authentication.");
    let Some(user) = proven(cloud, &auth["identity"]).cloned() else { return refused() };
    let scope = &auth["scope"]["project"];
    let wanted = |key: &str| scope[key].as_str();
    let projects = cloud.config.projects.iter();
    // A user is a member of its own project alone. A trust is one of that project.
    let project = projects.into_iter().find(|project| {
        project.name == user.project
            && wanted("id").is_none_or(|id| id == project.id)
            && wanted("name").is_none_or(|name| name == project.name)
    });
    let Some(project) = project.cloned() else { return refused() };
    let token = issue(cloud, &project.id, &user.id);
    let domain = json!({"id": "default", "name": "Default"});
    let catalog = match request.parameter("nocatalog") {
        Some(_) => Value::Null,
        None => catalog(cloud, request),
    };
    let mut body = json!({
        "methods": auth["identity"]["methods"],
        "user": {"domain": domain, "id": user.id, "name": user.name, "password_expires_at": null},
        "audit_ids": [cloud.ids.uuid()],
        "expires_at": format!("{}Z", moment_text(token.end)),
        "issued_at": format!("{}Z", moment_text(cloud.now())),
        "project": {"domain": domain, "id": project.id, "name": project.name},
        "is_domain": false,
        "roles": [{"id": "11111111111111111111111111111111", "name": "member"}],
    });
    if !catalog.is_null() {
        body["catalog"] = catalog;
    }
    Reply::json(201, &json!({"token": body}))
        .header("x-subject-token", token.secret)
        .header("vary", "X-Auth-Token")
}

fn issue(cloud: &mut Cloud, project: &str, user: &str) -> Token {
    let token = Token {
        // As Keystone's tokens begin (Fernet: a version, and the high bytes of a time).
        secret: format!("gAAAAAB{}", cloud.ids.secret()),
        project: project.to_owned(),
        user: user.to_owned(),
        end: cloud.now() + cloud.config.token_life,
    };
    cloud.tokens.insert(token.clone());
    token
}

fn catalog(cloud: &mut Cloud, request: &Request) -> Value {
    let root = request.root();
    let region = cloud.config.region.clone();
    let mut service = |kind: &str, name: &str, path: &str| {
        let mut endpoint = |interface: &str| {
            json!({"id": cloud.ids.uuid().replace('-', ""), "interface": interface, "region_id": region,
                "region": region, "url": format!("{root}{path}")})
        };
        let endpoints = ["public", "internal", "admin"].map(&mut endpoint);
        json!({"id": cloud.ids.uuid().replace('-', ""), "type": kind, "name": name, "endpoints": endpoints})
    };
    json!([
        service("identity", "keystone", "/identity/v3"),
        service("compute", "nova", "/compute/v2.1"),
        service("block-storage", "cinder", "/volume/v3"),
        service("volumev3", "cinderv3", "/volume/v3"),
    ])
}

/// The same of version 2.0. Rackspace proves users by API key, Astakos by a token that they have.
fn log_in_v2(cloud: &mut Cloud, request: &Request) -> Reply {
    let refuse = |code: u16, name: &str, message: &str| {
        Reply::json(code, &json!({ name: {"code": code, "message": message, "details": ""} }))
    };
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse(400, "badRequest", "Invalid request body");
    };
    let auth = &body["auth"];
    let rackspace = cloud.config.dialect == Dialect::Rackspace;
    let key = &auth["RAX-KSKEY:apiKeyCredentials"];
    let password = &auth["passwordCredentials"];
    let user = cloud.config.users.iter().find(|user| match rackspace {
        true => {
            key["username"] == user.name.as_str() && key["apiKey"] == user.password.as_str()
                || password["username"] == user.name.as_str()
                    && password["password"] == user.password.as_str()
        }
        false => {
            auth["token"]["id"] == user.password.as_str()
                || password["username"] == user.id.as_str() && password["password"] == user.password.as_str()
        }
    });
    let Some(user) = user.cloned() else {
        return refuse(401, "unauthorized", "Unable to authenticate user with credentials provided.");
    };
    let Some(project) = cloud.config.project(&user.project).cloned() else {
        return refuse(401, "unauthorized", "No tenant.");
    };
    let wanted = |key: &str| auth[key].as_str();
    if wanted("tenantId").is_some() && wanted("tenantName").is_some() {
        return refuse(400, "badRequest", "Only one of tenantId and tenantName may be given.");
    }
    let strange = wanted("tenantId").is_some_and(|id| id != project.id)
        || wanted("tenantName").is_some_and(|name| name != project.name && name != project.id);
    if strange {
        return refuse(401, "unauthorized", "The tenant is not the user's.");
    }
    let secret = match rackspace {
        true => issue(cloud, &project.id, &user.id).secret,
        // Astakos gives back the token with which one came.
        false => match cloud.tokens.get(&user.password).filter(|token| token.end > cloud.now()) {
            Some(token) => token.secret.clone(),
            None => return refuse(401, "unauthorized", "Invalid token."),
        },
    };
    Reply::json(
        200,
        &json!({"access": access(cloud, request, &user, &project.id, &project.name, &secret, rackspace)}),
    )
}

fn access(
    cloud: &Cloud,
    request: &Request,
    user: &User,
    project: &str,
    name: &str,
    secret: &str,
    rackspace: bool,
) -> Value {
    let root = request.root();
    let end = cloud.tokens.get(secret).map(|token| token.end).unwrap_or_default();
    let expires = moment_text(end);
    let endpoint = |path: &str| {
        let url = format!("{root}{path}");
        match rackspace {
            true => json!({"region": cloud.config.region, "tenantId": project, "publicURL": url}),
            false => {
                json!({"versionId": "v2.0", "publicURL": url, "SNF:uiURL": format!("{root}/ui"), "region": null})
            }
        }
    };
    let service = |kind: &str, name: &str, path: &str| json!({"type": kind, "name": name, "endpoints": [endpoint(path)], "endpoints_links": []});
    let catalog = match rackspace {
        true => json!([
            service("volume", "cloudBlockStorage", &format!("/volume/v1/{project}")),
            service("compute", "cloudServersOpenStack", &format!("/compute/v2/{project}")),
        ]),
        false => json!([
            service("identity", "astakos_identity", "/identity/v2.0"),
            service("account", "astakos_account", "/account/v1.0"),
            service("volume", "cyclades_volume", "/volume/v2.0"),
            service("compute", "cyclades_compute", "/compute/v2.0"),
        ]),
    };
    let roles = json!([{"id": "1", "name": "default"}]);
    let mut body = json!({
        "token": {"id": secret, "expires": format!("{expires}Z"), "tenant": {"id": project, "name": name}},
        "serviceCatalog": catalog,
        "user": {"id": user.id, "name": user.name, "roles": roles, "roles_links": []},
    });
    if rackspace {
        body["token"]["RAX-AUTH:authenticatedBy"] = json!(["APIKEY"]);
        body["user"]["RAX-AUTH:defaultRegion"] = json!(cloud.config.region);
    }
    body
}
