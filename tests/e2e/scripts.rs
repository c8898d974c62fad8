//! The test cluster's own scripts, which break its parts and mend them.

#![allow(clippy::disallowed_types, reason = "the suite runs scripts of the project; no driver code is here")]

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::harness::{Doing, Result};

impl Cluster {
    /// Runs a script of tests/cluster. Its failure is the test's.
    pub async fn script(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let script = self.scripts()?.join(name);
        run(script, arguments).await
    }

    fn scripts(&self) -> Result<&PathBuf> {
        self.scripts.as_ref().ok_or_else(|| "FAIRLEAD_E2E_SCRIPTS is not set".into())
    }

    /// The number of a node of the test cluster.
    pub fn number(node: &str) -> Result<&str> {
        node.strip_prefix("node-").ok_or_else(|| format!("{node} is no node of the test cluster").into())
    }
}

#[allow(clippy::disallowed_methods, reason = "as above")]
async fn run(program: PathBuf, arguments: &[&str]) -> Result<String> {
    let what = format!("{} {}", program.display(), arguments.join(" "));
    let output = tokio::process::Command::new(program).args(arguments).output().await.doing(&what)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{what}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
