//! Kinds of cloud other than OpenStack, simulated: what is special of each. What is the same for all is in the contract.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

#[path = "dialects/rackspace.rs"]
mod rackspace;
#[path = "dialects/scene.rs"]
mod scene;
