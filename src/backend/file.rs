//! The embedded back end: volumes are sparse image files in a directory that every server sees.

mod config;

pub use config::FileConfig;
