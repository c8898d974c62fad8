//! Versions and microversions.

use serde_json::{Value, json};

use crate::config::Version;
use crate::state::Cloud;
use crate::wire::Reply;
use crate::wire::request::Request;

/// What Cinder tells of its versions.
pub(super) fn cinder(cloud: &Cloud, request: &Request, status: u16) -> Reply {
    let links = json!([{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
        {"rel": "self", "href": format!("{}/volume/v3/", request.root())}]);
    let version = json!({"id": "v3.0", "status": "CURRENT", "version": cloud.config.volume_max.to_string(),
        "min_version": "3.0", "updated": "2023-08-31T00:00:00Z", "links": links,
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}]});
    label(Reply::json(status, &json!({"versions": [version]})), "volume", Version(3, 0))
}

/// What Nova tells of its versions: a list at its root, one below a version.
pub(super) fn nova(cloud: &Cloud, request: &Request, list: bool) -> Reply {
    let version = |id: &str, status: &str, min: &str, max: &str| -> Value {
        json!({"id": id, "status": status, "version": max, "min_version": min, "updated": "2013-07-23T11:33:21Z",
            "links": [{"rel": "self", "href": format!("{}/compute/v2.1/", request.root())}]})
    };
    let current = version("v2.1", "CURRENT", "2.1", &cloud.config.compute_max.to_string());
    match list {
        true => Reply::json(200, &json!({"versions": [version("v2.0", "SUPPORTED", "", ""), current]})),
        false => {
            let mut current = current;
            current["media-types"] = json!([{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]);
            label(Reply::json(200, &json!({"version": current})), "compute", Version(2, 1))
        }
    }
}

/// The microversion that a request wants of a service.
pub(super) fn negotiate(
    request: &Request,
    service: &str,
    min: Version,
    max: Version,
) -> Result<Version, Reply> {
    let header = request.header("openstack-api-version").unwrap_or_default();
    let own = header.split(',').find_map(|part| part.trim().strip_prefix(service)?.strip_prefix(' '));
    let Some(text) = own.map(str::trim) else { return Ok(min) };
    if text == "latest" {
        return Ok(max);
    }
    let parts = text.split_once('.');
    let Some((Ok(major), Ok(minor))) = parts.map(|(major, minor)| (major.parse(), minor.parse())) else {
        let text =
            format!("API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.");
        return Err(Reply::fault(400, &text));
    };
    let wanted = Version(major, minor);
    if wanted < min || wanted > max {
        let text =
            format!("Version {wanted} is not supported by the API. Minimum is {min} and maximum is {max}.");
        return Err(label(Reply::fault(406, &text), service, wanted));
    }
    Ok(wanted)
}

/// Says with which microversion something is answered.
pub(super) fn label(reply: Reply, service: &str, version: Version) -> Reply {
    let reply = match service {
        // The older header, which Nova still sends.
        "compute" => reply.header("x-openstack-nova-api-version", version),
        _ => reply,
    };
    reply
        .header("openstack-api-version", format!("{service} {version}"))
        .header("vary", "OpenStack-API-Version")
}
