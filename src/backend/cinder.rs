//! Clouds with OpenStack's block storage: the access to one, and the calls on its wire.

pub mod attach;
pub mod client;
pub mod config;
pub mod credentials;
pub mod identity;
pub mod model;
mod moment;
pub mod watch;
