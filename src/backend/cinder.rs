//! Clouds with OpenStack's block storage: the access to one, and the calls on its wire.

pub mod client;
pub mod config;
pub mod connector;
pub mod credentials;
pub mod identity;
pub mod model;
mod moment;
