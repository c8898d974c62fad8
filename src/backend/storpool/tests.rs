//! The back end against a simulated cluster, with what goes wrong there.

mod attaches;
mod devices;
mod exports;
mod faults;
mod initiators;
mod takeover;
mod world;
