//! Helm, both versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use sha2::{Digest, Sha256};

/// The repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What a release of Kubernetes is taken for where none is said.
const KUBERNETES: &str = "1.36.0";
/// Values that a release needs at least.
pub const MINIMAL: &str = "tests/chart/values/minimal.yaml";
/// Values that use everything.
pub const EVERYTHING: &str = "tests/chart/values/everything.yaml";

/// The tools that tests/chart/tools.sh makes.
#[derive(Clone, Debug)]
pub struct Tools(PathBuf);

impl Tools {
    /// Looks for them.
    pub fn find() -> Result<Self, String> {
        let text = |name: &str| std::fs::read(Path::new(ROOT).join("tests/chart").join(name));
        let versions = [text("tools/go.sum"), text("tools.sh")].map(Result::unwrap).concat();
        let digest: String =
            Sha256::digest(versions).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let cache =
            std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cache"));
        let cache =
            cache.map_err(|_| "neither XDG_CACHE_HOME nor HOME says where the tools are".to_owned())?;
        let tools = Path::new(&cache).join("fairlead").join(format!("chart-tools-{digest}"));
        match tools.is_dir() {
            true => Ok(Self(tools)),
            false => Err(format!("helm and kubeconform are not in {}: run make chart", tools.display())),
        }
    }

    /// A file of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs one of them in the repository, with nothing of the caller's environment.
    pub fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path(tool));
        command.current_dir(ROOT).args(arguments).env_clear().env("HOME", env!("CARGO_TARGET_TMPDIR"));
        command.output().unwrap()
    }

    /// What one Helm renders as release `fairlead` in the namespace `fairlead`, or why it does not.
    pub fn try_render(&self, helm: &str, values: &str, more: &[&str]) -> Result<String, String> {
        let mut arguments = vec!["template", "fairlead", "charts/fairlead", "--namespace", "fairlead"];
        arguments.extend(["--kube-version", KUBERNETES, "--values", values]);
        arguments.extend(more);
        let output = self.run(helm, &arguments);
        match output.status.success() {
            true => Ok(even(&String::from_utf8(output.stdout).unwrap())),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// What the newest Helm renders.
    pub fn render(&self, values: &str, more: &[&str]) -> Result<String, Failed> {
        self.try_render("helm4", values, more).map_err(Failed::from)
    }
}

/// Helm 4 puts a blank line where a document ends, Helm 3 does not.
fn even(text: &str) -> String {
    text.replace("\n\n---\n", "\n---\n").trim_end().to_owned() + "\n"
}

/// The value sets of the tests.
pub fn value_sets() -> Vec<String> {
    let sets = std::fs::read_dir(Path::new(ROOT).join("tests/chart/values")).unwrap();
    let mut sets: Vec<_> =
        sets.map(|entry| format!("tests/chart/values/{}", entry.unwrap().file_name().display())).collect();
    sets.extend(["tests/cluster/values.yaml".to_owned(), "manifests/values.yaml".to_owned()]);
    sets.sort();
    sets
}

pub fn lint(tools: &Tools) -> Result<(), Failed> {
    for helm in ["helm3", "helm4"] {
        for values in value_sets() {
            let arguments =
                ["lint", "--strict", "charts/fairlead", "--kube-version", KUBERNETES, "--values", &values];
            let output = tools.run(helm, &arguments);
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            // An icon is asked for of charts that are shown in a catalogue.
            let words =
                text.lines().filter(|line| line.contains("[") && !line.contains("icon is recommended"));
            let words: Vec<_> = words.collect();
            if !output.status.success() || !words.is_empty() {
                return Err(format!("{helm} lint with {values}:\n{text}").into());
            }
        }
    }
    Ok(())
}
