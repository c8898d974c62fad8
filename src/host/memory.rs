//! The C library's allocator, told what this process is.

#[cfg(target_env = "gnu")]
use nix::libc;

/// Arenas for all threads together: one for the work, one so that two threads need not wait for each other.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Keeps the C library from giving every thread an arena of its own (mallopt(3), M_ARENA_MAX). Blocking calls run on
/// many short-lived threads here, and each arena keeps what its thread once needed: after a burst of volumes the
/// process would stay twice as large. Call it before the first thread starts.
#[cfg(target_env = "gnu")]
pub fn share_arenas() {
    // SAFETY: mallopt takes two numbers and changes a setting of the allocator; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Other C libraries have no arenas.
#[cfg(not(target_env = "gnu"))]
pub const fn share_arenas() {}
