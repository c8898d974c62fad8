//! All that is logged meanwhile, kept in a file.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;

/// From now on everything is logged there, in all threads.
pub fn to(file: &Path) {
    let logger = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(Mutex::new(File::create(file).unwrap()))
        .finish();
    tracing::subscriber::set_global_default(logger).unwrap();
}

/// How many lines there are, none of which holds any of these.
///
/// # Panics
/// Where one does.
pub fn lines_without(file: &Path, secrets: &[String]) -> usize {
    let mut count = 0;
    for line in BufReader::new(File::open(file).unwrap()).lines() {
        let line = line.unwrap();
        count += 1;
        if let Some(secret) = secrets.iter().find(|secret| line.contains(secret.as_str())) {
            panic!("the log tells a secret: {}", line.replace(secret.as_str(), "(secret)"));
        }
    }
    count
}
