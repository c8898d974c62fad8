//! What the driver writes, and where it is kept for those who look through all of it (tests/secrets.sh).

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "test code, of which each test takes the part that it needs"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use tracing::level_filters::LevelFilter;

/// A file of its own for a log, if logs are kept.
#[allow(clippy::disallowed_methods, reason = "tests are told by the environment what to keep")]
fn place(name: &str) -> Option<PathBuf> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let directory = std::env::var_os("FAIRLEAD_TEST_LOGS")?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Some(Path::new(&directory).join(format!("{name}-{}-{number}", std::process::id())))
}

/// Keeps the log of a process that has ended, if logs are kept.
pub fn keep(log: &Path) {
    if let Some(place) = place("process")
        && log.exists()
    {
        std::fs::copy(log, place).unwrap();
    }
}

/// From now on everything that is logged in this process is kept, if logs are kept.
pub fn record(name: &str) {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| place(name).iter().for_each(|place| record_to(place)));
}

/// From now on everything is logged there, in all threads.
pub fn record_to(file: &Path) {
    let logger = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(Mutex::new(File::create(file).unwrap()))
        .finish();
    tracing::subscriber::set_global_default(logger).unwrap();
}
