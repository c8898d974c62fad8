//! The cloud's services over HTTP.

pub(crate) mod control;
pub(crate) mod count;
mod cyclades;
pub(crate) mod faults;
mod identity;
mod input;
mod openstack;
mod rackspace;
mod reply;
mod request;
pub(crate) mod server;

pub use count::{Count, Counts};
pub use faults::{Fault, Faults, Rule};
pub use reply::Reply;
pub use request::Request;
pub use server::{Service, serve, serve_tls};

pub(crate) use reply::Answer;

use crate::config::Dialect;
use crate::state::Cloud;

/// Answers a request. The first segment of its path names the service.
pub(crate) fn answer(cloud: &mut Cloud, mut request: Request) -> Answer {
    match request.path.first().map(String::as_str) {
        Some("identity") => identity::answer(cloud, &request).into(),
        Some("volume") => match cloud.config.dialect {
            Dialect::Openstack => openstack::cinder(cloud, &mut request),
            Dialect::Rackspace => rackspace::storage(cloud, &mut request),
            Dialect::Cyclades => cyclades::volumes(cloud, &mut request).into(),
        },
        Some("compute") => match cloud.config.dialect {
            Dialect::Openstack => openstack::nova(cloud, &mut request),
            Dialect::Rackspace => rackspace::servers(cloud, &mut request),
            Dialect::Cyclades => cyclades::servers(cloud, &mut request).into(),
        },
        Some("account") if cloud.config.dialect == Dialect::Cyclades => {
            cyclades::quotas(cloud, &mut request).into()
        }
        _ => Reply::no_route().into(),
    }
}
