//! The back end against a cloud that a test scripts.

mod changes;
mod copies;
mod deletes;
mod groups;
mod makes;
mod sky;
