//! The key-value store.

use std::collections::BTreeMap;

use super::{Cluster, Refusal, Result};

/// Pairs that change together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Goes up with each change.
    pub version: u64,
    /// The pairs.
    pub pairs: BTreeMap<String, String>,
}

impl Cluster {
    /// A bucket.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub fn bucket(&self, name: &str) -> Result<&Bucket> {
        self.buckets.get(name).ok_or_else(|| Refusal::missing(format!("KV bucket '{name}' does not exist")))
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// `objectExists`.
    pub fn create_bucket(&mut self, name: &str) -> Result<()> {
        if self.buckets.contains_key(name) {
            return Err(Refusal::exists(format!("KV bucket '{name}' already exists")));
        }
        self.buckets.insert(name.to_owned(), Bucket { version: 1, ..Bucket::default() });
        self.changed();
        Ok(())
    }

    /// Deletes a bucket with all that is in it.
    ///
    /// # Errors
    /// `objectDoesNotExist`.
    pub fn delete_bucket(&mut self, name: &str) -> Result<()> {
        self.bucket(name)?;
        self.buckets.remove(name);
        self.changed();
        Ok(())
    }

    /// Changes pairs of a bucket, all of them, where it has this version; an empty value removes a pair.
    ///
    /// # Errors
    /// `runIfVersionIsMismatch`; `objectDoesNotExist`.
    pub fn set_pairs(&mut self, name: &str, at: Option<u64>, set: BTreeMap<String, String>) -> Result<()> {
        let version = self.bucket(name)?.version;
        if let Some(at) = at.filter(|at| *at != version) {
            return Err(Refusal::version(format!("KV bucket '{name}' has version {version}, not {at}")));
        }
        let bucket = self.buckets.entry(name.to_owned()).or_default();
        bucket.version += 1;
        for (key, value) in set {
            if value.is_empty() {
                bucket.pairs.remove(&key);
            } else {
                bucket.pairs.insert(key, value);
            }
        }
        self.changed();
        Ok(())
    }
}
