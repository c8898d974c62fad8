//! The back end against a simulated cluster, with what goes wrong there.

mod attaches;
mod devices;
mod faults;
mod takeover;
mod world;
