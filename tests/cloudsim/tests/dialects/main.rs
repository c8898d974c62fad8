//! The dialects that differ from OpenStack, over the wire.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test ends by panicking, tells what it measured, and runs what it needs"
)]

mod caller;
mod control;
mod cyclades;
mod disks;
mod rackspace;
mod scale;
