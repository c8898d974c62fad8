//! The back end against a simulated cluster, with what goes wrong there.

mod attaches;
mod copies;
mod devices;
mod endpoints;
mod faults;
mod input;
mod limits;
mod location;
mod takeover;
mod world;
