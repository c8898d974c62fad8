//! The dialects that differ from OpenStack, over the wire.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends by panicking, and tells what it measured"
)]

mod caller;
mod control;
mod cyclades;
mod rackspace;
mod scale;
