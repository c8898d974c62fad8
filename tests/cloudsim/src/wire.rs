//! The cloud's services over HTTP.

pub(crate) mod control;
pub(crate) mod count;
pub(crate) mod faults;
mod identity;
mod openstack;
mod reply;
mod request;
pub(crate) mod server;

pub use count::{Count, Counts};
pub use faults::{Fault, Rule};
pub use reply::Reply;
pub use request::Request;

pub(crate) use reply::Answer;

use crate::state::Cloud;

/// Answers a request. The first segment of its path names the service.
pub(crate) fn answer(cloud: &mut Cloud, mut request: Request) -> Answer {
    match request.path.first().map(String::as_str) {
        Some("identity") => identity::answer(cloud, &request).into(),
        Some("volume") => openstack::cinder(cloud, &mut request),
        Some("compute") => openstack::nova(cloud, &mut request),
        _ => Reply::no_route().into(),
    }
}
