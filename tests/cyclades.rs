//! The `cinder` back end in its dialect for Cyclades, on a simulated cloud.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking"
)]

#[path = "cyclades/guests.rs"]
mod guests;
#[path = "cyclades/project.rs"]
mod project;
#[path = "cyclades/servers.rs"]
mod servers;
#[path = "cyclades/sky.rs"]
mod sky;
#[path = "cyclades/volumes.rs"]
mod volumes;
