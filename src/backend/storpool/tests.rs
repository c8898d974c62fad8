//! The back end against a simulated cluster, with what goes wrong there.

mod attaches;
mod confirms;
mod copies;
mod devices;
mod endpoints;
mod exports;
mod faults;
mod initiators;
mod input;
mod limits;
mod location;
mod takeover;
mod world;
