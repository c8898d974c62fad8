//! OpenStack: Cinder's version 3 and Nova's version 2.1.

mod attachments;
mod backups;
mod groups;
mod listing;
mod nova;
mod project;
mod servers;
mod snapshots;
mod times;
mod version;
mod view;
mod volumes;

pub(super) use nova::nova;

use serde_json::json;

use crate::config::Version;
use crate::state::{Cloud, Refusal, Result};

use super::request::Request;
use super::{Answer, Reply, identity, input};

/// A call of a service, with what is known of it.
pub(super) struct Call<'a> {
    pub(super) cloud: &'a mut Cloud,
    pub(super) request: &'a Request,
    pub(super) version: Version,
    /// The URL below which the objects are.
    pub(super) base: String,
}

impl Call<'_> {
    pub(super) fn project(&self) -> &str {
        &self.request.caller.project
    }

    /// Refuses a method that came with a later version, as if it were not there.
    fn since(&self, version: Version) -> Result<()> {
        match self.version >= version {
            true => Ok(()),
            false => Err(not_there()),
        }
    }

    fn links(&self, kind: &str, id: &str) -> serde_json::Value {
        let own = format!("{}/{kind}/{id}", self.base);
        let bookmark = own.replacen("/v3", "", 1).replacen("/v2.1", "", 1);
        json!([{"rel": "self", "href": own}, {"rel": "bookmark", "href": bookmark}])
    }
}

pub(super) fn not_there() -> Refusal {
    Refusal::missing("The resource could not be found.")
}

/// Answers a request to Cinder.
pub(super) fn cinder(cloud: &mut Cloud, request: &mut Request) -> Answer {
    let rest = request.rest(1);
    match rest.as_slice() {
        [] => return version::cinder(cloud, request, 300).into(),
        ["v3"] => return version::cinder(cloud, request, 200).into(),
        ["v3", ..] => {}
        _ => return Reply::from(not_there()).into(),
    }
    if let Err(refused) = identity::authenticate(cloud, request) {
        return refused.into();
    }
    let version = match version::negotiate(request, "volume", Version(3, 0), cloud.config.volume_max) {
        Ok(version) => version,
        Err(reply) => return reply.into(),
    };
    let rest = request.rest(2);
    let mut base = format!("{}/volume/v3", request.root());
    let is_project = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let in_path = rest.first().filter(|first| is_project(first));
    let from = match in_path {
        None => 2,
        Some(project) if *project == request.caller.project => 3,
        Some(_) => return malformed(version),
    };
    if from == 3 {
        base = format!("{base}/{}", request.caller.project);
    }
    let mut call = Call { cloud, request, version, base };
    let rest = request.rest(from);
    if rest.len() <= 1 && !ROOTS.contains(&rest.first().copied().unwrap_or_default()) {
        return Reply::no_route().into();
    }
    let result = route(&mut call, request.method.as_str(), &rest);
    version::label(result.unwrap_or_else(Reply::from), "volume", version).into()
}

/// What there is.
const ROOTS: [&str; 12] = [
    "volumes",
    "snapshots",
    "backups",
    "attachments",
    "groups",
    "group_snapshots",
    "group_types",
    "types",
    "limits",
    "os-availability-zone",
    "messages",
    "os-quota-sets",
];

fn malformed(version: Version) -> Answer {
    version::label(Reply::fault(400, "Malformed request url"), "volume", version).into()
}

fn route(call: &mut Call<'_>, method: &str, path: &[&str]) -> Result<Reply> {
    match path {
        ["volumes", rest @ ..] => volumes::route(call, method, rest),
        ["snapshots", rest @ ..] => snapshots::route(call, method, rest),
        ["backups", rest @ ..] => backups::route(call, method, rest),
        ["attachments", rest @ ..] => attachments::route(call, method, rest),
        ["groups", rest @ ..] => groups::route(call, method, rest),
        ["group_snapshots", rest @ ..] => groups::route_cuts(call, method, rest),
        _ => project::route(call, method, path),
    }
}
