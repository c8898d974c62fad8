//! The back end against a simulated cluster, with what goes wrong there.

mod attaches;
mod faults;
mod takeover;
mod world;
