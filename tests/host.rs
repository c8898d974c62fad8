//! The host on real loop devices, file systems and mounts. Needs root.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests prepare disks with the tools themselves")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "common/loopdev.rs"]
mod loopdev;

#[path = "host/blank.rs"]
mod blank;
#[path = "host/device.rs"]
mod device;
#[path = "host/filesystem.rs"]
mod filesystem;
#[path = "host/mount.rs"]
mod mount;
